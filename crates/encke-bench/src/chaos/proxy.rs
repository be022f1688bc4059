//! The network that breaks: a proxy in this process, which treats each connection in its own way. What it
//! does follows from the seed.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};

use super::phase::{Look, Stage};
use crate::choice::Choice;
use crate::tls;

/// How much is read at a time.
const READ_BYTES: usize = 16 * 1024;
/// The most bytes of a request that are kept to be sent again.
const AGAIN_MAX_BYTES: usize = 64 * 1024;
/// How long a server may take to accept a connection before the next one is tried.
const CONNECT: Duration = Duration::from_secs(1);
/// How long an answer to a request that is sent again is waited for.
const AGAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The most requests that wait to be sent again.
const AGAIN_QUEUE_MAX: usize = 64;
/// The receive buffer of a line that trickles, so that the server feels it.
const TRICKLE_BUFFER_BYTES: u32 = 4096;

/// What is done to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Nothing.
    Plain,
    /// Both ends are reset after so many bytes of answers, wherever that is.
    Reset(u64),
    /// After so many bytes of answers nothing goes through any more, either way, and no end is told.
    Hole(u64),
    /// After so many bytes of answers, one byte a second.
    Trickle(u64),
    /// Every piece is late, by this many milliseconds and up to as many more.
    Late(u32),
    /// Every piece is cut into slices of so many bytes.
    Slices(u32),
    /// Requests are sent again some time later, on a connection of their own.
    Again,
}

/// How many connections were treated in which way.
#[derive(Debug, Default)]
pub struct Count {
    /// In every way, plain ones too.
    pub connections: AtomicU64,
    /// Reset in the middle.
    pub reset: AtomicU64,
    /// Left half open.
    pub holes: AtomicU64,
    /// One byte a second.
    pub trickles: AtomicU64,
    /// Late, with jitter.
    pub late: AtomicU64,
    /// Cut into slices.
    pub slices: AtomicU64,
    /// Requests sent again.
    pub again: AtomicU64,
}

/// For whom a proxy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Subscribers, whose requests wait.
    Subscribers,
    /// Publishers, whose requests may arrive twice.
    Publishers,
    /// The clients that are to have a good network.
    Front,
}

/// Where a proxy leads: to one server, or to nodes in turn, as a load balancer without a memory does.
#[derive(Clone, Debug)]
pub struct Upstream {
    nodes: Arc<[SocketAddr]>,
    next: Arc<AtomicUsize>,
    tls: Option<tls::Client>,
}

/// Both directions of a connection to a server, plain or under TLS.
trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

impl Upstream {
    /// To these, in turn.
    #[must_use]
    pub fn new(nodes: &[SocketAddr]) -> Self {
        Self { nodes: nodes.into(), next: Arc::default(), tls: None }
    }

    /// The same under TLS: what clients say in plain text is sealed here.
    #[must_use]
    pub fn secured(self, tls: tls::Client) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// A connection to the next one that takes it, which is reset when it is dropped if it `resets`.
    async fn connect(&self, receive_bytes: Option<u32>, resets: bool) -> io::Result<Box<dyn Line>> {
        let socket = self.connect_plain(receive_bytes).await?;
        socket.set_nodelay(true)?;
        if resets {
            SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        }
        match &self.tls {
            None => Ok(Box::new(socket)),
            Some(tls) => Ok(Box::new(timeout(CONNECT, tls.secure(socket)).await??)),
        }
    }

    async fn connect_plain(&self, receive_bytes: Option<u32>) -> io::Result<TcpStream> {
        let mut refused = io::Error::from(io::ErrorKind::NotConnected);
        for _ in 0..self.nodes.len() {
            let node = self.nodes[self.next.fetch_add(1, Ordering::Relaxed) % self.nodes.len()];
            let socket = TcpSocket::new_v4()?;
            if let Some(bytes) = receive_bytes {
                socket.set_recv_buffer_size(bytes)?;
            }
            match timeout(CONNECT, socket.connect(node)).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => refused = error,
                Err(_) => refused = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(refused)
    }
}

/// A proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it has done.
    pub count: Arc<Count>,
}

