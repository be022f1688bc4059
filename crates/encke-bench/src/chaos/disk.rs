//! A small disk: memory as a file system, which can be filled to the last byte and freed again.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// What is left of it when the store's files are copied there, in bytes, before the ballast comes.
const SPARE_BYTES: u64 = 64 << 20;

/// A mounted disk. It is unmounted when it is dropped.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one that is large enough for the files of `data`.
    ///
    /// # Errors
    /// When that is not allowed: it takes root.
    pub fn mount(scratch: &Path, data: &Path) -> io::Result<Self> {
        let path = scratch.join("disk");
        fs::create_dir_all(&path)?;
        let mut bytes = SPARE_BYTES;
        for entry in fs::read_dir(data)? {
            bytes += entry?.metadata()?.len();
        }
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "encke-chaos"])
            .arg(&path)
            .output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Fills it until not one more byte has room.
    ///
    /// # Errors
    /// When something else than its being full is in the way.
    pub fn fill(&self) -> io::Result<()> {
        let mut ballast = File::create(self.ballast())?;
        let mut piece = vec![7; 1 << 20];
        while !piece.is_empty() {
            match ballast.write(&piece) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => piece.truncate(piece.len() / 2),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes room again.
    ///
    /// # Errors
    /// When the ballast cannot be removed.
    pub fn free(&self) -> io::Result<()> {
        fs::remove_file(self.ballast())
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A server that is about to be killed may still have files there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}
