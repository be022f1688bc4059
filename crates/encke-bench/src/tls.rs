//! TLS for what is measured: a certificate that is made for the run, and the client's side of the
//! connections.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, ClientConnection, RootCertStore,
        client::Resumption,
        crypto::{
            CryptoProvider,
            aws_lc_rs::{self, kx_group},
        },
        pki_types::{CertificateDer, ServerName},
        version::TLS13,
    },
};

/// The name that certificates are made for.
const NAME: &str = "localhost";
/// How many sessions a client remembers, to go on with them.
const RESUMED_MAX: usize = 1024;

/// A certificate that signs itself, with its key (P-256), as files for a server.
#[derive(Debug)]
pub struct Identity {
    /// The certificate's file, in PEM.
    pub certificate: PathBuf,
    /// The key's file, in PEM.
    pub key: PathBuf,
    der: CertificateDer<'static>,
}

impl Identity {
    /// Makes one, with its files in `directory`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn make(directory: &Path) -> io::Result<Self> {
        let failed = |error: rcgen::Error| io::Error::other(format!("no certificate: {error}"));
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let parameters = CertificateParams::new(vec![NAME.to_owned()]).map_err(failed)?;
        let signed = parameters.self_signed(&pair).map_err(failed)?;
        let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
        fs::write(&certificate, signed.pem())?;
        fs::write(&key, pair.serialize_pem())?;
        Ok(Self { certificate, key, der: signed.der().clone() })
    }

    /// Clients that trust this certificate and no other. Subscribers speak HTTP/2 if `http2`.
    ///
    /// # Errors
    /// When the library refuses the certificate.
    pub fn client(&self, http2: bool) -> io::Result<Client> {
        let config = |protocol: &[u8], resumption: Resumption| {
            let mut roots = RootCertStore::empty();
            roots.add(self.der.clone()).map_err(io::Error::other)?;
            // One key exchange that every server has, so that all do the same work.
            let kx_groups = vec![kx_group::X25519];
            let provider = CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() };
            let builder =
                ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&TLS13]);
            let mut config =
                builder.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            config.resumption = resumption;
            Ok::<_, io::Error>(Arc::new(config))
        };
        let remembers = || Resumption::in_memory_sessions(RESUMED_MAX);
        // Subscribers are different clients, so none of them has a session of another to go on with.
        let subscriber = config(if http2 { b"h2" } else { b"http/1.1" }, Resumption::disabled())?;
        let (publisher, resuming) =
            (config(b"http/1.1", Resumption::disabled())?, config(b"http/1.1", remembers())?);
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        Ok(Client { subscriber, publisher, resuming, name, http2 })
    }
}

/// The client's side of TLS 1.3 for one server.
#[derive(Clone, Debug)]
pub struct Client {
    subscriber: Arc<ClientConfig>,
    publisher: Arc<ClientConfig>,
    resuming: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// Whether subscribers speak HTTP/2.
    pub http2: bool,
}

/// Which client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// One that waits for messages: a full handshake.
    Subscribe,
    /// One that asks one thing after another by HTTP/1.1: a full handshake.
    Ask,
    /// The same, with the session of the connection before if there was one.
    Resume,
}

impl Client {
    /// A connection that has not begun.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn connection(&self, of: Use) -> io::Result<ClientConnection> {
        let config = match of {
            Use::Subscribe => &self.subscriber,
            Use::Ask => &self.publisher,
            Use::Resume => &self.resuming,
        };
        let mut connection =
            ClientConnection::new(Arc::clone(config), self.name.clone()).map_err(io::Error::other)?;
        // What is sent is bounded by who sends; cutting it short would look like a server that is slow.
        connection.set_buffer_limit(None);
        Ok(connection)
    }

    /// Makes the handshake of one that asks by HTTP/1.1, with a session from before if there was one.
    ///
    /// # Errors
    /// When the socket breaks, or the server is not who it should be.
    pub async fn secure(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(Arc::clone(&self.resuming)).connect(self.name.clone(), socket).await
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use tokio_rustls::rustls::{
        HandshakeKind, ServerConfig, ServerConnection,
        pki_types::{PrivateKeyDer, pem::PemObject},
    };

    use super::*;
    use crate::server::Scratch;

    /// Moves bytes between both until neither has any.
    fn pump(client: &mut ClientConnection, server: &mut ServerConnection) {
        while client.wants_write() || server.wants_write() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut &bytes[..]).unwrap();
            server.process_new_packets().unwrap();
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut &bytes[..]).unwrap();
            client.process_new_packets().unwrap();
        }
    }

    #[test]
    fn only_who_resumes_goes_on_with_a_session() {
        let directory = Scratch::new().unwrap();
        let identity = Identity::make(directory.path()).unwrap();
        let chain = vec![CertificateDer::from_pem_file(&identity.certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let client = identity.client(true).unwrap();
        let kinds = |of: Use, protocol: &[u8]| {
            let one = |_| {
                let mut server = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut client = client.connection(of).unwrap();
                client.writer().write_all(b"hello").unwrap();
                pump(&mut client, &mut server);
                let mut heard = [0; 5];
                server.reader().read_exact(&mut heard).unwrap();
                assert_eq!((&heard, client.alpn_protocol()), (b"hello", Some(protocol)));
                client.handshake_kind().unwrap()
            };
            (0..3).map(one).collect::<Vec<_>>()
        };
        assert_eq!(kinds(Use::Subscribe, b"h2"), [HandshakeKind::Full; 3]);
        assert_eq!(kinds(Use::Ask, b"http/1.1"), [HandshakeKind::Full; 3]);
        let resumed = [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed];
        assert_eq!(kinds(Use::Resume, b"http/1.1"), resumed);
    }
}
