//! A client that is on a certain node, to see what becomes of the clients there.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::chaos::{
    crowd::token,
    server::Keys,
    wire::{Event, Reader, Transport},
};

/// How long a session may take to begin.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The pause before it is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// A stream that is open.
#[derive(Debug)]
pub struct Probe {
    /// Its user, who has no other session.
    pub user: String,
    lost: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Probe {
    /// Opens a stream at a node. One that is refused for now is tried again, as every client does.
    ///
    /// # Errors
    /// When no session begins.
    pub async fn open(node: SocketAddr, user: String, keys: &Keys) -> io::Result<Self> {
        let began = Instant::now();
        while began.elapsed() < TIMEOUT {
            match Self::attempt(node, user.clone(), keys).await? {
                Some(probe) => return Ok(probe),
                None => sleep(AGAIN).await,
            }
        }
        Err(io::Error::other(format!("no session begins at {node}")))
    }

    async fn attempt(node: SocketAddr, user: String, keys: &Keys) -> io::Result<Option<Self>> {
        let token = token(keys, &user, &[])?;
        let lost = Arc::new(AtomicBool::new(false));
        let (opened, open) = oneshot::channel();
        let losing = Arc::clone(&lost);
        let task = tokio::spawn(async move {
            // However it ends, it has ended.
            let _ = listen(node, &token, opened).await;
            losing.store(true, Ordering::SeqCst);
        });
        let probe = Self { user, lost, task };
        Ok(matches!(timeout(TIMEOUT, open).await, Ok(Ok(()))).then_some(probe))
    }

    /// Whether its connection has come to an end.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(node: SocketAddr, token: &str, opened: oneshot::Sender<()>) -> io::Result<()> {
    let mut socket = TcpStream::connect(node).await?;
    let request = format!("GET /v1/sse HTTP/1.1\r\nHost: {node}\r\nAuthorization: Bearer {token}\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let (mut reader, mut buffer, mut opened) = (Reader::new(Transport::Sse), vec![0; 4096], Some(opened));
    loop {
        let count = socket.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        for event in reader.feed(&buffer[..count], &mut Vec::new()).map_err(io::Error::other)? {
            match event {
                Event::Open { .. } => {
                    // No caller waits for a second one.
                    opened.take().map(|opened| opened.send(()));
                }
                Event::Close { .. } | Event::Refused(_) | Event::End => return Ok(()),
                Event::Message { .. } | Event::Gap { .. } => {}
            }
        }
    }
}
