//! A store as it is at some moment, also while a server writes it: what looks into a store from outside, or
//! copies it, does so through one of these. All segments are opened before any is read, and an open file
//! stays readable when it is removed; so compaction takes nothing away, and one pass is enough.
//!
//! It is a volume on which nothing changes: what is written there is dropped. So a store is opened on it by
//! the very code by which a server opens it, and a check cannot find whole what a server would refuse.

use std::{collections::BTreeMap, io, path::Path, sync::Arc, thread, time::Duration};

use encke_proto::Epoch;

use super::{
    end_mark::{self, EndMark},
    fault::Fault,
    file_name::{file_name, number_of},
    frame::{SEGMENT_HEADER_BYTES, Scan},
    manifest::{self, Manifest},
    opening,
    options::LogOptions,
    volume::{DiskVolume, Volume, VolumeFile},
};
use crate::{EngineError, RetentionTable};

/// How often the names are listed until none is new.
const LISTS_MAX: usize = 100;
/// How often the newest segment is read until no write to it is seen half done.
const READS_MAX: usize = 20;
/// How long a write that goes on is waited for, between two of these.
const READ_PAUSE: Duration = Duration::from_millis(5);

/// The segments of a store at some moment, with the manifest of then.
pub(super) struct Snapshot {
    directory: DiskVolume,
    manifest: Option<Vec<u8>>,
    /// The end mark of before: a server that writes meanwhile is then further than it says.
    end_mark: Option<Vec<u8>>,
    segments: BTreeMap<u32, Arc<dyn VolumeFile>>,
    /// The segment that may be written, and where its last whole frame ends, if it is not damaged.
    newest: Option<(u32, Option<usize>)>,
}

impl Snapshot {
    /// Takes one of the store in a directory.
    pub(super) fn take(path: &Path) -> Result<Self, EngineError> {
        if !path.is_dir() {
            return Err(no_store(path));
        }
        Self::of(DiskVolume::look(path)?, path)
    }

    /// Takes one of a directory that is open.
    pub(super) fn of(directory: DiskVolume, path: &Path) -> Result<Self, EngineError> {
        let failed =
            |error: io::Error| EngineError::from(Fault::from_io(&path.display().to_string(), &error));
        let end_mark = read_end_mark(&directory).map_err(failed)?;
        let mut files: BTreeMap<u32, Arc<dyn VolumeFile>> = BTreeMap::new();
        for _ in 0..LISTS_MAX {
            let numbers = numbers(&directory).map_err(failed)?;
            let new: Vec<u32> = numbers.into_iter().filter(|number| !files.contains_key(number)).collect();
            let is_whole = new.is_empty();
            for number in new {
                match directory.open_to_read(&file_name(number)) {
                    Ok(file) => drop(files.insert(number, file)),
                    // Removed since: what was in use of it lies in a newer one.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(failed(error)),
                }
            }
            let bytes = read_manifest(&directory).map_err(failed)?;
            if bytes.is_none() && files.is_empty() {
                return Err(no_store(path));
            }
            // A segment that it names and that was not listed was begun since.
            let named = bytes.as_deref().and_then(|bytes| Manifest::decode(bytes).ok());
            let is_behind = named.is_some_and(|named| files.keys().next_back() < Some(&named.newest));
            let is_there = |number| directory.open_to_read(&file_name(number)).is_ok();
            if is_whole && !(is_behind && named.is_some_and(|named| is_there(named.newest))) {
                let segments = files.into_iter().map(|(number, file)| (number, View::file(file))).collect();
                let mut snapshot = Self { directory, manifest: bytes, end_mark, segments, newest: None };
                snapshot.hold_newest().map_err(failed)?;
                return Ok(snapshot);
            }
        }
        Err(EngineError::Unavailable(format!("{}: segments are begun faster than opened", path.display())))
    }

    /// Keeps what the newest segment holds now: it is still written. One that was made, but whose header
    /// never came to the disk, is none.
    fn hold_newest(&mut self) -> io::Result<()> {
        let Some((&number, file)) = self.segments.last_key_value() else { return Ok(()) };
        let (bytes, end) = read_newest(number, &**file)?;
        let header = bytes.get(..SEGMENT_HEADER_BYTES).unwrap_or(&bytes);
        if self.segments.len() > 1 && header.iter().all(|byte| *byte == 0) {
            self.segments.remove(&number);
            return self.hold_newest();
        }
        self.segments.insert(number, View::bytes(bytes));
        self.newest = Some((number, end));
        Ok(())
    }

    pub(super) fn manifest(&self) -> Option<&[u8]> {
        self.manifest.as_deref()
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.segments.keys().copied()
    }

    /// Whether it is the segment that may be written.
    pub(super) fn is_newest(&self, number: u32) -> bool {
        self.newest.is_some_and(|(newest, _)| newest == number)
    }

