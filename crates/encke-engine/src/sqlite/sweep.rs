//! The sweep: removes messages, keys and receipts whose time is over, a bounded amount for each transaction,
//! so that appends are not held up. How one log is trimmed is in `trim.rs`.

use encke_proto::Time;
use rusqlite::{OptionalExtension, params};

use super::{
    fault::Fault,
    row,
    store::{Store, find_channel, write_channel},
    trim,
};

/// The most channels that one round looks at.
const ROUND_MAX_CHANNELS: usize = 500;
/// The most messages that one round trims.
const ROUND_MAX_MESSAGES: usize = 2000;
/// The most receipts that one round forgets.
const ROUND_MAX_RECEIPTS: usize = 5000;

impl Store {
    /// Forgets some of what is too old, in the transaction that is open. Says whether there is more.
    pub(super) fn sweep(&mut self, now: Time) -> Result<bool, Fault> {
        let more_messages = self.sweep_messages(now)?;
        let keys = self.keys.forget_old(&self.db, now)?;
        let more_receipts = self.sweep_receipts(now)?;
        Ok(more_messages || keys > 0 || more_receipts)
    }

    fn sweep_messages(&mut self, now: Time) -> Result<bool, Fault> {
        let names: Vec<String> = self
            .db
            .prepare_cached(
                "SELECT name FROM channels WHERE due IS NOT NULL AND due <= ?1 ORDER BY due LIMIT ?2",
            )?
            .query_map(params![row::number(now.0), row::limit(ROUND_MAX_CHANNELS)], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut left = ROUND_MAX_MESSAGES;
        let more = names.len() == ROUND_MAX_CHANNELS;
        for name in names {
            if left == 0 {
                return Ok(true);
            }
            match self.sweep_log(&name, now, left) {
                Ok(trimmed) => left -= trimmed,
                Err(Fault::Refused(error)) => {
                    // One damaged log must not keep all others from being swept; it is looked at again when
                    // something is appended to it.
                    tracing::error!(channel = name, %error, "a log cannot be swept");
                    self.db
                        .prepare_cached("UPDATE channels SET due = NULL WHERE name = ?1")?
                        .execute([&name])?;
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(more || left == 0)
    }

    /// Trims at most `budget` messages of one log, and says how many.
    fn sweep_log(&mut self, name: &str, now: Time, budget: usize) -> Result<usize, Fault> {
        let name = row::channel(name)?;
        self.channels.remove(&name);
        let Some(mut channel) = find_channel(&self.db, &name, self.retention.of(&name))? else {
            return Ok(0);
        };
        let trimmed = trim::due(&self.db, &mut channel, now, budget)?;
        write_channel(&self.db, &channel, true)?;
        Ok(trimmed)
    }

    fn sweep_receipts(&mut self, now: Time) -> Result<bool, Fault> {
        let push: Option<i64> = self
            .db
            .prepare_cached("SELECT id FROM pushes WHERE until <= ?1 ORDER BY until LIMIT 1")?
            .query_row([row::number(now.0)], |row| row.get(0))
            .optional()?;
        let Some(push) = push else { return Ok(false) };
        let forgotten = self
            .db
            .prepare_cached(
                "DELETE FROM receipts WHERE push = ?1 AND user IN (SELECT user FROM receipts WHERE push = ?1 ORDER BY user LIMIT ?2)",
            )?
            .execute(params![push, row::limit(ROUND_MAX_RECEIPTS)])?;
        if forgotten < ROUND_MAX_RECEIPTS {
            self.db.prepare_cached("DELETE FROM pushes WHERE id = ?1")?.execute([push])?;
        }
        Ok(true)
    }
}
