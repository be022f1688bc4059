//! Moves receipts to delivered or shown, inside the writer's transaction. Reading receipts is in
//! `receipts.rs`.

use rusqlite::params;

use super::{fault::Fault, row, store::Store, users};
use crate::{Mark, ReceiptState};

/// How receipts become delivered. Who was skipped because the time was over does not become so by what came
/// behind.
const DELIVER: &str = "UPDATE receipts SET state = 1, at = ?4
     WHERE channel = ?1 AND offset > ?2 AND offset <= ?3 AND state < 2 AND state = 0
     AND NOT EXISTS (SELECT 1 FROM pushes p WHERE p.id = push AND p.expires <= ?4)";
/// How they become shown.
const SHOW: &str = "UPDATE receipts SET state = 2, at = ?4
     WHERE channel = ?1 AND offset > ?2 AND offset <= ?3 AND state < 2
     AND (state = 1 OR NOT EXISTS (SELECT 1 FROM pushes p WHERE p.id = push AND p.expires <= ?4))";

impl Store {
    /// Moves receipts forward, in the transaction that is open.
    pub(super) fn mark(&mut self, marks: &[Mark]) -> Result<(), Fault> {
        let epoch = self.epoch;
        marks.iter().filter(|mark| mark.position.epoch == epoch).try_for_each(|mark| self.mark_one(mark))
    }

    fn mark_one(&mut self, mark: &Mark) -> Result<(), Fault> {
        let name = mark.user.channel();
        self.known_channel(&name)?;
        let Self { db, channels, .. } = self;
        let Some(channel) = channels.get_mut(&name) else { return Ok(()) };
        if channel.user.is_none() {
            channel.user = users::owner_row(db, channel.id)?;
        }
        let Some(user) = &mut channel.user else { return Ok(()) };
        let (place, move_receipts, move_place) = match mark.state {
            ReceiptState::Delivered => {
                (&mut user.handed, DELIVER, "UPDATE users SET handed = ?2 WHERE channel = ?1")
            }
            ReceiptState::Shown => (&mut user.shown, SHOW, "UPDATE users SET shown = ?2 WHERE channel = ?1"),
            ReceiptState::Queued | ReceiptState::Expired => return Ok(()),
        };
        // What is not there yet cannot have been handed to anybody.
        let to = mark.position.offset.min(channel.head);
        if to <= *place {
            return Ok(());
        }
        let (from, at) = (row::number(*place), row::number(mark.at.0));
        db.prepare_cached(move_receipts)?.execute(params![channel.id, from, row::number(to), at])?;
        db.prepare_cached(move_place)?.execute(params![channel.id, row::number(to)])?;
        *place = to;
        Ok(())
    }
}
