//! The addresses of a server: reserved before anything else is opened, and listened at when all is there.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::Socket;

use super::{
    error::WireError,
    listen_sockets::{ListenSockets, Listening},
    sockets::{listen, reserve},
};
use crate::{
    config::{Config, ListenAddress},
    connection::{ConnectionLimit, ConnectionLimits, ListenerRole, tls::HandshakeLimit},
    listeners::{
        https::Https,
        hyper_server::ADMIN_CONNECTIONS_MAX,
        tls_config::{TlsConfig, TlsError},
    },
    shards::{AdminListener, StreamListener, TlsListener},
};

/// Addresses at which nothing is accepted yet. One that is taken is told at once.
pub(super) struct Reserved {
    main: ListenSockets,
    admin: Option<ListenSockets>,
    tls: Option<Tls>,
}

/// What TLS is spoken with, and where.
struct Tls {
    config: TlsConfig,
    address: SocketAddr,
    sockets: Vec<Socket>,
}

/// Addresses that are listened at, and a listener at each for every shard.
pub(super) struct Addresses {
    pub(super) main: Listening,
    pub(super) admin: Option<Listening>,
    pub(super) tls: Option<SocketAddr>,
    pub(super) listeners: Vec<StreamListener>,
    pub(super) admin_listeners: Vec<AdminListener>,
    pub(super) tls_listeners: Vec<TlsListener>,
}

impl Reserved {
    /// What the configuration names.
    ///
    /// # Errors
    /// [`WireError`] names the address, or what is wrong with the certificates.
    pub(super) async fn of(config: &Config) -> Result<Self, WireError> {
        let (workers, heartbeat) = (config.worker_count(), Duration::from_secs(config.heartbeat_s));
        let main = ListenSockets::reserve(&config.listen, workers, heartbeat);
        let main = main.map_err(|error| WireError::Listen(config.listen.clone(), error))?;
        let reserve_admin =
            |address| ListenSockets::reserve(address, workers, heartbeat).map_err(unheard_admin(address));
        let admin = config.admin_listen.as_ref().map(reserve_admin).transpose()?;
        let tls =
            TlsConfig::of(config).await?.map(|tls| Tls::reserve(tls, workers, heartbeat)).transpose()?;
        Ok(Self { main, admin, tls })
    }

    /// What TLS is spoken with, if it is.
    pub(super) fn tls(&self) -> Option<&TlsConfig> {
        self.tls.as_ref().map(|tls| &tls.config)
    }

    /// What makes browsers use https.
    pub(super) fn https(&self, config: &Config) -> Https {
        self.tls.as_ref().map(|tls| tls.config.https(config, tls.address.port())).unwrap_or_default()
    }

    /// From now on the kernel accepts clients.
    ///
    /// # Errors
    /// [`WireError`] names the address.
    pub(super) fn listen(self, config: &Config) -> Result<Addresses, WireError> {
        let workers = config.worker_count();
        let main = self.main.listen(workers);
        let (main, listeners) = main.map_err(|error| WireError::Listen(config.listen.clone(), error))?;
        let (admin, admin_listeners) = listen_admin(config, self.admin, workers)?;
        let tls = self.tls.as_ref().map(|tls| tls.address);
        let tls_listeners = self.tls.map(Tls::listen).transpose()?.unwrap_or_default();
        Ok(Addresses { main, admin, tls, listeners, admin_listeners, tls_listeners })
    }
}

impl Addresses {
    /// All of them, as they are told.
    pub(super) fn urls(&self) -> Vec<String> {
        let tls = self.tls.map(|address| format!("https://{address}"));
        let admin = self.admin.as_ref().map(|admin| admin.address.url());
        [self.main.address.url()].into_iter().chain(tls).chain(admin).collect()
    }
}

impl Tls {
    fn reserve(config: TlsConfig, count: usize, heartbeat: Duration) -> Result<Self, TlsError> {
        let address = config.address;
        let reserved = reserve(address, count, heartbeat);
        let (address, sockets) = reserved.map_err(|error| TlsError::Listen(address, error))?;
        Ok(Self { config, address, sockets })
    }

    fn listen(self) -> Result<Vec<TlsListener>, TlsError> {
        let Self { config, address, sockets } = self;
        let listeners = listen(address, sockets).map_err(|error| TlsError::Listen(address, error))?;
        let of = |listener| TlsListener {
            listener,
            config: Arc::clone(&config.config),
            signs_slowly: config.signs_slowly(),
            handshakes: HandshakeLimit::default(),
        };
        Ok(listeners.into_iter().map(of).collect())
    }
}

/// The listeners for operators, one for each shard, if there is an address of their own.
fn listen_admin(
    config: &Config,
    sockets: Option<ListenSockets>,
    count: usize,
) -> Result<(Option<Listening>, Vec<AdminListener>), WireError> {
    let (Some(sockets), Some(address)) = (sockets, &config.admin_listen) else {
        return Ok((None, Vec::new()));
    };
    let (admin, listeners) = sockets.listen(count).map_err(unheard_admin(address))?;
    let connection_limit = ConnectionLimit::of(ConnectionLimits {
        max: ADMIN_CONNECTIONS_MAX,
        max_per_address: Some(0),
        role: ListenerRole::Admin,
        ..ConnectionLimits::default()
    });
    let of = |listener| AdminListener { listener, connection_limit: Arc::clone(&connection_limit) };
    Ok((Some(admin), listeners.into_iter().map(of).collect()))
}

/// Why the address for operators cannot be listened at.
fn unheard_admin(address: &ListenAddress) -> impl FnOnce(io::Error) -> WireError {
    move |error| WireError::ListenAdmin(address.clone(), error)
}