impl Proxy {
    /// Begins to listen, and goes on until the runtime ends.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(server: Upstream, side: Side, seed: u64, look: Look) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, count) = (listener.local_addr()?, Arc::new(Count::default()));
        let counting = Arc::clone(&count);
        tokio::spawn(async move {
            let mut choice = Choice(seed);
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let way = if look.is_storm() { Way::any(side, &mut choice) } else { Way::Plain };
                counting.connections.fetch_add(1, Ordering::Relaxed);
                counting.add(way);
                let (look, server, choice, count) = (
                    look.clone(),
                    server.clone(),
                    Choice(seed ^ u64::from(choice.below(u32::MAX)) << 16),
                    Arc::clone(&counting),
                );
                tokio::spawn(async move {
                    // However a connection ends here, its client finds out by itself.
                    let _ = carry(socket, server, way, choice, look, count).await;
                });
            }
        });
        Ok(Self { address, count })
    }
}

impl Count {
    fn add(&self, way: Way) {
        let counter = match way {
            Way::Plain | Way::Again => return,
            Way::Reset(_) => &self.reset,
            Way::Hole(_) => &self.holes,
            Way::Trickle(_) => &self.trickles,
            Way::Late(_) => &self.late,
            Way::Slices(_) => &self.slices,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Way {
    fn any(side: Side, choice: &mut Choice) -> Self {
        // Heads of answers have some 200 bytes, so small numbers hit those, large ones the events behind.
        let bytes = if choice.below(3) == 0 { choice.below(400) } else { choice.below(20_000) };
        let bytes = u64::from(bytes);
        match (side, choice.below(100)) {
            (Side::Front, _) | (_, 0..25) => Self::Plain,
            (_, 25..45) => Self::Reset(bytes),
            (_, 45..55) => Self::Hole(bytes),
            (Side::Subscribers, 55..62) => Self::Trickle(bytes),
            (Side::Publishers, 55..80) => Self::Again,
            (_, 62..82) => Self::Late(1 + choice.below(150)),
            _ => Self::Slices(1 + choice.below(16)),
        }
    }

    /// Whether a client would wait in vain if this went on.
    fn is_cut_by_calm(self) -> bool {
        matches!(self, Self::Reset(_) | Self::Hole(_) | Self::Trickle(_))
    }
}

async fn carry(
    client: TcpStream,
    server: Upstream,
    way: Way,
    choice: Choice,
    mut look: Look,
    count: Arc<Count>,
) -> io::Result<()> {
    let resets = matches!(way, Way::Reset(_));
    let receive_bytes = matches!(way, Way::Trickle(_)).then_some(TRICKLE_BUFFER_BYTES);
    let upstream = server.connect(receive_bytes, resets).await?;
    client.set_nodelay(true)?;
    if resets {
        // Without a close: what is under way is thrown away, as by a router that forgot.
        SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    }
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = split(upstream);
    let (again, agains) = mpsc::channel(AGAIN_QUEUE_MAX);
    if way == Way::Again {
        tokio::spawn(send_again(server, agains, Choice(choice.0 ^ 3), look.clone(), count));
    }
    let hole = Arc::new(AtomicBool::new(false));
    let again = (way == Way::Again).then_some(again);
    let up = Pump { way: way.upwards(), choice: Choice(choice.0 ^ 1), again, hole: Arc::clone(&hole) };
    let down = Pump { way, choice: Choice(choice.0 ^ 2), again: None, hole };
    tokio::select! {
        done = both(up.run(client_reads, server_writes), down.run(server_reads, client_writes)) => done,
        () = look.reached(Stage::Breeze), if way.is_cut_by_calm() => Ok(()),
    }
}

/// Both directions; the end of one, in order, leaves the other its time.
async fn both(
    up: impl Future<Output = io::Result<()>>,
    down: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    tokio::pin!(up);
    tokio::pin!(down);
    tokio::select! {
        done = &mut up => { done?; down.await }
        done = &mut down => done,
    }
}

impl Way {
    /// What is done to requests. A hole is one for them as well, once it has opened for the answers.
    fn upwards(self) -> Self {
        match self {
            Self::Late(_) | Self::Slices(_) | Self::Again => self,
            _ => Self::Plain,
        }
    }
}

struct Pump {
    way: Way,
    choice: Choice,
    again: Option<mpsc::Sender<Vec<u8>>>,
    /// Whether nothing goes through any more, in either direction.
    hole: Arc<AtomicBool>,
}

impl Pump {
    async fn run(
        mut self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        let mut seen = 0_u64;
        loop {
            let count = from.read(&mut buffer).await?;
            if self.hole.load(Ordering::Relaxed) {
                return self.nothing_goes_through().await;
            }
            if count == 0 {
                return to.shutdown().await;
            }
            let bytes = &buffer[..count];
            if let Some(again) = &self.again
                && bytes.len() <= AGAIN_MAX_BYTES
            {
                // Our publishers write a request at once and wait for its answer, so what was read is one.
                // Too many at once are left out.
                let _ = again.try_send(bytes.to_vec());
            }
            let room = match self.way {
                Way::Reset(after) | Way::Hole(after) | Way::Trickle(after) => after.saturating_sub(seen),
                _ => u64::MAX,
            };
            let room = usize::try_from(room).unwrap_or(usize::MAX).min(count);
            seen += count as u64;
            self.write(&mut to, &bytes[..room]).await?;
            if room < count {
                match self.way {
                    Way::Reset(_) => return Err(io::ErrorKind::ConnectionReset.into()),
                    Way::Hole(_) => {
                        self.hole.store(true, Ordering::Relaxed);
                        return self.nothing_goes_through().await;
                    }
                    _ => {
                        for byte in &bytes[room..] {
                            to.write_all(&[*byte]).await?;
                            to.flush().await?;
                            sleep(Duration::from_secs(1)).await;
                        }
                    }
                }
            }
        }
    }

    /// Until the weather changes both ends hold a connection that is not served. Not even its end is told.
    async fn nothing_goes_through(&self) -> io::Result<()> {
        std::future::pending().await
    }

    async fn write(&mut self, to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
        match self.way {
            Way::Late(ms) => {
                sleep(Duration::from_millis(u64::from(ms + self.choice.below(ms)))).await;
                to.write_all(bytes).await?;
            }
            Way::Slices(size) => {
                for slice in bytes.chunks(size as usize) {
                    to.write_all(slice).await?;
                    to.flush().await?;
                    tokio::task::yield_now().await;
                }
            }
            _ => to.write_all(bytes).await?,
        }
        to.flush().await
    }
}

/// Sends requests once more, each some time later; no task waits for the answers.
async fn send_again(
    server: Upstream,
    mut requests: mpsc::Receiver<Vec<u8>>,
    mut choice: Choice,
    look: Look,
    count: Arc<Count>,
) {
    while let Some(request) = requests.recv().await {
        // At once, in the middle of the first try; or long after its answer, when later requests have
        // overtaken it.
        let pause = if choice.below(2) == 0 { choice.below(20) } else { choice.below(3_000) };
        sleep(Duration::from_millis(u64::from(pause))).await;
        // One that comes when all is calm would be a message too many, where an engine has lost the keys.
        if !look.is_storm() {
            return;
        }
        let exchange = async {
            let mut socket = server.connect(None, false).await?;
            socket.write_all(&request).await?;
            socket.flush().await?;
            socket.read(&mut vec![0; READ_BYTES]).await
        };
        if matches!(timeout(AGAIN_TIMEOUT, exchange).await, Ok(Ok(1..))) {
            count.again.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What the proxies did: the name of it, and how often.
#[must_use]
pub fn network(proxies: &[&Proxy]) -> Vec<(&'static str, u64)> {
    let sum = |of: fn(&Count) -> &AtomicU64| {
        proxies.iter().map(|proxy| of(&proxy.count).load(Ordering::Relaxed)).sum()
    };
    vec![
        ("connections through the proxies", sum(|count| &count.connections)),
        ("reset in the middle of a frame", sum(|count| &count.reset)),
        ("left half open", sum(|count| &count.holes)),
        ("slowed to one byte a second", sum(|count| &count.trickles)),
        ("late by up to 300 ms, with jitter", sum(|count| &count.late)),
        ("cut into slices of up to 16 bytes", sum(|count| &count.slices)),
        ("requests that arrived a second time", sum(|count| &count.again)),
    ]
}
