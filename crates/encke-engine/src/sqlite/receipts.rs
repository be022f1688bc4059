//! Reads the receipts of a push, page by page. How receipts change is in `mark.rs`, how they expire in
//! `trim.rs`.

use encke_proto::{MessageId, Time, UserId};
use rusqlite::{Connection, OptionalExtension, params};

use super::{fault::Fault, row};
use crate::{Receipt, ReceiptState};

/// The receipts of a push by user, behind `after`.
pub(super) fn page(
    db: &Connection,
    push: &MessageId,
    after: Option<&UserId>,
    limit: usize,
    now: Time,
) -> Result<Option<Vec<Receipt>>, Fault> {
    let found: Option<(i64, Option<i64>)> = db
        .prepare_cached("SELECT id, expires FROM pushes WHERE message = ?1")?
        .query_row([push.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((push, expires)) = found else { return Ok(None) };
    let over = row::optional_time(expires)?.filter(|end| *end <= now);
    let after = after.map_or("", UserId::as_str);
    let mut statement = db.prepare_cached(
        "SELECT user, state, at FROM receipts WHERE push = ?1 AND user > ?2 ORDER BY user LIMIT ?3",
    )?;
    let mut rows = statement.query(params![push, after, row::limit(limit)])?;
    let mut receipts = Vec::new();
    while let Some(row) = rows.next()? {
        let user = row::user(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
        let (state, at) = (row::state(row.get(1)?)?, row::time(row.get(2)?)?);
        receipts.push(match over {
            Some(end) if state == ReceiptState::Queued => {
                Receipt { user, state: ReceiptState::Expired, at: end }
            }
            _ => Receipt { user, state, at },
        });
    }
    Ok(Some(receipts))
}
