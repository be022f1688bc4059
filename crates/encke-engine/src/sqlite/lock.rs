//! The lock file that keeps a store to one process, and the fsync of directories. SQLite's own write lock
//! ends with each transaction, so it cannot serve for that.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    path::Path,
};

use crate::EngineError;

/// The lock file's name in the store's directory.
const FILE: &str = "encke.lock";

/// Held for as long as a store is open, so that no second process gives out the same offsets. The operating
/// system lets go of it when the process dies, however it dies.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl Lock {
    pub(super) fn take(dir: &Path) -> Result<Self, EngineError> {
        make_directory(dir)?;
        let path = dir.join(FILE);
        let fail = |error: std::io::Error| EngineError::Unavailable(format!("{}: {error}", path.display()));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(EngineError::Unavailable(format!(
                "another process has the store in {} open; a store has one server",
                dir.display()
            ))),
            Err(TryLockError::Error(error)) => Err(fail(error)),
        }
    }
}

/// Makes the store's directory when it is not there, so that a first start needs no preparation.
fn make_directory(dir: &Path) -> Result<(), EngineError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)
        .map_err(|error| EngineError::Unavailable(format!("{}: {error}", dir.display())))?;
    // The new name is in the directory above, which has to be durable as well.
    match dir.parent() {
        Some(parent) if parent != Path::new("") => make_entries_durable(parent),
        _ => make_entries_durable(Path::new(".")),
    }
}

/// Makes the names of new files durable, as fsync of a file alone does not.
pub(super) fn make_entries_durable(dir: &Path) -> Result<(), EngineError> {
    let fail = |error: std::io::Error| EngineError::Unavailable(format!("{}: {error}", dir.display()));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail)
}
