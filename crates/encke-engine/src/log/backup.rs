//! A copy of a store, made while a server has it open or not, and how one comes back. Segments are only ever
//! written at their end, so a copy that takes them in their order is the store as it was at some moment.

use std::{collections::BTreeSet, fs, io, path::Path};

use super::{
    fault::Fault,
    file_name::{file_name, number_of},
    frame::Scan,
    manifest::Manifest,
    volume::{DiskVolume, Volume, VolumeFile},
};
use crate::EngineError;

/// How often a copy begins anew when a running server has removed a segment that it compacted.
const TRIES_MAX: usize = 10;
/// How much is copied at a time, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Copies the store at `from` to the directory `to`, which must not exist. Whatever opens the copy begins a
/// new epoch, since positions that the original gives out later may differ.
///
/// # Errors
/// [`EngineError`] when there is no store at `from`, or the copy cannot be written.
pub fn backup(from: &Path, to: &Path) -> Result<u64, EngineError> {
    let source = DiskVolume::look(from);
    let target = new_volume(to)?;
    for _ in 0..TRIES_MAX {
        let manifest = Manifest::read(&source)?;
        let manifest = manifest.ok_or_else(|| refused(from, "there is no store"))?;
        match copy_segments(&source, &target) {
            Ok(Some((bytes, newest))) => {
                Manifest { copied: true, newest, ..manifest }.write(&target)?;
                return Ok(bytes);
            }
            Ok(None) => {}
            Err(error) => return Err(Fault::from_io("the copy", &error).into()),
        }
    }
    Err(refused(from, "segments were compacted as fast as they were copied"))
}

/// Puts a copy in the place of a store: into the directory `to`, which must not exist. Nothing may have the
/// copy open.
///
/// # Errors
/// [`EngineError`] when `from` is no copy of a store, or the store cannot be written.
pub fn restore(from: &Path, to: &Path) -> Result<u64, EngineError> {
    let source = DiskVolume::open(from)?;
    let manifest = Manifest::read(&source)?.ok_or_else(|| refused(from, "there is no copy of a store"))?;
    let target = new_volume(to)?;
    let bytes = copy_segments(&source, &target).map_err(|error| Fault::from_io("the copy", &error))?;
    let (bytes, newest) = bytes.ok_or_else(|| refused(from, "a segment was removed meanwhile"))?;
    Manifest { copied: true, newest, ..manifest }.write(&target)?;
    Ok(bytes)
}

fn refused(path: &Path, what: &str) -> EngineError {
    EngineError::Unavailable(format!("{}: {what}", path.display()))
}

fn new_volume(path: &Path) -> Result<DiskVolume, EngineError> {
    match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Ok(false) => return Err(refused(path, "the directory is not empty")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refused(path, &error.to_string())),
    }
    DiskVolume::open(path)
}

/// Copies all segments in their order; none when one was removed meanwhile. Returns the bytes, and
/// the newest segment.
fn copy_segments(source: &dyn Volume, target: &dyn Volume) -> io::Result<Option<(u64, u32)>> {
    let numbers = |volume: &dyn Volume| -> io::Result<BTreeSet<u32>> {
        Ok(volume.list()?.iter().filter_map(|name| number_of(name)).collect())
    };
    let wanted = numbers(source)?;
    for gone in numbers(target)?.difference(&wanted) {
        target.remove(&file_name(*gone))?;
    }
    let mut bytes = 0;
    for number in &wanted {
        let from = match source.open(&file_name(*number)) {
            Ok(from) => from,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let to = target.create(&file_name(*number), 0)?;
        bytes += match Some(number) == wanted.last() {
            true => copy_newest(*number, &*from, &*to)?,
            false => copy_file(&*from, &*to)?,
        };
    }
    // One that went before its turn came would have been missed above only if it was never listed.
    let left = numbers(source)?;
    if !wanted.is_subset(&left) {
        return Ok(None);
    }
    target.sync_names()?;
    Ok(Some((bytes, wanted.last().copied().unwrap_or_default())))
}

fn copy_file(from: &dyn VolumeFile, to: &dyn VolumeFile) -> io::Result<u64> {
    let (length, mut at) = (from.length()?, 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    while at < length {
        let part = usize::try_from(length - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        from.read_at(&mut chunk[..part], at)?;
        to.write_at(&chunk[..part], at)?;
        at += part as u64;
    }
    to.sync()?;
    Ok(at)
}

/// Copies the segment that is being written, up to the end of its last whole frame: what lies before that
/// does not change any more, while what lies behind may be read half written.
fn copy_newest(number: u32, from: &dyn VolumeFile, to: &dyn VolumeFile) -> io::Result<u64> {
    let (mut bytes, mut end) = (Vec::new(), None);
    for _ in 0..TRIES_MAX {
        bytes.resize(usize::try_from(from.length()?).map_err(io::Error::other)?, 0);
        match from.read_at(&mut bytes, 0) {
            Ok(()) => {}
            // The reserved rest of it was given back meanwhile.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(error),
        }
        end = whole_frames(number, &bytes);
        if end.is_some() {
            break;
        }
    }
    // What is damaged for good is copied as it is, and told by whatever opens the copy.
    let copied = &bytes[..end.unwrap_or(bytes.len())];
    to.write_at(copied, 0)?;
    to.sync()?;
    Ok(copied.len() as u64)
}

fn whole_frames(number: u32, bytes: &[u8]) -> Option<usize> {
    let mut scan = Scan::begin(number, bytes, true).ok()?;
    while scan.next().ok()?.is_some() {}
    Some(scan.scanned().end)
}
