//! TLS by the configuration: versions, tickets, and certificates, which are read again when their files
//! change.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::HeaderValue;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{NoServerSessionStorage, ResolvesServerCert},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{
    acme::{self, Acme},
    certificates::{CertificateError, Certificates},
    https::{Https, Redirect},
};
use crate::{config::Config, connection::tls::ACME_TLS, reload::Reload};

/// How often it is looked whether a certificate's files have changed.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(5);

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The address cannot be listened at.
    #[error("cannot listen at {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// A certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// There is no randomness for tickets.
    #[error("no keys for tickets: {0}")]
    Tickets(#[from] rustls::Error),
}

/// TLS as it is configured.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Where to listen.
    pub address: SocketAddr,
    /// What handshakes are made with.
    pub config: Arc<ServerConfig>,
    /// What gets a certificate, if one is to be got.
    pub acme: Option<Acme>,
    certificates: Arc<Certificates>,
}

impl TlsConfig {
    /// What the configuration says, if it asks for TLS.
    ///
    /// # Errors
    /// [`TlsError`] says what is wrong.
    pub async fn of(config: &Config) -> Result<Option<Self>, TlsError> {
        let Some(address) = config.tls_listen else { return Ok(None) };
        let file = acme::certificate_path(config);
        let certificates = Arc::new(Certificates::load(config.certificates(), file).await?);
        let acme = Acme::of(config, &certificates);
        let resolver: Arc<dyn ResolvesServerCert> = match &acme {
            Some(acme) => acme.resolver(),
            None => Arc::<Certificates>::clone(&certificates),
        };
        let mut server = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver);
        server.alpn_protocols = config.tls_alpn.iter().map(|alpn| alpn.protocol().to_vec()).collect();
        if acme.is_some() {
            // The last, so that it is agreed on with directories alone, which offer nothing else.
            server.alpn_protocols.push(ACME_TLS.to_vec());
        }
        // What a client that comes back has agreed on is in its ticket, under keys that change every six
        // hours. So nothing is kept here for those who have gone. Early data is not taken: it could be played
        // again.
        server.ticketer = aws_lc_rs::Ticketer::new()?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Some(Self { address, config: Arc::new(server), acme, certificates }))
    }

    /// Whether a signature takes so long that handshakes are not for a shard's loop.
    #[must_use]
    pub fn signs_slowly(&self) -> Arc<AtomicBool> {
        self.certificates.signs_slowly()
    }

    /// What browsers are told by this configuration, for a server whose TLS is at `port`.
    #[must_use]
    pub fn https(&self, config: &Config, port: u16) -> Https {
        let port = config.tls_redirect_port.and_then(|port| u16::try_from(port).ok()).unwrap_or(port);
        let redirect = || Redirect::new(port, Arc::clone(&self.certificates));
        let hsts = Some(config.hsts_s()).filter(|hsts_s| *hsts_s > 0);
        Https {
            redirect: config.tls_redirect.then(redirect),
            hsts: hsts.and_then(|hsts_s| HeaderValue::try_from(format!("max-age={hsts_s}")).ok()),
        }
    }

    /// What takes other certificates while the server runs.
    #[must_use]
    pub fn reload(&self) -> Arc<dyn Reload> {
        Arc::new(Arc::clone(&self.certificates))
    }

    /// Reads certificates again whenever their files change, until the server stops.
    pub async fn watch(self, mut stopping: watch::Receiver<bool>) {
        let mut looks = interval(CERTIFICATE_LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = async {
                    looks.tick().await;
                    self.certificates.look(now_s()).await;
                } => {}
                // The sender is gone only when the server is.
                _ = stopping.wait_for(|stops| *stops) => return,
            }
        }
    }
}

/// Seconds since 1970, by the clock that clients check a certificate with.
fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
