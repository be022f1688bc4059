//! Clients under TLS that ask for new keys over and over (KeyUpdate, RFC 8446 section 4.6.3), with something
//! of their own between two requests, while another goes on.

use std::{io::ErrorKind, sync::Arc};

use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName},
};

use super::*;

/// The most requests for keys that a client sends, if it may.
const REQUESTS: usize = 5_000;
/// How many an honest client sends here.
const HONEST: usize = 10;
const DEADLINE: Duration = Duration::from_secs(20);

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn connect(address: SocketAddr, trusted: &CertificateDer<'static>, protocol: &str) -> Tls {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    StreamOwned::new(client, socket)
}

fn until(wire: &mut Tls, mark: &[u8]) -> Vec<u8> {
    let mut seen = Vec::new();
    while !seen.ends_with(mark) {
        let mut byte = [0];
        assert_eq!(wire.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    seen
}

/// A connection over which much can be said: a WebSocket, or HTTP/2.
fn begin(world: &World, address: SocketAddr, trusted: &CertificateDer<'static>, protocol: &str) -> Tls {
    let mut wire = connect(address, trusted, protocol);
    if protocol == "h2" {
        wire.write_all(super::floods::PREFACE).unwrap();
        // Behind a request it may rest for longer than is waited for here.
        wire.write_all(&super::floods::frame(1, 5, 1, &super::floods::fields())).unwrap();
    } else {
        wire.write_all(world.ws_head("mallory", "").as_bytes()).unwrap();
        assert!(until(&mut wire, b"\r\n\r\n").starts_with(b"HTTP/1.1 101 "));
    }
    wire
}

/// Asks for new keys so often, each time before something that is not answered: a pong, or a window that is
/// larger by a byte. False when the server ends the connection meanwhile.
fn ask(wire: &mut Tls, protocol: &str, count: usize) -> bool {
    let said: &[u8] =
        if protocol == "h2" { b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01" } else { &[0x8a, 0x80, 0, 0, 0, 0] };
    for _ in 0..count {
        wire.conn.refresh_traffic_keys().unwrap();
        if wire.write_all(said).is_err() || wire.flush().is_err() {
            return false;
        }
    }
    true
}

/// A ping, and the answer to it.
fn is_answered(wire: &mut Tls, protocol: &str) {
    if protocol == "h2" {
        wire.write_all(b"\0\0\x08\x06\0\0\0\0\0new keys").unwrap();
        until(wire, b"\x06\x01\0\0\0\0new keys");
    } else {
        wire.write_all(&super::ws::frame(super::ws::PING, b"new keys")).unwrap();
        until(wire, b"\x8a\x08new keys");
    }
}

/// Whether the server ends a connection of which nothing is said any more.
fn ends(wire: &mut Tls) -> bool {
    loop {
        match wire.read(&mut [0; 4096]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

#[test]
fn t23_a_client_that_asks_for_new_keys_over_and_over_is_ended_and_another_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = super::tls::certify(dir.path());
    // Neither the heartbeat nor its silence ends a client meanwhile: what else is there is what is asked for.
    let world = World::with(|config| {
        super::tls::listen(config, dir.path());
        config.heartbeat_s = 120;
    });
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    for protocol in ["http/1.1", "h2"] {
        let mut honest = begin(&world, address, &trusted, protocol);
        assert!(ask(&mut honest, protocol, HONEST), "{protocol}");
        is_answered(&mut honest, protocol);
        let mut wire = begin(&world, address, &trusted, protocol);
        let ended = std::thread::scope(|scope| {
            let floods = scope.spawn(|| !ask(&mut wire, protocol, REQUESTS) || ends(&mut wire));
            for _ in 0..20 {
                let get = super::tls::get(address, trusted.clone(), true, "/healthz");
                assert_eq!(world.runtime.block_on(get).status().as_u16(), 200, "{protocol}");
            }
            floods.join().unwrap()
        });
        assert!(ended, "{protocol}");
        is_answered(&mut honest, protocol);
    }
}
