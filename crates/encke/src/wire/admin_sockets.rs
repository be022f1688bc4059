//! Where operators come in, if they have a listener of their own.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use mio::net::UnixListener;
use socket2::Socket;

use super::{
    socket_file::SocketFile,
    sockets::{BACKLOG, listen, reserve},
};
use crate::{
    config::{Config, ListenAddress},
    connection::{ConnectionLimit, ConnectionLimits, ListenerRole},
    listeners::hyper_server::ADMIN_CONNECTIONS_MAX,
    shards::{AdminListener, StreamListener},
};

/// What a server holds of its listener for operators.
#[derive(Debug)]
pub struct Admin {
    /// Where it listens.
    pub address: ListenAddress,
    /// The file of the socket, removed at the end.
    _file: Option<SocketFile>,
}

/// An address for operators at which nothing is accepted yet.
pub(super) enum AdminSockets {
    Tcp(SocketAddr, Vec<Socket>),
    /// Its file is made when it listens: a second server would take it for one whose server is gone.
    Unix(PathBuf),
}

impl AdminSockets {
    /// What `admin_listen` asks for, for so many shards.
    ///
    /// # Errors
    /// Those of bind(2).
    pub(super) fn reserve(config: &Config, count: usize) -> io::Result<Option<Self>> {
        Ok(match &config.admin_listen {
            None => None,
            Some(ListenAddress::Tcp(address)) => {
                let (address, sockets) = reserve(*address, count, Duration::from_secs(config.heartbeat_s))?;
                Some(Self::Tcp(address, sockets))
            }
            Some(ListenAddress::Unix(path)) => Some(Self::Unix(path.clone())),
        })
    }

    /// A listener for each of so many shards.
    ///
    /// # Errors
    /// Those of bind(2) and listen(2).
    pub(super) fn listen(self, count: usize) -> io::Result<(Admin, Vec<AdminListener>)> {
        let connection_limit = ConnectionLimit::of(ConnectionLimits {
            max: ADMIN_CONNECTIONS_MAX,
            max_per_address: Some(0),
            role: ListenerRole::Admin,
            ..ConnectionLimits::default()
        });
        let of = |listener| AdminListener { listener, connection_limit: Arc::clone(&connection_limit) };
        match self {
            Self::Tcp(address, sockets) => {
                let listeners = listen(address, sockets)?;
                let admin = Admin { address: ListenAddress::Tcp(address), _file: None };
                Ok((admin, listeners.into_iter().map(StreamListener::Tcp).map(of).collect()))
            }
            Self::Unix(path) => {
                let (socket, file) = SocketFile::listen(&path, BACKLOG)?;
                // The kernel tells all shards of a connection, and the first that asks has it.
                let each = (0..count).map(|_| {
                    let listener = UnixListener::from_std(socket.try_clone()?.into());
                    Ok(of(StreamListener::Unix(listener)))
                });
                let listeners = each.collect::<io::Result<Vec<_>>>()?;
                Ok((Admin { address: ListenAddress::Unix(path), _file: Some(file) }, listeners))
            }
        }
    }
}
