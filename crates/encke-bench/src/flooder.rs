//! Clients that cost a server as much as they can: each sends without a pause what a protocol allows.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use tokio_rustls::rustls::{ClientConnection, StreamOwned};

use crate::{
    peers::{Encke, Peer, Place, Transport, Who},
    tls::{self, Use},
};

/// How long a server may take nothing until the flooder looks whether it is over.
const TIMEOUT: Duration = Duration::from_millis(500);
/// How long answers are waited for between two writes over HTTP/2.
const ANSWERS_WAIT: Duration = Duration::from_millis(1);
/// How many connections a flooder keeps that have said half of what they should.
const KEPT_MAX: usize = 400;
/// How much of a hello is sent, in bytes.
const HALF_HELLO: usize = 60;
/// How many frames or requests are sent by one write.
const TOGETHER: usize = 400;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Flood {
    /// Pongs over a WebSocket
    Pongs,
    /// Empty continuation frames of a message that never ends, over a WebSocket
    Continuations,
    /// Polls without a token, ahead of their answers
    Ahead,
    /// Heads of requests, a line at a time, over many connections
    Heads,
    /// Connections that send half of a TLS hello
    Hellos,
    /// Connections that are silent after the TLS handshake
    Silent,
    /// TLS records of one byte
    Records,
    /// TLS requests for new keys (KeyUpdate, RFC 8446 section 4.6.3), each before a pong
    KeyUpdates,
    /// HTTP/2 requests that are reset at once
    Resets,
    /// HTTP/2 pings
    Pings,
    /// HTTP/2 settings
    Settings,
}

impl Flood {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Pongs,
        Self::Continuations,
        Self::Ahead,
        Self::Heads,
        Self::Hellos,
        Self::Silent,
        Self::Records,
        Self::KeyUpdates,
        Self::Resets,
        Self::Pings,
        Self::Settings,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pongs => "pongs",
            Self::Continuations => "continuations",
            Self::Ahead => "ahead",
            Self::Heads => "heads",
            Self::Hellos => "hellos",
            Self::Silent => "silent",
            Self::Records => "records",
            Self::KeyUpdates => "key updates",
            Self::Resets => "resets",
            Self::Pings => "pings",
            Self::Settings => "settings",
        }
    }

    /// Whether it is about TLS, or what is only spoken over TLS.
    #[must_use]
    pub fn needs_tls(self) -> bool {
        !matches!(self, Self::Pongs | Self::Continuations | Self::Ahead | Self::Heads)
    }
}

/// One thread's part of a flood.
#[derive(Debug)]
pub struct Flooder {
    kind: Flood,
    address: SocketAddr,
    tls: Option<tls::Client>,
    /// A request for a WebSocket.
    upgrade: Vec<u8>,
}

impl Flooder {
    /// One that floods a server as this user.
    #[must_use]
    pub fn new(kind: Flood, server: &Encke, user: u32) -> Self {
        let mut upgrade = Vec::new();
        server.subscribe(&mut upgrade, Transport::Ws, Who { user, place: Place::User(user) }, "");
        Self { kind, address: server.address(), tls: server.tls().cloned(), upgrade }
    }

    /// Floods until it is over, and begins again when the server ends a connection. Counts frames, requests
    /// or connections.
    pub fn run(&self, over: &AtomicBool, sent: &AtomicU64) {
        while !over.load(Ordering::Relaxed) {
            let _refused = match self.kind {
                Flood::Pongs => self.frames(over, sent, &[], &PONG.repeat(TOGETHER)),
                Flood::Continuations => {
                    let begin = [0x01, 0x80, 0, 0, 0, 0];
                    self.frames(over, sent, &begin, &[0x00, 0x80, 0, 0, 0, 0].repeat(TOGETHER))
                }
                Flood::Ahead => self.ahead(over, sent),
                Flood::Heads => self.heads(over, sent),
                Flood::Hellos | Flood::Silent => self.connections(over, sent),
                Flood::Records => self.sealed(over, sent, one_byte_each),
                Flood::KeyUpdates => self.sealed(over, sent, new_keys_each),
                Flood::Resets | Flood::Pings | Flood::Settings => self.http2(over, sent),
            };
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        Ok(socket)
    }

    fn secure(&self, of: Use) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let tls = self.tls.as_ref().ok_or_else(|| io::Error::other("there is no TLS"))?;
        Ok(StreamOwned::new(tls.connection(of)?, self.connect()?))
    }

