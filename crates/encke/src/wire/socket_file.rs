//! The file of a unix socket: made for this server's group, taken over when its server is gone, and removed
//! at the end.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Socket, Type};

/// The owner and the group of the file may connect (unix(7): that needs the right to write).
const MODE: u32 = 0o660;

/// The file of a socket. Dropping it removes it, unless another has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Which file it is: its device and its number there.
    is: (u64, u64),
}

impl SocketFile {
    /// A socket at this path that accepts up to `backlog` connections at a time.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] where another server listens, [`io::ErrorKind::AlreadyExists`] where a
    /// file is that is no socket, and those of the file system.
    pub(super) fn listen(path: &Path, backlog: i32) -> io::Result<(Socket, Self)> {
        remove_stale(path)?;
        let socket = new_socket()?;
        socket.bind(&SockAddr::unix(path)?)?;
        let metadata = fs::symlink_metadata(path)?;
        let file = Self { path: path.to_owned(), is: (metadata.dev(), metadata.ino()) };
        // Before it listens: until then no connection is made, whatever the umask lets the file be.
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
        socket.listen(backlog)?;
        Ok((socket, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_own = |metadata: fs::Metadata| (metadata.dev(), metadata.ino()) == self.is;
        if fs::symlink_metadata(&self.path).is_ok_and(is_own)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the file of a socket cannot be removed");
        }
    }
}

fn new_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Removes the file of a socket at which no server listens any more.
fn remove_stale(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    match new_socket()?.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // One whose queue is full is there all the same.
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_socket_is_for_its_group_and_its_file_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let (socket, file) = SocketFile::listen(&path, 16).unwrap();
        assert_eq!(mode(&path), 0o660);
        UnixStream::connect(&path).unwrap();
        let second = SocketFile::listen(&path, 16).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        UnixStream::connect(&path).unwrap();
        drop((socket, file));
        assert!(!path.exists());
    }

    #[test]
    fn the_file_of_a_server_that_was_killed_is_taken_over_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let (socket, file) = SocketFile::listen(&path, 16).unwrap();
        // What is left of it after a kill.
        std::mem::forget(file);
        drop(socket);
        assert!(path.exists());
        let (_socket, first) = SocketFile::listen(&path, 16).unwrap();
        fs::remove_file(&path).unwrap();
        let (_second_socket, second) = SocketFile::listen(&path, 16).unwrap();
        drop(first);
        assert!(path.exists(), "it is the file of the second");
        drop(second);
        fs::write(&path, "precious").unwrap();
        let refused = SocketFile::listen(&path, 16).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let nowhere = SocketFile::listen(&dir.path().join("none/admin.sock"), 16).unwrap_err();
        assert_eq!(nowhere.kind(), io::ErrorKind::NotFound);
    }
}
