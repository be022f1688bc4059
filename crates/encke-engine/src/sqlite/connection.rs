//! Opens SQLite connections with the settings that durability depends on. The schema is in `schema.rs`.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use super::fault::Fault;

/// How long a connection waits for a lock before it gives up, in milliseconds. There is one writer, so only
/// the end of a checkpoint is ever waited for.
const BUSY_MS: u64 = 2000;
/// How many statements each connection keeps prepared.
const STATEMENTS: usize = 64;
/// The writer's page cache, in KiB. A transaction that is larger goes to the disk in part before it is
/// committed.
const WRITER_CACHE_KIB: i64 = 64 * 1024;
/// After how many pages the write-ahead log is copied into the database.
const CHECKPOINT_PAGES: i64 = 4096;
/// To how many bytes the write-ahead log's file is cut back after a large transaction.
const LOG_MAX_BYTES: i64 = 64 << 20;

/// Opens the connection that writes, and makes the file if there is none.
pub(super) fn writer(file: &Path) -> Result<Connection, Fault> {
    let db = open(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Fault::Broken(format!(
            "the store's file system does not allow a write-ahead log; its journal mode stays {mode}"
        )));
    }
    // FULL: every commit waits until the disk has it. That is what `accepted` means.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    db.pragma_update(None, "journal_size_limit", LOG_MAX_BYTES)?;
    Ok(db)
}

/// Opens a connection that only reads.
pub(super) fn reader(file: &Path) -> Result<Connection, Fault> {
    // Readers of a write-ahead log write to its shared index, hence not SQLITE_OPEN_READ_ONLY.
    let db = open(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

fn open(file: &Path, flags: OpenFlags) -> Result<Connection, Fault> {
    // No mutex inside SQLite: each connection belongs to one thread.
    let db = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(Duration::from_millis(BUSY_MS))?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.pragma_update(None, "cell_size_check", true)?;
    db.pragma_update(None, "trusted_schema", false)?;
    Ok(db)
}
