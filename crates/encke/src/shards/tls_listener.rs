//! Where sockets come in that are to speak TLS.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use mio::net::TcpListener;
use rustls::ServerConfig;

use crate::connection::tls::{HandshakeLimit, TlsFault, TlsState};

/// A listener for TLS, of one shard.
#[derive(Debug)]
pub struct TlsListener {
    /// The listener.
    pub listener: TcpListener,
    /// Certificates, versions and tickets, which all shards share.
    pub config: Arc<ServerConfig>,
    /// Whether a signature takes so long that handshakes are not for a shard's loop.
    pub signs_slowly: Arc<AtomicBool>,
    /// How many handshakes are under way.
    pub handshakes: HandshakeLimit,
}

impl TlsListener {
    /// The beginning of a connection from this address.
    ///
    /// # Errors
    /// As rustls refuses the settings.
    pub fn begin(&self, address: IpAddr) -> Result<Box<TlsState>, TlsFault> {
        Ok(Box::new(TlsState::new(Arc::clone(&self.config), self.handshakes.enter(address))?))
    }

    /// Whether handshakes are for another thread.
    #[must_use]
    pub fn signs_slowly(&self) -> bool {
        self.signs_slowly.load(Ordering::Relaxed)
    }
}
