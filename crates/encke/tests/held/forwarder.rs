//! Takes connections in plain text and passes them on under TLS, so that the same tests see the table over
//! TLS: `ENCKE_HELD_TLS=1 cargo test -p encke --test held`.

use std::{net::SocketAddr, path::Path, sync::Arc};

use encke::config::Config;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use super::tls;

/// Whether this run is over TLS.
pub(super) fn is_asked_for() -> bool {
    std::env::var_os("ENCKE_HELD_TLS").is_some()
}

/// Lets a server speak TLS too.
pub(super) fn configure(config: &mut Config, dir: &Path) {
    tls::certify(dir);
    config.tls_listen = Some("127.0.0.1:0".parse().unwrap());
    config.tls_cert = Some(dir.join("cert.pem"));
    config.tls_key = Some(dir.join("key.pem"));
}

/// Passes connections on to a server, whose certificate is in `dir`.
pub(super) async fn start(server: SocketAddr, dir: &Path) -> SocketAddr {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass_on(client, server, connector.clone()));
        }
    });
    address
}

async fn pass_on(mut client: TcpStream, server: SocketAddr, connector: TlsConnector) {
    client.set_nodelay(true).unwrap();
    let Ok(socket) = TcpStream::connect(server).await else { return };
    socket.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let Ok(mut socket) = connector.connect(name, socket).await else { return };
    // Either side's end is passed on, and an error ends both.
    let _ = copy_bidirectional(&mut client, &mut socket).await;
}
