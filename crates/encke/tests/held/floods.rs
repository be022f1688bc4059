//! Clients over HTTP/2 that send frames without end (RFC 9113 section 10.5), while another goes on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, pki_types::ServerName};

use super::*;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The most frames that a client sends, if it may.
const FRAMES: u32 = 20_000;

/// A frame (RFC 9113 section 4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = &u32::try_from(payload.len()).unwrap().to_be_bytes()[1..];
    [length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a GET of `/healthz` at `a`, as HPACK has it.
pub(super) fn fields() -> Vec<u8> {
    b"\x82\x87\x04\x08/healthz\x41\x01a".to_vec()
}

/// A kind of flood: the frames of its turn `n`, and whether it ends the connection.
struct Flood {
    name: &'static str,
    frames: fn(u32) -> Vec<u8>,
    reads: bool,
    ends: bool,
}

const FLOODS: [Flood; 6] = [
    Flood {
        name: "rapid reset",
        frames: |n| [frame(1, 5, 2 * n + 1, &fields()), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])].concat(),
        reads: true,
        ends: true,
    },
    Flood {
        name: "continuation",
        frames: |n| if n == 0 { frame(1, 1, 1, &fields()) } else { frame(9, 0, 1, b"\x40\x01x\x01y") },
        reads: true,
        ends: true,
    },
    Flood { name: "ping", frames: |_| frame(6, 0, 0, &[7; 8]), reads: true, ends: false },
    Flood { name: "ping, unread", frames: |_| frame(6, 0, 0, &[7; 8]), reads: false, ends: false },
    Flood { name: "settings", frames: |_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]), reads: true, ends: false },
    Flood {
        name: "empty data",
        frames: |n| if n == 0 { frame(1, 4, 1, &fields()) } else { frame(0, 0, 1, &[]) },
        reads: true,
        ends: true,
    },
];

/// Floods until all is sent or the server has ended the connection; whether it has.
fn flood(
    flood: &Flood,
    address: SocketAddr,
    trusted: &rustls::pki_types::CertificateDer<'static>,
    enough: &AtomicBool,
) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut wire = rustls::StreamOwned::new(client, socket);
    wire.write_all(PREFACE).unwrap();
    wire.sock.set_nonblocking(true).unwrap();
    let mut seen = [0; 16 * 1024];
    let mut unsent = Vec::new();
    let mut n = 0;
    while n < FRAMES && !enough.load(Ordering::Relaxed) {
        while n < FRAMES && unsent.len() < 8 * 1024 {
            unsent.extend((flood.frames)(n));
            n += 1;
        }
        match wire.write(&unsent) {
            Ok(count) => drop(unsent.drain(..count)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(_) => return true,
        }
        if flood.reads {
            match wire.read(&mut seen) {
                Ok(0) => return true,
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return true,
                _ => {}
            }
        }
    }
    // What is still on its way may end it.
    wire.sock.set_nonblocking(false).unwrap();
    wire.sock.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    if !flood.reads {
        return false;
    }
    loop {
        match wire.read(&mut seen) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                let waits = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
                return !waits.contains(&error.kind());
            }
        }
    }
}

#[test]
fn t23_floods_of_frames_end_or_wait_and_another_client_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = super::tls::certify(dir.path());
    let world = super::tls::world(dir.path());
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    for kind in &FLOODS {
        let enough = AtomicBool::new(false);
        let ended = std::thread::scope(|scope| {
            let floods = scope.spawn(|| flood(kind, address, &trusted, &enough));
            for _ in 0..20 {
                let get = super::tls::get(address, trusted.clone(), true, "/healthz");
                assert_eq!(world.runtime.block_on(get).status().as_u16(), 200, "{}", kind.name);
            }
            if !kind.reads {
                enough.store(true, Ordering::Relaxed);
            }
            floods.join().unwrap()
        });
        assert_eq!(ended, kind.ends, "{}", kind.name);
    }
}
