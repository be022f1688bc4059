//! A directory that is being filled. It bears another name until it is whole, so that what failed on the way
//! is never taken for the whole, and is in no way of the next try.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    backup_list,
    fault::Fault,
    file_name::{index_of, number_of},
    manifest,
    volume::{DiskVolume, Volume, sync_parent},
};
use crate::EngineError;

/// What the name of the directory ends with until it is whole.
const ENDING: &str = ".partial";

/// A directory that is not whole yet. If it is dropped before it is, its files are removed.
pub(super) struct Partial {
    volume: Arc<DiskVolume>,
    path: PathBuf,
    target: PathBuf,
    whole: bool,
}

impl Partial {
    /// Begins to fill what will be `target`, which must not exist or be an empty directory. What an earlier
    /// try has left is removed.
    pub(super) fn begin(target: &Path) -> Result<Self, EngineError> {
        let target = free_target(target)?;
        let Some(name) = target.file_name() else {
            return Err(refused(&target, "the directory has to be named"));
        };
        let mut partial_name = OsString::from(name);
        partial_name.push(ENDING);
        let path = target.with_file_name(partial_name);
        let volume = Arc::new(DiskVolume::make(&path)?);
        let failed =
            |error: io::Error| EngineError::from(Fault::from_io(&path.display().to_string(), &error));
        let names = volume.list().map_err(failed)?;
        if let Some(other) = names.iter().find(|name| !is_of_store(name)) {
            return Err(refused(&path, &format!("{other} in it is not of a store, so it is not removed")));
        }
        let partial = Self { volume, path: path.clone(), target, whole: false };
        partial.clear().map_err(failed)?;
        Ok(partial)
    }

    /// What is filled.
    pub(super) fn volume(&self) -> Arc<DiskVolume> {
        Arc::clone(&self.volume)
    }

    /// All is written and synced: gives the directory its name.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.volume.sync_names()?;
        fs::rename(&self.path, &self.target)?;
        self.whole = true;
        sync_parent(&self.target)
    }

    fn clear(&self) -> io::Result<()> {
        self.volume
            .list()?
            .iter()
            .filter(|name| is_of_store(name))
            .try_for_each(|name| self.volume.remove(name))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // What cannot be removed now, the next try removes.
        if !self.whole && self.clear().is_ok() {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Whether a file of this name is one that a store or a copy has.
fn is_of_store(name: &str) -> bool {
    let fixed = [manifest::FILE, manifest::NEW, backup_list::FILE, "LOCK"];
    number_of(name).is_some() || index_of(name).is_some() || fixed.contains(&name)
}

/// Sees to it that a directory can take the name at the end.
fn free_target(target: &Path) -> Result<PathBuf, EngineError> {
    let failed = |error: io::Error| refused(target, &error.to_string());
    if !target.try_exists().map_err(failed)? {
        return Ok(target.to_owned());
    }
    if fs::read_dir(target).map_err(failed)?.next().is_some() {
        return Err(refused(target, "the directory is not empty"));
    }
    let target = fs::canonicalize(target).map_err(failed)?;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    if let Some(parent) = target.parent()
        && device(parent).map_err(failed)? != device(&target).map_err(failed)?
    {
        return Err(refused(&target, "this is where a disk is mounted; name a directory in it"));
    }
    Ok(target)
}

pub(super) fn refused(path: &Path, what: &str) -> EngineError {
    EngineError::Unavailable(format!("{}: {what}", path.display()))
}
