//! Many connections in one thread: an epoll, a timer of fine grain, and for each socket what could not be
//! sent yet.

mod socket;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream, unix::SourceFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use socket2::{Domain, Protocol, Type};

use socket::Socket;

use crate::tls::{self, Use};

const TIMER: Token = Token(usize::MAX);
/// How much is read from a socket at a time.
const READ_BYTES: usize = 256 * 1024;
/// A wait shorter than this is not worth setting the timer.
const SHORT: Duration = Duration::from_micros(5);

/// A connection.
pub type ConnId = usize;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// That of a subscriber with this number.
    Subscriber(usize),
    /// That of a publisher with this number.
    Publisher(usize),
}

/// A connection with something to do.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Which one.
    pub conn: ConnId,
    /// Whose it is.
    pub role: Role,
    /// It takes bytes (again), or has just been made.
    pub writable: bool,
    /// It has bytes, its end, or an error.
    pub readable: bool,
}

/// What reading brought.
#[derive(Debug)]
pub enum Bytes {
    /// So many bytes at the beginning of the buffer; true when there may be more.
    Some(usize, bool),
    /// Nothing now.
    Nothing,
    /// The other side ended the connection, in order.
    End,
    /// The connection broke.
    Broken(io::Error),
}

struct Conn {
    socket: Socket,
    role: Role,
    out: Vec<u8>,
    open: bool,
}

/// All connections.
pub struct Net {
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    conns: Vec<Option<Conn>>,
    free: Vec<ConnId>,
    /// Places that were left in this turn; events of this turn may still name them, so they are given away in
    /// the next.
    left: Vec<ConnId>,
    /// With what all connections are secured.
    tls: Option<tls::Client>,
    /// Bytes read last.
    pub buffer: Vec<u8>,
}

