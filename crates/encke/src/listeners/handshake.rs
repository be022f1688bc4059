//! Handshakes whose signature takes long (RSA): made beside the shards, by few threads.

use std::{io, sync::Arc, time::Duration};

use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::Semaphore, task::spawn_blocking, time::timeout};

use super::tls_stream::open;
use crate::connection::tls::TlsState;

/// How many signatures are made at a time. Those who wait for messages need the other cores.
const SIGNERS_MAX: usize = 1;
/// How much is read at a time.
const READ_BYTES: usize = 4 * 1024;

/// Makes handshakes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Handshakes {
    signers: Arc<Semaphore>,
    /// How long each may take.
    max: Duration,
}

impl Handshakes {
    /// Each may take so long.
    pub(super) fn new(max: Duration) -> Self {
        Self { signers: Arc::new(Semaphore::new(SIGNERS_MAX)), max }
    }

    /// Makes one. The socket, its state, and what the client has said behind its part of the handshake.
    ///
    /// # Errors
    /// When the client is gone, takes too long, or does not keep to the protocol.
    pub(super) async fn finish(
        &self,
        socket: TcpStream,
        state: Box<TlsState>,
    ) -> io::Result<(TcpStream, Box<TlsState>, Vec<u8>)> {
        timeout(self.max, self.go_on(socket, state)).await?
    }

    async fn go_on(
        &self,
        mut socket: TcpStream,
        mut state: Box<TlsState>,
    ) -> io::Result<(TcpStream, Box<TlsState>, Vec<u8>)> {
        let mut said = Vec::new();
        while state.is_handshaking() {
            socket.readable().await?;
            let mut bytes = vec![0; READ_BYTES];
            match socket.try_read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => bytes.truncate(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            let permit = Arc::clone(&self.signers).acquire_owned().await.map_err(io::Error::other)?;
            let opened;
            (state, opened) = spawn_blocking(move || {
                let _permit = permit;
                let opened = open(&mut state, &bytes);
                (state, opened)
            })
            .await?;
            // What is to be said of an error goes out, too.
            socket.write_all(&state.take_control()).await?;
            said = opened.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
        }
        Ok((socket, state, said))
    }
}
