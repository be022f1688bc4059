//! A copy of a store, made while a server has it open or not, and how one comes back. Segments are only ever
//! written at their end, so what all of them hold when they are open is the store as it was at some moment.

use std::{io, path::Path, sync::Arc};

use super::{
    backup_list::{self, BackupFile, BackupList},
    fault::Fault,
    file_name::{file_name, number_of},
    inspect::{CheckReport, check_segment},
    manifest::{self, Manifest},
    partial::{Partial, refused},
    snapshot::Snapshot,
    volume::{DiskVolume, Volume},
};
use crate::EngineError;

/// What becomes of a store that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damaged {
    /// It is not copied.
    Refused,
    /// It is copied with its damage, and the copy says so.
    Copied,
}

/// A copy that was made, or a store that was made of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// The bytes of its files.
    pub bytes: u64,
    /// What is damaged in the store, a line each; known only of a copy that was just made.
    pub damages: Vec<String>,
    /// The store was damaged when the copy was made.
    pub of_damaged: bool,
}

/// Copies the store at `from` to the directory `to`, which must not exist, or be empty. Everything that was
/// answered before this was called is in it. What opens the copy begins a new epoch, since positions that the
/// original gives out later may differ.
///
/// # Errors
/// [`EngineError`] when there is no store at `from`, it is damaged, or the copy cannot be written. Then there
/// is nothing at `to`.
pub fn backup(from: &Path, to: &Path, damaged: Damaged) -> Result<Copied, EngineError> {
    let snapshot = Arc::new(Snapshot::take(from)?);
    let mut report = CheckReport::default();
    report.add(snapshot.rehearse())?;
    refuse(&report, damaged)?;
    let partial = Partial::begin(to)?;
    let volume = partial.volume();
    let mut list = BackupList::default();
    for number in snapshot.numbers() {
        let bytes = snapshot.read_whole_frames(number).map_err(|error| failed(&file_name(number), &error))?;
        let checked = check_segment(number, &bytes, snapshot.is_newest(number), &mut report);
        report.add(checked)?;
        refuse(&report, damaged)?;
        list.add(&*volume, file_name(number), &bytes)?;
    }
    if let Some(bytes) = snapshot.manifest() {
        list.add(&*volume, manifest::FILE.to_owned(), &copied_manifest(bytes))?;
    }
    list.damaged = !report.damages.is_empty();
    list.write(&*volume).map_err(|error| failed(backup_list::FILE, &error))?;
    partial.finish().map_err(|error| failed("the copy", &error))?;
    Ok(Copied { bytes: list.bytes(), of_damaged: list.damaged, damages: report.damages })
}

fn refuse(report: &CheckReport, damaged: Damaged) -> Result<(), EngineError> {
    match report.damages.first() {
        Some(first) if damaged == Damaged::Refused => Err(EngineError::Damaged(first.clone())),
        _ => Ok(()),
    }
}

fn failed(doing: &str, error: &io::Error) -> EngineError {
    Fault::from_io(doing, error).into()
}

/// The manifest of the copy. One that does not parse is copied as it is, like all that is damaged.
fn copied_manifest(bytes: &[u8]) -> Vec<u8> {
    match Manifest::decode(bytes) {
        Ok(manifest) => Manifest { copied: true, ..manifest }.encode(),
        Err(_) => bytes.to_vec(),
    }
}

/// Puts a copy in the place of a store: into the directory `to`, which must not exist, or be empty. Nothing
/// may have the copy open. Each file of the copy is compared with what the copy says of it.
///
/// # Errors
/// [`EngineError`] when `from` is no copy of a store, it is not finished or was changed since, or the store
/// cannot be written. Then there is nothing at `to`.
pub fn restore(from: &Path, to: &Path) -> Result<Copied, EngineError> {
    if !from.is_dir() {
        return Err(refused(from, "there is no copy of a store"));
    }
    let source = DiskVolume::look_alone(from)?;
    let list = match BackupList::read(&source)? {
        Some(list) => list,
        None => return Err(no_copy(from, &source)),
    };
    let partial = Partial::begin(to)?;
    let volume = partial.volume();
    for file in &list.files {
        let copy = volume.create(&file.name, 0).map_err(|error| failed(&file.name, &error))?;
        let mut at = 0;
        file.read(&source, |bytes| {
            copy.write_at(bytes, at).map_err(|error| Fault::from_io(&file.name, &error))?;
            at += bytes.len() as u64;
            Ok(())
        })?;
        copy.sync().map_err(|error| failed(&file.name, &error))?;
    }
    list.write(&*volume).map_err(|error| failed(backup_list::FILE, &error))?;
    partial.finish().map_err(|error| failed("the store", &error))?;
    Ok(Copied { bytes: list.bytes(), damages: Vec::new(), of_damaged: list.damaged })
}

/// Why a directory without a list is no copy.
fn no_copy(from: &Path, source: &DiskVolume) -> EngineError {
    let names = source.list().unwrap_or_default();
    if Manifest::read(source).is_ok_and(|manifest| manifest.is_some_and(|manifest| !manifest.copied)) {
        return refused(from, "this is a store and no copy of one; `encke backup` makes one");
    }
    if names.iter().any(|name| number_of(name).is_some()) {
        return backup_list::not_finished().into();
    }
    refused(from, "there is no copy of a store")
}

impl BackupList {
    /// Writes a file of a copy, and enters it.
    fn add(&mut self, volume: &dyn Volume, name: String, bytes: &[u8]) -> Result<(), EngineError> {
        let write = || {
            let file = volume.create(&name, 0)?;
            file.write_at(bytes, 0)?;
            file.sync()
        };
        write().map_err(|error| failed(&name, &error))?;
        self.files.push(BackupFile { name, bytes: bytes.len() as u64, crc32c: crc32c::crc32c(bytes) });
        Ok(())
    }
}