    /// A WebSocket, then `begin` once and `block` over and over.
    fn frames(&self, over: &AtomicBool, sent: &AtomicU64, begin: &[u8], block: &[u8]) -> io::Result<()> {
        let mut socket = self.connect()?;
        socket.write_all(&self.upgrade)?;
        until_open(&mut socket)?;
        socket.write_all(begin)?;
        while !over.load(Ordering::Relaxed) {
            socket.write_all(block)?;
            sent.fetch_add(TOGETHER as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn ahead(&self, over: &AtomicBool, sent: &AtomicU64) -> io::Result<()> {
        let block = b"GET /v1/poll HTTP/1.1\r\nHost: a\r\n\r\n".repeat(TOGETHER);
        let mut socket = self.connect()?;
        let answers = socket.try_clone()?;
        thread::scope(|scope| {
            scope.spawn(move || discard(answers));
            while !over.load(Ordering::Relaxed) && socket.write_all(&block).is_ok() {
                sent.fetch_add(TOGETHER as u64, Ordering::Relaxed);
            }
            // Whether it is open still or not, the reader ends with it.
            let _closed = socket.shutdown(Shutdown::Both);
        });
        Ok(())
    }

    /// Many connections, each of which is sent another line of its head in turn.
    fn heads(&self, over: &AtomicBool, sent: &AtomicU64) -> io::Result<()> {
        let mut kept = VecDeque::new();
        while !over.load(Ordering::Relaxed) {
            let mut socket = match kept.pop_front() {
                Some(socket) if kept.len() >= KEPT_MAX => socket,
                some => {
                    kept.extend(some);
                    let mut socket = self.connect()?;
                    socket.write_all(b"GET /v1/poll HTTP/1.1\r\nHost: a\r\n")?;
                    socket
                }
            };
            if socket.write_all(b"X-More: 1\r\n").is_ok() {
                kept.push_back(socket);
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Connections that begin, and are kept until there are too many.
    fn connections(&self, over: &AtomicBool, sent: &AtomicU64) -> io::Result<()> {
        let mut kept = VecDeque::new();
        while !over.load(Ordering::Relaxed) {
            let mut stream = self.secure(Use::Ask)?;
            if self.kind == Flood::Silent {
                stream.flush()?;
            } else {
                let mut hello = Vec::new();
                stream.conn.write_tls(&mut hello)?;
                stream.sock.write_all(&hello[..HALF_HELLO.min(hello.len())])?;
            }
            sent.fetch_add(1, Ordering::Relaxed);
            kept.push_back(stream);
            if kept.len() > KEPT_MAX {
                kept.pop_front();
            }
        }
        Ok(())
    }

    /// A WebSocket under TLS, then pongs in records that `seal` makes, over and over.
    fn sealed(&self, over: &AtomicBool, sent: &AtomicU64, seal: Seal) -> io::Result<()> {
        let mut stream = self.secure(Use::Ask)?;
        stream.write_all(&self.upgrade)?;
        stream.flush()?;
        until_open(&mut stream)?;
        let (mut socket, mut conn) = (stream.sock, stream.conn);
        let answers = socket.try_clone()?;
        let mut records = Vec::new();
        thread::scope(|scope| {
            scope.spawn(move || discard(answers));
            let flooded = (|| {
                while !over.load(Ordering::Relaxed) {
                    records.clear();
                    let count = seal(&mut conn, &mut records)?;
                    socket.write_all(&records)?;
                    sent.fetch_add(count, Ordering::Relaxed);
                }
                Ok(())
            })();
            // Whether it is open still or not, the reader ends with it.
            let _closed = socket.shutdown(Shutdown::Both);
            flooded
        })
    }

    fn http2(&self, over: &AtomicBool, sent: &AtomicU64) -> io::Result<()> {
        let mut stream = self.secure(Use::Subscribe)?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
        stream.flush()?;
        stream.sock.set_read_timeout(Some(ANSWERS_WAIT))?;
        let (mut id, mut answers) = (1, vec![0; 65_536]);
        while !over.load(Ordering::Relaxed) {
            for _ in 0..TOGETHER {
                match self.kind {
                    Flood::Resets => {
                        // GET, https, /healthz, and its reset: CANCEL.
                        let fields = b"\x82\x87\x04\x08/healthz\x41\x01a";
                        stream.write_all(&frame(1, 0x5, id, fields))?;
                        stream.write_all(&frame(3, 0, id, &8_u32.to_be_bytes()))?;
                        id += 2;
                    }
                    Flood::Pings => stream.write_all(&frame(6, 0, 0, &[0; 8]))?,
                    _ => stream.write_all(&frame(4, 0, 0, &[]))?,
                }
                sent.fetch_add(1, Ordering::Relaxed);
            }
            stream.flush()?;
            match stream.read(&mut answers) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Makes records of some pongs, and says how many it has made.
type Seal = fn(&mut ClientConnection, &mut Vec<u8>) -> io::Result<u64>;

/// A pong with nothing in it (RFC 6455 section 5.5.3).
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

fn one_byte_each(conn: &mut ClientConnection, records: &mut Vec<u8>) -> io::Result<u64> {
    let pongs = PONG.repeat(TOGETHER / PONG.len());
    for byte in &pongs {
        conn.writer().write_all(&[*byte])?;
        conn.write_tls(records)?;
    }
    Ok(pongs.len() as u64)
}

/// A server that counts such requests forgets them when there is something else between two.
fn new_keys_each(conn: &mut ClientConnection, records: &mut Vec<u8>) -> io::Result<u64> {
    for _ in 0..TOGETHER {
        conn.refresh_traffic_keys().map_err(io::Error::other)?;
        conn.writer().write_all(&PONG)?;
        while conn.wants_write() {
            conn.write_tls(records)?;
        }
    }
    Ok(TOGETHER as u64)
}

/// Reads to the end.
fn discard(mut answers: TcpStream) {
    while answers.read(&mut [0; 65_536]).is_ok_and(|count| count > 0) {}
}

/// Reads the head of the answer to an upgrade.
fn until_open(stream: &mut impl Read) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        let mut bytes = [0; 1_024];
        let count = stream.read(&mut bytes)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&bytes[..count]);
    }
    Ok(())
}

/// An HTTP/2 frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
