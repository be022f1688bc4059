//! A directory on this machine's disk, with a lock file that keeps it to one process.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::FallocateFlags;

use super::{Volume, VolumeFile, write_zeros};
use crate::EngineError;

/// The lock file's name.
const LOCK: &str = "LOCK";
/// Messages are not for other users of the machine: the owner alone reads and writes.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// From which length on the file system is told to have zeros somewhere, instead of having them written.
const ZERO_RANGE_MIN_BYTES: u64 = 1 << 20;

/// A directory that this process has locked. The operating system lets go of the lock when the process dies,
/// however it dies.
#[derive(Debug)]
pub struct DiskVolume {
    path: PathBuf,
    /// The open file is the lock; none of who only looks.
    _lock: Option<File>,
}

impl DiskVolume {
    /// Makes the directory if it is not there, and locks it.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when another process has it, or when the file system refuses.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        make_directory(path).map_err(|error| unavailable(path, &error))?;
        let lock = path.join(LOCK);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(FILE_MODE);
        let file = options.open(&lock).map_err(|error| unavailable(&lock, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: Some(file) }),
            Err(TryLockError::WouldBlock) => Err(EngineError::Unavailable(format!(
                "another process has the store in {} open; a store has one server",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(unavailable(&lock, &error)),
        }
    }

    /// A directory that another process may have locked. Only what reads may be done with it.
    #[must_use]
    pub fn look(path: &Path) -> Self {
        Self { path: path.to_owned(), _lock: None }
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
    // The new name is in the directory above, which has to be durable as well.
    let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

impl Volume for DiskVolume {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is none of the store's.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn VolumeFile>> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).read(true).write(true).mode(FILE_MODE);
        let file = DiskFile(options.open(self.path.join(name))?);
        file.reserve(bytes)?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VolumeFile>> {
        Ok(Arc::new(DiskFile(OpenOptions::new().read(true).write(true).open(self.path.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
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
