//! Lists public channels with the extent of their logs, page by page.

use encke_proto::{ChannelName, Epoch};
use rusqlite::{Connection, params};

use super::{fault::Fault, row};
use crate::ChannelSummary;

/// The public channels with a log, by name, behind `after`. Users' own channels are the names from '@' up to
/// 'A'; there may be very many of them, so they are jumped over.
pub(super) fn channels(
    db: &Connection,
    epoch: Epoch,
    after: Option<&ChannelName>,
    limit: usize,
) -> Result<Vec<ChannelSummary>, Fault> {
    let after = after.map_or("", ChannelName::as_str);
    let mut found = Vec::new();
    for range in ["name < '@'", "name >= 'A'"] {
        let left = limit.saturating_sub(found.len());
        let query = format!(
            "SELECT name, tail, head FROM channels WHERE name > ?1 AND {range} AND head > 0 ORDER BY name LIMIT ?2"
        );
        let mut statement = db.prepare_cached(&query)?;
        let mut rows = statement.query(params![after, row::limit(left)])?;
        while let Some(row) = rows.next()? {
            let channel = row::channel(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
            let (tail, head) = (row::unsigned(row.get(1)?)?, row::unsigned(row.get(2)?)?);
            found.push(ChannelSummary { channel, epoch, tail, head });
        }
    }
    Ok(found)
}
