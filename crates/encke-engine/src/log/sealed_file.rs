//! The files of segments that are not written any more. A store may have thousands, so they are opened when
//! something is read from them, and a bounded number of them stays open.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use super::{
    file_name::file_name,
    volume::{Volume, VolumeFile},
};

/// How many segments stay open besides the one that is written. While one is read it may be one more for each
/// thread that reads.
pub const OPEN_SEGMENTS_MAX: usize = 32;

/// The segments that are open, the one that was read last at the end.
pub(super) struct OpenSegments {
    /// The store lets go of its directory when it is stopped, even while its segments are still known.
    volume: Weak<dyn Volume>,
    open: Mutex<VecDeque<(u32, Arc<dyn VolumeFile>)>>,
}

impl OpenSegments {
    pub(super) fn new(volume: &Arc<dyn Volume>) -> Arc<Self> {
        Arc::new(Self { volume: Arc::downgrade(volume), open: Mutex::default() })
    }

    /// A segment as a file that is open while it is read.
    pub(super) fn file(self: &Arc<Self>, number: u32) -> Arc<dyn VolumeFile> {
        Arc::new(SealedFile { number, segments: Arc::clone(self), held: OnceLock::new() })
    }

    fn get(&self, number: u32) -> io::Result<Arc<dyn VolumeFile>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) =
            open.iter().position(|(known, _)| *known == number).and_then(|at| open.remove(at))
        {
            let file = Arc::clone(&known.1);
            open.push_back(known);
            return Ok(file);
        }
        drop(open);
        let volume = self.volume.upgrade().ok_or_else(|| io::Error::other("the store was closed"))?;
        let file = volume.open_to_read(&file_name(number))?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have opened it meanwhile.
        open.retain(|(known, _)| *known != number);
        open.push_back((number, Arc::clone(&file)));
        if open.len() > OPEN_SEGMENTS_MAX {
            open.pop_front();
        }
        Ok(file)
    }

    fn forget(&self, number: u32) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(known, _)| *known != number);
    }
}

/// A segment's file, open or not.
struct SealedFile {
    number: u32,
    segments: Arc<OpenSegments>,
    /// The file for those who still read it when it is removed.
    held: OnceLock<Arc<dyn VolumeFile>>,
}

impl SealedFile {
    fn get(&self) -> io::Result<Arc<dyn VolumeFile>> {
        if let Some(held) = self.held.get() {
            return Ok(Arc::clone(held));
        }
        // It may have been held, and removed, since it was looked for.
        self.segments.get(self.number).or_else(|error| self.held.get().cloned().ok_or(error))
    }
}

impl Drop for SealedFile {
    fn drop(&mut self) {
        // A file that was removed takes space as long as it is open.
        self.segments.forget(self.number);
    }
}

impl VolumeFile for SealedFile {
    fn length(&self) -> io::Result<u64> {
        self.get()?.length()
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.get()?.read_at(bytes, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.get()?.write_at(bytes, at)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.get()?.reserve(bytes)
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.get()?.set_length(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.get()?.sync()
    }

    fn hold(&self) -> io::Result<()> {
        let file = self.get()?;
        self.segments.forget(self.number);
        self.held.get_or_init(|| file);
        Ok(())
    }
}
