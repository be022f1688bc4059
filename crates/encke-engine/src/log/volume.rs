//! What the store needs of a directory of files. The real one is in `volume/disk.rs`; tests put one in its
//! place that loses what was not synced, or fails.

mod disk;

use std::{io, sync::Arc};

pub use self::disk::DiskVolume;
pub(super) use self::disk::sync_parent;

/// How many zeros one write has at most, in bytes.
const ZEROS_BYTES: usize = 64 << 10;

/// A flat directory that belongs to one store.
pub trait Volume: Send + Sync + 'static {
    /// The names of all files.
    ///
    /// # Errors
    /// Those of the file system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes an empty file, in the place of one that has the name, and reserves `bytes` of zeros for it.
    ///
    /// # Errors
    /// Those of the file system; [`io::ErrorKind::StorageFull`] when they cannot be reserved.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn VolumeFile>>;

    /// Opens a file that is there.
    ///
    /// # Errors
    /// Those of the file system.
    fn open(&self, name: &str) -> io::Result<Arc<dyn VolumeFile>>;

    /// Opens a file that is there, to read it alone: also where nothing may be written.
    ///
    /// # Errors
    /// Those of the file system.
    fn open_to_read(&self, name: &str) -> io::Result<Arc<dyn VolumeFile>> {
        self.open(name)
    }

    /// Gives a file another name, in the place of what has it.
    ///
    /// # Errors
    /// Those of the file system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the file system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all names durable, as syncing a file alone does not.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync_names(&self) -> io::Result<()>;
}

/// An open file of a [`Volume`].
pub trait VolumeFile: Send + Sync + 'static {
    /// How long it is, in bytes, with what is reserved.
    ///
    /// # Errors
    /// Those of the file system.
    fn length(&self) -> io::Result<u64>;

    /// Fills `bytes` from the place `at`.
    ///
    /// # Errors
    /// Those of the file system; [`io::ErrorKind::UnexpectedEof`] behind the end.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes all of `bytes` at the place `at`.
    ///
    /// # Errors
    /// Those of the file system. Some of it may have been written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Keeps it readable when its name is gone, however it is opened otherwise.
    ///
    /// # Errors
    /// Those of the file system.
    fn hold(&self) -> io::Result<()> {
        Ok(())
    }

    /// Writes zeros over what lies from the place `from` up to `to`, as a write does: the next sync that
    /// succeeds says that they are on the disk, whatever was lost there before.
    ///
    /// # Errors
    /// Those of the file system. Some of it may have been written.
    fn zero(&self, from: u64, to: u64) -> io::Result<()> {
        write_zeros(self, from, to)
    }

    /// Reserves space up to the length `bytes`, and makes it that long with zeros if it is shorter.
    ///
    /// # Errors
    /// Those of the file system; [`io::ErrorKind::StorageFull`] when there is no space.
    fn reserve(&self, bytes: u64) -> io::Result<()>;

    /// Cuts it to this length, or fills it up with zeros.
    ///
    /// # Errors
    /// Those of the file system.
    fn set_length(&self, bytes: u64) -> io::Result<()>;

    /// Returns when all that was written is on the disk.
    ///
    /// # Errors
    /// Those of the file system. What was written since the last success is then lost or not, and trying
    /// again does not tell.
    fn sync(&self) -> io::Result<()>;
}

fn write_zeros(file: &(impl VolumeFile + ?Sized), from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    let mut at = from;
    while at < to {
        let part = usize::try_from(to - at).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
        file.write_at(&zeros[..part], at)?;
        at += part as u64;
    }
    Ok(())
}
