//! An address to listen at, of TCP or a file, and a listener there for each shard. Which connections it may
//! have, and what is served on them, is known elsewhere.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use mio::net::UnixListener;
use socket2::Socket;

use super::{
    socket_file::SocketFile,
    sockets::{BACKLOG, listen, reserve},
};
use crate::{config::ListenAddress, shards::StreamListener};

/// Where a server listens.
#[derive(Debug)]
pub struct Listening {
    /// The address, with the port that there is.
    pub address: ListenAddress,
    /// The file of the socket, removed at the end.
    _file: Option<SocketFile>,
}

/// An address at which nothing is accepted yet.
pub(super) enum ListenSockets {
    Tcp(SocketAddr, Vec<Socket>),
    /// Its file is made when it listens: a second server would take it for one whose server is gone.
    Unix(PathBuf),
}

impl ListenSockets {
    /// What a setting asks for, for so many shards. `heartbeat` bounds the silence of a peer that is gone.
    ///
    /// # Errors
    /// Those of bind(2).
    pub(super) fn reserve(address: &ListenAddress, count: usize, heartbeat: Duration) -> io::Result<Self> {
        Ok(match address {
            ListenAddress::Tcp(address) => {
                let (address, sockets) = reserve(*address, count, heartbeat)?;
                Self::Tcp(address, sockets)
            }
            ListenAddress::Unix(path) => Self::Unix(path.clone()),
        })
    }

    /// A listener for each of so many shards.
    ///
    /// # Errors
    /// Those of bind(2) and listen(2).
    pub(super) fn listen(self, count: usize) -> io::Result<(Listening, Vec<StreamListener>)> {
        match self {
            Self::Tcp(address, sockets) => {
                let listeners = listen(address, sockets)?;
                let listening = Listening { address: ListenAddress::Tcp(address), _file: None };
                Ok((listening, listeners.into_iter().map(StreamListener::Tcp).collect()))
            }
            Self::Unix(path) => {
                let (socket, file) = SocketFile::listen(&path, BACKLOG)?;
                // The kernel tells all shards of a connection, and the first that asks has it.
                let each = (0..count).map(|_| {
                    let listener = UnixListener::from_std(socket.try_clone()?.into());
                    Ok(StreamListener::Unix(listener))
                });
                let listeners = each.collect::<io::Result<Vec<_>>>()?;
                Ok((Listening { address: ListenAddress::Unix(path), _file: Some(file) }, listeners))
            }
        }
    }
}
