//! Prefaces of the PROXY protocol: read beside the shard, since a connection is none of the table's before it
//! is known whose it is.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use mio::net::TcpStream;
use tokio::{io::AsyncReadExt, sync::Semaphore, time::timeout};

use super::Shard;
use crate::{
    connection::{Peer, Preface},
    shards::ShardCommand,
};

/// The most prefaces that are waited for at a time, at each shard. A proxy sends its own at once.
const PREFACES_MAX: usize = 1_024;

/// How many more prefaces may be waited for.
#[derive(Clone, Debug)]
pub(super) struct Prefaces(Arc<Semaphore>);

impl Default for Prefaces {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PREFACES_MAX)))
    }
}

impl Shard {
    /// Takes a socket that comes in: that of a proxy with its preface first.
    pub(super) fn meet(&mut self, socket: TcpStream, address: IpAddr) {
        if self.expects_preface(address) {
            return self.read_preface(socket, address, false);
        }
        self.welcome(socket, address);
    }

    /// The same for one that is to speak TLS, behind the preface.
    pub(super) fn meet_tls(&mut self, socket: TcpStream, address: IpAddr) {
        if self.expects_preface(address) {
            return self.read_preface(socket, address, true);
        }
        self.welcome_tls(socket, address);
    }

    /// A preface has told whose a connection is.
    pub(super) fn prefaced(&mut self, socket: TcpStream, client: IpAddr, is_tls: bool) {
        if self.drains {
            return;
        }
        let is_reached = is_tls && self.parts.tls.as_ref().is_some_and(|tls| tls.handshakes.is_reached());
        if is_reached && !self.end_slow_handshake() {
            return;
        }
        if is_tls { self.welcome_tls(socket, client) } else { self.welcome(socket, client) }
    }

    /// Only those are asked for it who are believed: what else sends one has sent no request.
    fn expects_preface(&self, address: IpAddr) -> bool {
        self.parts.proxy_protocol && self.parts.connection_limit.peer(address) == Peer::Proxy
    }

    fn read_preface(&mut self, socket: TcpStream, proxy: IpAddr, is_tls: bool) {
        let Ok(place) = Arc::clone(&self.prefaces.0).try_acquire_owned() else {
            return tracing::warn!("too many proxies keep their prefaces back");
        };
        let within = Duration::from_millis(self.parts.timeouts.head_ms);
        let mailbox = self.parts.shards.at(self.parts.index).clone();
        self.parts.runtime.spawn(async move {
            let read = timeout(within, read(socket)).await;
            drop(place);
            let Ok(Ok((socket, client))) = read else {
                return tracing::debug!(%proxy, "a connection of a proxy begins with no preface");
            };
            let client = client.unwrap_or(proxy);
            // A shard that cannot take it drops it.
            let _ = mailbox.post(ShardCommand::Prefaced { socket, client, is_tls });
        });
    }
}

/// Reads a preface, and nothing of what comes behind it.
async fn read(socket: TcpStream) -> io::Result<(TcpStream, Option<IpAddr>)> {
    let mut socket = tokio::net::TcpStream::from_std(socket.into())?;
    let mut bytes = Vec::new();
    loop {
        match Preface::read(&bytes) {
            Preface::More(needed) => {
                let had = bytes.len();
                bytes.resize(needed, 0);
                let count = socket.read(&mut bytes[had..]).await?;
                bytes.truncate(had + count);
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Preface::Whole { client, .. } => return Ok((TcpStream::from_std(socket.into_std()?), client)),
            Preface::Invalid => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
