//! TLS by the configuration: versions, tickets and the certificate, which is read again when its files change.

use std::{
    io::{self, BufReader},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use rustls::{
    ServerConfig, SignatureAlgorithm,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{sync::watch, time::interval};

use crate::config::Config;

/// How often it is looked whether the certificate's files have changed.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(5);

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The address cannot be listened at.
    #[error("cannot listen at {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// A file cannot be read, or holds something else.
    #[error("{0}: {1}")]
    File(PathBuf, String),
    /// The key does not belong to the certificate, or there is no randomness for tickets.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
}

/// TLS as it is configured.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Where to listen.
    pub address: SocketAddr,
    /// What handshakes are made with.
    pub config: Arc<ServerConfig>,
    certificate: Arc<Certificate>,
}

impl Tls {
    /// What the configuration says, if it asks for TLS.
    ///
    /// # Errors
    /// [`TlsError`] says what is wrong.
    pub fn of(config: &Config) -> Result<Option<Self>, TlsError> {
        let (Some(address), Some(cert), Some(key)) = (config.tls_listen, &config.tls_cert, &config.tls_key)
        else {
            return Ok(None);
        };
        let certificate = Arc::new(Certificate::load(cert.clone(), key.clone())?);
        let mut server = ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Certificate>::clone(&certificate));
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // What a client that comes back has agreed on is in its ticket, under keys that change every six
        // hours. So nothing is kept here for those who have gone. Early data is not taken: it could be played
        // again.
        server.ticketer = aws_lc_rs::Ticketer::new()?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Some(Self { address, config: Arc::new(server), certificate }))
    }

    /// Whether a signature takes so long that handshakes are not for a shard's loop.
    #[must_use]
    pub fn signs_slowly(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.certificate.signs_slowly)
    }

    /// Reads the certificate again whenever its files change, until the server stops.
    pub async fn watch(self, mut stopping: watch::Receiver<bool>) {
        let mut looks = interval(CERTIFICATE_LOOK);
        loop {
            tokio::select! {
                _ = looks.tick() => self.certificate.look(),
                // The sender is gone only when the server is.
                _ = stopping.wait_for(|stops| *stops) => return,
            }
        }
    }
}

/// The certificate as its files have it now.
#[derive(Debug)]
struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    now: RwLock<Loaded>,
    /// Whether its key is for RSA.
    signs_slowly: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Loaded {
    certified: Arc<CertifiedKey>,
    changed: Option<(SystemTime, SystemTime)>,
}

impl Loaded {
    /// A signature with RSA takes a millisecond or some, and one with a curve a tenth of that.
    fn signs_slowly(&self) -> bool {
        self.certified.key.algorithm() == SignatureAlgorithm::RSA
    }
}

impl Certificate {
    fn load(cert: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let loaded = read(&cert, &key)?;
        let signs_slowly = Arc::new(AtomicBool::new(loaded.signs_slowly()));
        Ok(Self { cert, key, now: RwLock::new(loaded), signs_slowly })
    }

    /// Reads the files again when they have changed. What cannot be used is reported, and the old certificate
    /// stays.
    fn look(&self) {
        let changed = changed(&self.cert, &self.key);
        if self.now.read().unwrap_or_else(PoisonError::into_inner).changed == changed {
            return;
        }
        match read(&self.cert, &self.key) {
            Ok(loaded) => {
                self.signs_slowly.store(loaded.signs_slowly(), Ordering::Relaxed);
                *self.now.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                tracing::info!("the certificate was read again");
            }
            Err(error) => tracing::warn!(%error, "the new certificate cannot be used"),
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner).certified))
    }
}

fn changed(cert: &PathBuf, key: &PathBuf) -> Option<(SystemTime, SystemTime)> {
    let of = |path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    Some((of(cert)?, of(key)?))
}

fn read(cert: &PathBuf, key: &PathBuf) -> Result<Loaded, TlsError> {
    let changed = changed(cert, key);
    let open = |path: &PathBuf| {
        std::fs::File::open(path)
            .map(BufReader::new)
            .map_err(|error| TlsError::File(path.clone(), error.to_string()))
    };
    let chain = CertificateDer::pem_reader_iter(open(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::File(cert.clone(), error.to_string()))?;
    let private = PrivateKeyDer::from_pem_reader(open(key)?)
        .map_err(|error| TlsError::File(key.clone(), error.to_string()))?;
    let provider =
        CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let certified = CertifiedKey::from_der(chain, private, &provider)?;
    Ok(Loaded { certified: Arc::new(certified), changed })
}
