//! The way to a server of the engine: it carries everything as it is, until a peer is cut off.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::sleep,
};

use crate::chaos::peer::{Cut, Peer, whose};

/// How much is read at a time.
const READ_BYTES: usize = 64 * 1024;
/// How often it is asked whose a connection is: its process may have begun a moment ago, and be known a
/// moment later.
const WHOSE_TRIES: u32 = 6;

/// A way.
#[derive(Clone, Debug)]
pub struct PortForward {
    /// Where it begins.
    pub address: SocketAddr,
    /// How many connections were reset by it.
    pub reset: Arc<AtomicU64>,
}

impl PortForward {
    /// Opens one that leads to `server`, and goes on until the runtime ends.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn open(server: SocketAddr, peers: Arc<[Peer]>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let forward = Self { address: listener.local_addr()?, reset: Arc::default() };
        let (here, reset) = (forward.address, Arc::clone(&forward.reset));
        tokio::spawn(async move {
            loop {
                let Ok((client, peer)) = listener.accept().await else {
                    sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let (peers, reset) = (Arc::clone(&peers), Arc::clone(&reset));
                tokio::spawn(async move {
                    let cut = owner(&peers, peer, here).await.map(|peer| peer.look());
                    // The connection of no peer is never cut.
                    let cut = cut.unwrap_or_else(|| watch::Sender::new(Cut::default()).subscribe());
                    // However it ends, both sides find out by themselves.
                    let _ = carry(client, server, cut, &reset).await;
                });
            }
        });
        Ok(forward)
    }
}

async fn owner(peers: &[Peer], peer: SocketAddr, here: SocketAddr) -> Option<&Peer> {
    for _ in 0..WHOSE_TRIES {
        if let Some(peer) = whose(peers, peer, here) {
            return Some(peer);
        }
        sleep(Duration::from_millis(5)).await;
    }
    None
}

async fn carry(
    mut client: TcpStream,
    server: SocketAddr,
    mut cut: watch::Receiver<Cut>,
    reset: &AtomicU64,
) -> io::Result<()> {
    // A reset that comes now is about this connection; those before are not.
    let resets = cut.borrow_and_update().resets;
    open(&mut cut, |cut| cut.up || cut.down).await;
    let mut upstream = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let forgotten = cut.clone();
    // Halves that are borrowed say no close when they are dropped, which would come before the reset.
    let (client_reads, client_writes) = client.split();
    let (server_reads, server_writes) = upstream.split();
    let up = pump(client_reads, server_writes, cut.clone(), |cut| cut.up);
    let down = pump(server_reads, client_writes, cut, |cut| cut.down);
    let done = tokio::select! {
        done = async { tokio::try_join!(up, down) } => Some(done.map(drop)),
        () = changed(forgotten, resets) => None,
    };
    done.unwrap_or_else(|| {
        reset.fetch_add(1, Ordering::Relaxed);
        // Nothing of what waited is sent.
        SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
        SockRef::from(&upstream).set_linger(Some(Duration::ZERO))
    })
}

/// Returns when all connections of the peer were reset once more.
async fn changed(mut cut: watch::Receiver<Cut>, resets: u32) {
    // When no cuts can come any more, the run is over.
    if cut.wait_for(|cut| cut.resets != resets).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Returns when it is open.
async fn open(cut: &mut watch::Receiver<Cut>, closed: fn(&Cut) -> bool) {
    let _ = cut.wait_for(|cut| !closed(cut)).await;
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut cut: watch::Receiver<Cut>,
    closed: fn(&Cut) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = from.read(&mut buffer).await;
        // What was sent while it was closed waits in the network, and so does the news that the other side
        // has gone.
        open(&mut cut, closed).await;
        let count = read?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpid;
    use tokio::time::timeout;

    const TIMEOUT: Duration = Duration::from_secs(20);

    /// A server that says everything back, and a port forward before it for this process.
    async fn echo() -> (Peer, PortForward) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = socket.into_split();
                    tokio::io::copy(&mut reads, &mut writes).await
                });
            }
        });
        let peers: Arc<[Peer]> = [Peer::new(), Peer::new()].into();
        peers[1].is(getpid());
        let forward = PortForward::open(address, Arc::clone(&peers)).await.unwrap();
        (peers[1].clone(), forward)
    }

    async fn says(socket: &mut TcpStream, text: &str) -> io::Result<String> {
        socket.write_all(text.as_bytes()).await?;
        heard(socket, text.len()).await
    }

    async fn heard(socket: &mut TcpStream, bytes: usize) -> io::Result<String> {
        let mut buffer = vec![0; bytes];
        timeout(TIMEOUT, socket.read_exact(&mut buffer)).await.expect("it comes")?;
        Ok(String::from_utf8(buffer).unwrap())
    }

    #[tokio::test]
    async fn what_is_sent_while_its_way_is_cut_waits() {
        let (peer, forward) = echo().await;
        let mut socket = TcpStream::connect(forward.address).await.unwrap();
        assert_eq!(says(&mut socket, "one").await.unwrap(), "one");
        for (up, down) in [(true, true), (true, false), (false, true)] {
            peer.cut(up, down);
            socket.write_all(b"two").await.unwrap();
            // Nothing is to come, so there is no condition to wait for; a port forward that leaks is found
            // when it does so within this time.
            let came = timeout(Duration::from_millis(100), socket.read_u8()).await;
            assert!(came.is_err(), "nothing comes back while up {up} down {down}");
            peer.heal(false);
            assert_eq!(heard(&mut socket, 3).await.unwrap(), "two");
        }
    }

    #[tokio::test]
    async fn a_way_that_forgets_resets_what_was_open() {
        let (peer, forward) = echo().await;
        let mut socket = TcpStream::connect(forward.address).await.unwrap();
        assert_eq!(says(&mut socket, "one").await.unwrap(), "one");
        peer.cut(true, true);
        peer.heal(true);
        let error = heard(&mut socket, 1).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let mut socket = TcpStream::connect(forward.address).await.unwrap();
        assert_eq!(says(&mut socket, "again").await.unwrap(), "again");
    }
}
