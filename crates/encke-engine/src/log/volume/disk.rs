//! A directory on this machine's disk. It is reached through its descriptor alone, so that a store whose
//! directory is moved goes on where it is, and writes nothing into one that takes the old name.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, FileExt, MetadataExt},
    },
    path::Path,
    sync::Arc,
};

use rustix::fs::{AtFlags, Dir, FallocateFlags, Mode, OFlags};

use super::{Volume, VolumeFile, write_zeros};
use crate::EngineError;

/// The lock file's name.
const LOCK: &str = "LOCK";
/// Messages are not for other users of the machine: the owner alone reads and writes.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// From which length on the file system is told to have zeros somewhere, instead of having them written.
const ZERO_RANGE_MIN_BYTES: u64 = 1 << 20;

/// An open directory.
#[derive(Debug)]
pub struct DiskVolume {
    /// If this process has locked the directory, then by this descriptor.
    directory: File,
    /// The locked file of a store that is open.
    _lock: Option<File>,
}

impl DiskVolume {
    /// Makes the directory if it is not there, and locks it for a store. The operating system lets go of the
    /// locks when the process dies, however it dies.
    ///
    /// The directory itself is locked: no file in it could be relied on, since each can be removed. Its lock
    /// file is locked besides, which some network file systems tell other machines.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when another process has it, or when the file system refuses.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let volume = Self::make(path)?;
        let flags = OFlags::CREATE | OFlags::WRONLY;
        let lock = volume.open_file(LOCK, flags).map_err(|error| unavailable(&path.join(LOCK), &error))?;
        held(path, lock.try_lock())?;
        Ok(Self { _lock: Some(lock), ..volume })
    }

    /// Makes the directory if it is not there, and locks it for a process that fills it.
    ///
    /// # Errors
    /// As [`DiskVolume::open`].
    pub fn make(path: &Path) -> Result<Self, EngineError> {
        make_directory(path).map_err(|error| unavailable(path, &error))?;
        let volume = Self::look(path)?;
        held(path, volume.directory.try_lock())?;
        // Until it was locked, another process may have given it another name.
        let is_same = || {
            let (locked, named) = (volume.directory.metadata()?, fs::metadata(path)?);
            Ok((locked.dev(), locked.ino()) == (named.dev(), named.ino()))
        };
        match is_same() {
            Ok(true) => Ok(volume),
            Ok(false) => Err(unavailable(path, &io::Error::other("the directory was replaced meanwhile"))),
            Err(error) => Err(unavailable(path, &error)),
        }
    }

    /// A directory that another process may have locked. Only what reads may be done with it.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when there is none, or when the file system refuses.
    pub fn look(path: &Path) -> Result<Self, EngineError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty());
        let directory = directory.map_err(|error| unavailable(path, &error.into()))?;
        Ok(Self { directory: File::from(directory), _lock: None })
    }

    /// The same, of a directory that no process may have open to write into.
    ///
    /// # Errors
    /// As [`DiskVolume::look`], and when a process has it open.
    pub fn look_alone(path: &Path) -> Result<Self, EngineError> {
        let volume = Self::look(path)?;
        held(path, volume.directory.try_lock_shared())?;
        Ok(volume)
    }

    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let mode = Mode::from_raw_mode(FILE_MODE);
        let file: OwnedFd = rustix::fs::openat(&self.directory, name, flags | OFlags::CLOEXEC, mode)?;
        Ok(File::from(file))
    }
}

fn held(path: &Path, locked: Result<(), TryLockError>) -> Result<(), EngineError> {
    match locked {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(EngineError::Unavailable(format!(
            "another process has the store in {} open; a store has one server",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unavailable(path, &error)),
    }
}

fn unavailable(path: &Path, error: &io::Error) -> EngineError {
    EngineError::Unavailable(format!("{}: {error}", path.display()))
}

/// Makes the store's directory when it is not there, so that a first start needs no preparation.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)?;
    sync_parent(path)
}

/// Makes the name of a directory durable. It is in the directory above.
pub(in crate::log) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

impl Volume for DiskVolume {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            // A name that is not UTF-8 is none of the store's.
            let name = entry?.file_name().to_str().ok().map(str::to_owned);
            names.extend(name.filter(|name| name != "." && name != ".."));
        }
        Ok(names)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn VolumeFile>> {
        let file = DiskFile(self.open_file(name, OFlags::CREATE | OFlags::TRUNC | OFlags::RDWR)?);
        file.reserve(bytes)?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VolumeFile>> {
        Ok(Arc::new(DiskFile(self.open_file(name, OFlags::RDWR)?)))
    }

    fn open_to_read(&self, name: &str) -> io::Result<Arc<dyn VolumeFile>> {
        Ok(Arc::new(DiskFile(self.open_file(name, OFlags::RDONLY)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.directory, from, &self.directory, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.directory, name, AtFlags::empty())?)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.directory.sync_all()
    }
}

struct DiskFile(File);

impl VolumeFile for DiskFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn zero(&self, from: u64, to: u64) -> io::Result<()> {
        let bytes = to.saturating_sub(from);
        let is_long = bytes >= ZERO_RANGE_MIN_BYTES;
        if is_long && rustix::fs::fallocate(&self.0, FallocateFlags::ZERO_RANGE, from, bytes).is_ok() {
            return Ok(());
        }
        write_zeros(self, from, to)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, bytes) {
            // A file system that reserves nothing fills up later, at a write.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