impl Net {
    /// No connections yet. All will have TLS, if it is given.
    ///
    /// # Errors
    /// When the kernel gives no epoll or no timer.
    pub fn new(tls: Option<tls::Client>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let events = Events::with_capacity(1024);
        Ok(Self {
            poll,
            events,
            timer,
            conns: Vec::new(),
            free: Vec::new(),
            left: Vec::new(),
            tls,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Begins to connect, from an address of one's own when one address has too few ports.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn connect(&mut self, to: SocketAddr, from: Option<IpAddr>, role: Role) -> io::Result<ConnId> {
        let of = if let Role::Subscriber(_) = role { Use::Subscribe } else { Use::Ask };
        let tls = self.tls.as_ref().map(|tls| tls.connection(of)).transpose()?;
        let socket = socket2::Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        let mut socket = TcpStream::from_std(socket.into());
        let id = self.free.pop().unwrap_or(self.conns.len());
        self.poll.registry().register(&mut socket, Token(id), Interest::READABLE | Interest::WRITABLE)?;
        let conn = Some(Conn { socket: Socket::new(socket, tls), role, out: Vec::new(), open: false });
        if id == self.conns.len() {
            self.conns.push(conn)
        } else {
            self.conns[id] = conn
        }
        Ok(id)
    }

    /// Sends, now as far as the kernel takes it, later what is left.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self, id: ConnId, bytes: &[u8]) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(id).and_then(Option::as_mut) else { return Ok(()) };
        if !conn.open || !conn.out.is_empty() {
            conn.out.extend_from_slice(bytes);
            return Ok(());
        }
        let sent = conn.socket.write(bytes)?;
        conn.out.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    /// Goes on sending; whether the connection was made by now.
    ///
    /// # Errors
    /// When it could not be made, or broke.
    pub fn flush(&mut self, id: ConnId) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(id).and_then(Option::as_mut) else { return Ok(()) };
        if !conn.open {
            if let Some(error) = conn.socket.tcp.take_error()? {
                return Err(error);
            }
            match conn.socket.tcp.peer_addr() {
                Ok(_) => conn.open = true,
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        conn.socket.flush()?;
        if !conn.out.is_empty() {
            let sent = conn.socket.write(&conn.out)?;
            conn.out.drain(..sent);
            if conn.out.is_empty() {
                // Tens of thousands of connections each sent a request once; its buffer need not stay.
                conn.out = Vec::new();
            }
        }
        Ok(())
    }

    /// Reads into [`Net::buffer`].
    pub fn read(&mut self, id: ConnId) -> Bytes {
        let Some(conn) = self.conns.get_mut(id).and_then(Option::as_mut) else { return Bytes::Nothing };
        conn.socket.read(&mut self.buffer)
    }

    /// Reads nothing more from a connection, which stays open: a receiver that takes nothing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn deafen(&mut self, id: ConnId) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(id).and_then(Option::as_mut) else { return Ok(()) };
        self.poll.registry().deregister(&mut conn.socket.tcp)
    }

    /// Ends a connection.
    pub fn close(&mut self, id: ConnId) {
        if self.conns.get_mut(id).and_then(Option::take).is_some() {
            self.left.push(id);
        }
    }

    /// Waits until something is ready, at most until the given moment, and tells what is.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn wait(&mut self, until: Instant, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.free.append(&mut self.left);
        let left = until.saturating_duration_since(Instant::now());
        let timeout = if left < SHORT {
            Some(Duration::ZERO)
        } else {
            let it_value = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
            None
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let Token(id) = event.token();
            let Some(Some(conn)) = self.conns.get(id) else { continue };
            let readable = event.is_readable() || event.is_read_closed() || event.is_error();
            ready.push(Ready { conn: id, role: conn.role, writable: event.is_writable(), readable });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        sync::Arc,
        thread::JoinHandle,
    };

    use tokio_rustls::rustls::{
        self, ServerConfig, ServerConnection, StreamOwned,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    };

    use super::*;
    use crate::{server::Scratch, tls::Identity};

    /// More than the kernel takes of a socket at once.
    const MUCH: usize = 8 << 20;
    const DEADLINE: Duration = Duration::from_secs(30);

    /// A server for one connection: takes `MUCH` bytes, sends as many, and ends the connection in order or
    /// not.
    fn server(identity: &Identity, in_order: bool) -> (SocketAddr, JoinHandle<Vec<u8>>) {
        let chain = vec![CertificateDer::from_pem_file(&identity.certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || {
            let (socket, _) = listener.accept().unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
            let mut taken = vec![0; MUCH];
            stream.read_exact(&mut taken).unwrap();
            stream.write_all(&bytes(7)).unwrap();
            if in_order {
                stream.conn.send_close_notify();
            }
            stream.flush().unwrap();
            taken
        };
        (address, std::thread::spawn(serve))
    }

    /// Bytes of which no part is like another.
    fn bytes(seed: usize) -> Vec<u8> {
        (0..MUCH).map(|at| ((at + seed) % 251) as u8).collect()
    }

    /// What a client of the server gets, and how that ends.
    fn exchange(in_order: bool) -> (Vec<u8>, Bytes) {
        let scratch = Scratch::new().unwrap();
        let identity = Identity::make(scratch.path()).unwrap();
        let (address, server) = server(&identity, in_order);
        let mut net = Net::new(Some(identity.client(false).unwrap())).unwrap();
        let conn = net.connect(address, None, Role::Publisher(0)).unwrap();
        // The first half waits for the connection, the second for the handshake.
        let (sent, ends) = (bytes(3), Instant::now() + DEADLINE);
        net.send(conn, &sent[..MUCH / 2]).unwrap();
        let (mut got, mut ready, mut begun) = (Vec::new(), Vec::new(), false);
        while Instant::now() < ends {
            net.wait(ends, &mut ready).unwrap();
            for event in ready.drain(..) {
                if event.writable {
                    net.flush(conn).unwrap();
                    if !std::mem::replace(&mut begun, true) {
                        net.send(conn, &sent[MUCH / 2..]).unwrap();
                    }
                }
                loop {
                    match net.read(conn) {
                        Bytes::Some(count, more) => {
                            got.extend_from_slice(&net.buffer[..count]);
                            if !more {
                                break;
                            }
                        }
                        Bytes::Nothing => break,
                        end => {
                            assert!(server.join().unwrap() == sent, "the server got something else");
                            return (got, end);
                        }
                    }
                }
            }
        }
        panic!("{} bytes, and no end", got.len());
    }

    #[test]
    fn much_goes_both_ways_over_tls() {
        let (got, end) = exchange(true);
        assert!(got == bytes(7), "{} bytes", got.len());
        assert!(matches!(end, Bytes::End), "{end:?}");
    }

    #[test]
    fn an_end_without_close_notify_is_told_from_one_with_it() {
        let (got, end) = exchange(false);
        assert!(got == bytes(7), "{} bytes", got.len());
        assert!(matches!(end, Bytes::Broken(_)), "{end:?}");
    }
}
