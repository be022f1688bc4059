use encke_proto::Offset;
use rusqlite::{OptionalExtension, params};

use super::{fault::Fault, row, store::Store};
use crate::{Mark, ReceiptState};

/// Who was skipped because the time was over does not become delivered by what came behind.
const IN_TIME: &str = "NOT EXISTS (SELECT 1 FROM pushes p WHERE p.id = push AND p.expires <= ?4)";

impl Store {
    /// Moves receipts forward, in the transaction that is open.
    pub(super) fn mark(&mut self, marks: &[Mark]) -> Result<(), Fault> {
        for mark in marks.iter().filter(|mark| mark.position.epoch == self.epoch) {
            match mark.state {
                ReceiptState::Delivered => self.mark_one(
                    mark,
                    "SELECT c.id, c.head, u.handed FROM channels c JOIN users u ON u.channel = c.id WHERE c.name = ?1",
                    &format!(
                        "UPDATE receipts SET state = 1, at = ?4
                         WHERE channel = ?1 AND offset > ?2 AND offset <= ?3 AND state < 2 AND state = 0 AND {IN_TIME}"
                    ),
                    "UPDATE users SET handed = ?2 WHERE channel = ?1",
                )?,
                ReceiptState::Shown => self.mark_one(
                    mark,
                    "SELECT c.id, c.head, u.shown FROM channels c JOIN users u ON u.channel = c.id WHERE c.name = ?1",
                    &format!(
                        "UPDATE receipts SET state = 2, at = ?4
                         WHERE channel = ?1 AND offset > ?2 AND offset <= ?3 AND state < 2 AND (state = 1 OR {IN_TIME})"
                    ),
                    "UPDATE users SET shown = ?2 WHERE channel = ?1",
                )?,
                ReceiptState::Queued | ReceiptState::Expired => {}
            }
        }
        Ok(())
    }

    fn mark_one(&self, mark: &Mark, find: &str, move_receipts: &str, move_place: &str) -> Result<(), Fault> {
        let found: Option<(i64, i64, i64)> = self
            .db
            .prepare_cached(find)?
            .query_row([mark.user.channel().as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((channel, head, place)) = found else { return Ok(()) };
        let place: Offset = row::unsigned(place)?;
        // What is not there yet cannot have been handed to anybody.
        let to = mark.position.offset.min(row::unsigned(head)?);
        if to <= place {
            return Ok(());
        }
        let (place, to) = (row::number(place), row::number(to));
        self.db.prepare_cached(move_receipts)?.execute(params![channel, place, to, row::number(mark.at.0)])?;
        self.db.prepare_cached(move_place)?.execute(params![channel, to])?;
        Ok(())
    }
}