    /// The bytes of a segment.
    pub(super) fn read(&self, number: u32) -> io::Result<Vec<u8>> {
        read_all(&*self.open(&file_name(number))?)
    }

    /// The bytes of a segment without what was not written whole at its end.
    pub(super) fn read_whole_frames(&self, number: u32) -> io::Result<Vec<u8>> {
        let mut bytes = self.read(number)?;
        if let Some((newest, Some(end))) = self.newest
            && newest == number
        {
            bytes.truncate(end);
        }
        Ok(bytes)
    }

    /// Opens the store as a server does, and forgets it. Says what is damaged if a server would refuse it.
    pub(super) fn rehearse(self: &Arc<Self>) -> Result<(), Fault> {
        let volume: Arc<dyn Volume> = Arc::clone(self) as Arc<dyn Volume>;
        let rules = RetentionTable::default();
        opening::open(&volume, rules, Epoch(0), LogOptions::default()).map(drop)
    }
}

fn no_store(path: &Path) -> EngineError {
    EngineError::Unavailable(format!("{}: there is no store", path.display()))
}

fn numbers(volume: &dyn Volume) -> io::Result<Vec<u32>> {
    Ok(volume.list()?.iter().filter_map(|name| number_of(name)).collect())
}

fn read_manifest(volume: &dyn Volume) -> io::Result<Option<Vec<u8>>> {
    match volume.open_to_read(manifest::FILE) {
        Ok(file) => manifest::read_all(&*file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the end mark. One that is just being written may look like damage: it is read again.
fn read_end_mark(volume: &dyn Volume) -> io::Result<Option<Vec<u8>>> {
    let mut last = None;
    for _ in 0..READS_MAX {
        last = match volume.open_to_read(end_mark::FILE) {
            Ok(file) => Some(read_all(&*file)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if last.as_deref().is_some_and(|bytes| EndMark::decode(bytes).is_ok()) {
            break;
        }
        thread::sleep(READ_PAUSE);
    }
    Ok(last)
}

fn read_all(file: &dyn VolumeFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.length()?).map_err(io::Error::other)?];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Reads a segment that may be written, and finds where its last whole frame ends. What lies before that does
/// not change any more. A write that is seen half done may look like damage: it is waited for.
fn read_newest(number: u32, file: &dyn VolumeFile) -> io::Result<(Vec<u8>, Option<usize>)> {
    let mut last = Ok(Vec::new());
    for _ in 0..READS_MAX {
        last = match read_all(file) {
            Ok(bytes) => match whole_frames(number, &bytes) {
                Some(end) => return Ok((bytes, Some(end))),
                None => Ok(bytes),
            },
            // The reserved rest of it was given back meanwhile.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(error),
            Err(error) => return Err(error),
        };
        thread::sleep(READ_PAUSE);
    }
    last.map(|bytes| (bytes, None))
}

fn whole_frames(number: u32, bytes: &[u8]) -> Option<usize> {
    let mut scan = Scan::begin(number, bytes, true).ok()?;
    while scan.next().ok()?.is_some() {}
    Some(scan.scanned().end)
}

impl Volume for Snapshot {
    fn list(&self) -> io::Result<Vec<String>> {
        let segments = self.segments.keys().map(|number| file_name(*number));
        let manifest = self.manifest.is_some().then(|| manifest::FILE.to_owned());
        let end_mark = self.end_mark.is_some().then(|| end_mark::FILE.to_owned());
        Ok(segments.chain(manifest).chain(end_mark).collect())
    }

    fn create(&self, _: &str, _: u64) -> io::Result<Arc<dyn VolumeFile>> {
        Ok(View::bytes(Vec::new()))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VolumeFile>> {
        if let Some(number) = number_of(name) {
            return self.segments.get(&number).cloned().ok_or_else(|| io::ErrorKind::NotFound.into());
        }
        if name == manifest::FILE {
            let bytes = self.manifest.clone().ok_or(io::ErrorKind::NotFound)?;
            return Ok(View::bytes(bytes));
        }
        if name == end_mark::FILE {
            let bytes = self.end_mark.clone().ok_or(io::ErrorKind::NotFound)?;
            return Ok(View::bytes(bytes));
        }
        self.directory.open_to_read(name).map(View::file)
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that does not change. Writes to it are dropped.
enum View {
    File(Arc<dyn VolumeFile>),
    Bytes(Vec<u8>),
}

impl View {
    fn file(file: Arc<dyn VolumeFile>) -> Arc<dyn VolumeFile> {
        Arc::new(Self::File(file))
    }

    fn bytes(bytes: Vec<u8>) -> Arc<dyn VolumeFile> {
        Arc::new(Self::Bytes(bytes))
    }
}

impl VolumeFile for View {
    fn length(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => file.length(),
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_at(into, at),
            Self::Bytes(bytes) => {
                let at = usize::try_from(at).map_err(io::Error::other)?;
                let found = bytes.get(at..at.saturating_add(into.len()));
                into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_length(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn reserve(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
