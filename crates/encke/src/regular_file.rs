//! Files that an operator names: read whole, within a bound, or written at their end, and only if they are
//! regular files. A pipe or a device gives no end, or blocks.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// What is in a file of at most `max_bytes`.
///
/// # Errors
/// As the operating system says; [`io::ErrorKind::InvalidInput`] for what is no regular file, and
/// [`io::ErrorKind::FileTooLarge`].
pub(crate) fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    // Asked by the path: to open a pipe is to wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(irregular());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|count| count <= max_bytes) {
        return Ok(bytes);
    }
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {max_bytes} bytes")))
}

/// A file to write at the end of. If there is none it is made, with this mode less the umask.
///
/// # Errors
/// As the operating system says; [`io::ErrorKind::InvalidInput`] for what is no regular file.
pub(crate) fn append(path: &Path, mode: u32) -> io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(irregular());
    }
    OpenOptions::new().append(true).create(true).mode(mode).open(path)
}

fn irregular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_regular_files_within_the_bound_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("fits"), [b'x'; 8]).unwrap();
        std::fs::write(at("long"), [b'x'; 9]).unwrap();
        std::os::unix::fs::symlink(at("fits"), at("link")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        for good in ["fits", "link"] {
            assert_eq!(read(&at(good), 8).unwrap(), [b'x'; 8], "{good}");
        }
        for (name, kind) in [
            ("long", io::ErrorKind::FileTooLarge),
            ("pipe", io::ErrorKind::InvalidInput),
            (".", io::ErrorKind::InvalidInput),
            ("/dev/zero", io::ErrorKind::InvalidInput),
            ("missing", io::ErrorKind::NotFound),
        ] {
            assert_eq!(read(&at(name), 8).unwrap_err().kind(), kind, "{name}");
        }
        for name in ["pipe", ".", "/dev/zero"] {
            assert_eq!(append(&at(name), 0o640).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        for (name, bytes) in [("fits", 9), ("new", 1)] {
            append(&at(name), 0o640).unwrap().write_all(b"y").unwrap();
            assert_eq!(std::fs::metadata(at(name)).unwrap().len(), bytes, "{name}");
        }
    }
}
