//! The version of the schema and its migrations, the store's epoch, and the detection of changed retention
//! rules. Used where a store is opened, never by a call.

use std::hash::{DefaultHasher, Hash, Hasher};

use encke_proto::Epoch;
use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use crate::RetentionTable;

/// What leads from each version of the schema to the next; `user_version` counts how many were done.
const MIGRATIONS: &[&str] = &[include_str!("schema/1.sql")];

/// Brings the schema up to this version, and gives a new store its epoch.
pub(super) fn prepare(db: &mut Connection, new_epoch: Epoch) -> Result<Epoch, Fault> {
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let done = usize::try_from(version).map_err(|_| Fault::damaged("its schema has a negative version"))?;
    let Some(left) = MIGRATIONS.get(done..) else {
        return Err(Fault::damaged(format!(
            "its schema has version {done}, this program knows {} at most",
            MIGRATIONS.len()
        )));
    };
    for migration in left {
        transaction.execute_batch(migration)?;
    }
    if !left.is_empty() {
        transaction.pragma_update(
            None,
            "user_version",
            i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX),
        )?;
    }
    if version == 0 {
        set(&transaction, "epoch", new_epoch.0.cast_signed())?;
    }
    let epoch = epoch(&transaction)?;
    transaction.commit()?;
    Ok(epoch)
}

/// The epoch of an existing store.
pub(super) fn epoch(db: &Connection) -> Result<Epoch, Fault> {
    let epoch = get(db, "epoch")?.ok_or_else(|| Fault::damaged("it has no epoch"))?;
    Ok(Epoch(epoch.cast_unsigned()))
}

/// If the retention rules are not those of the last time, lets the sweep look at every log.
pub(super) fn apply_retention(db: &mut Connection, retention: &RetentionTable) -> Result<(), Fault> {
    // A hash that another compiler computes differently costs one needless look at every log, no more.
    let mut hasher = DefaultHasher::new();
    format!("{retention:?}").hash(&mut hasher);
    let now = hasher.finish().cast_signed();
    let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    if get(&transaction, "retention")? != Some(now) {
        transaction.execute("UPDATE channels SET due = 0 WHERE tail <= head", [])?;
        set(&transaction, "retention", now)?;
    }
    transaction.commit()?;
    Ok(())
}

fn get(db: &Connection, name: &str) -> Result<Option<i64>, Fault> {
    Ok(db.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()?)
}

fn set(db: &Connection, name: &str, value: i64) -> Result<(), Fault> {
    db.execute(
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        params![name, value],
    )?;
    Ok(())
}
