//! The nodes: servers with the same keys on one engine.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    chaos::{
        http::Asker,
        peer::Peer,
        server::{Keys, Server},
        settle::Subject,
    },
    choice::Choice,
};

/// How long a node may take until it would take requests.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// What a node says that ends because it does not reach the engine.
const AWAY: &str = "the engine is not available";
/// The pause before such a node is started again.
const START_AGAIN: Duration = Duration::from_millis(200);
/// How often it is asked.
const PERIOD: Duration = Duration::from_millis(20);

/// All of them.
#[derive(Debug)]
pub struct Nodes {
    /// In the order of their names.
    pub list: Vec<Server>,
}

impl Nodes {
    /// One for each peer. Not started yet.
    ///
    /// # Errors
    /// When there is no place for one, or no port.
    pub fn new(
        program: &Path,
        engine: &str,
        keys: &Keys,
        peers: &[Peer],
        choice: &mut Choice,
    ) -> io::Result<Self> {
        let node = |(number, peer): (usize, &Peer)| {
            Server::node(program, engine, &format!("node-{number}"), keys.clone(), Some(peer.clone()), choice)
        };
        Ok(Self { list: peers.iter().enumerate().map(node).collect::<io::Result<_>>()? })
    }

    /// Starts all of them.
    ///
    /// # Errors
    /// When one does not come up.
    pub async fn start(&mut self) -> io::Result<()> {
        for node in &mut self.list {
            start(node).await?;
        }
        self.ready().await
    }

    /// Where they listen.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.list.iter().map(|node| node.address).collect()
    }

    /// Waits until each of them would take requests.
    ///
    /// # Errors
    /// When one would not for too long.
    pub async fn ready(&self) -> io::Result<()> {
        for node in &self.list {
            says(node.address, 200, READY_TIMEOUT).await?;
        }
        Ok(())
    }

    /// Stops each in order and starts it again, the next one when it would take requests.
    ///
    /// # Errors
    /// When one does not stop, start, or become ready.
    pub async fn roll(&mut self) -> io::Result<()> {
        for node in &mut self.list {
            node.stop().await?;
            start(node).await?;
            says(node.address, 200, READY_TIMEOUT).await?;
        }
        Ok(())
    }
}

/// Starts a node. One that ends because the engine does not answer at that moment is started again, as
/// whatever watches over a server does.
///
/// # Errors
/// When it does not come up for another reason, or not at all.
pub async fn start(node: &mut Server) -> io::Result<()> {
    let began = Instant::now();
    loop {
        match node.start(None).await {
            Err(error) if error.to_string().contains(AWAY) && began.elapsed() < READY_TIMEOUT => {
                sleep(START_AGAIN).await
            }
            done => return done,
        }
    }
}

/// Waits until a node answers with this status whether it is ready. How long that took.
///
/// # Errors
/// When it does not within `timeout`.
pub async fn says(node: SocketAddr, wanted: u16, timeout: Duration) -> io::Result<Duration> {
    let (began, mut asker, mut last) = (Instant::now(), Asker::new(node, ""), None);
    while began.elapsed() < timeout {
        // An answer that does not come is not one that it would not take requests.
        if let Ok((status, body)) = asker.get("/readyz").await {
            if status == wanted {
                return Ok(began.elapsed());
            }
            last = Some(format!("{status} {}", String::from_utf8_lossy(&body)));
        }
        sleep(PERIOD).await;
    }
    Err(io::Error::other(format!("the node at {node} does not answer /readyz with {wanted}: {last:?}")))
}

impl Subject for Nodes {
    async fn restart(&mut self) -> io::Result<()> {
        self.roll().await
    }

    async fn kill_and_start(&mut self) -> io::Result<()> {
        if let Some(node) = self.list.first_mut() {
            node.kill()?;
            start(node).await?;
        }
        self.ready().await
    }
}
