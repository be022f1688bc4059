//! A connection that a shard gives to hyper. What serves it there is in `listeners`.

use std::{
    io::Write,
    net::{Shutdown, TcpStream},
};

use encke_proto::{ErrorCode, Refusal};
use tokio::sync::oneshot;

use crate::{
    admission::Admit,
    connection::{Permit, head, tls::TlsState},
    http::response::whole,
    metrics::Metrics,
};

/// A connection for hyper: the socket, what was read from it, and the right to have it open.
#[derive(Debug)]
pub struct Handoff {
    /// The socket.
    pub socket: TcpStream,
    /// What is known of its cryptography, under TLS.
    pub tls: Option<Box<TlsState>>,
    /// What was read.
    pub bytes: Vec<u8>,
    /// The right to have it open.
    pub permit: Permit,
    /// The shard that it comes from, and goes back to when it rests.
    pub shard: usize,
    /// Tells that its handshake is to be ended for another, if that is what it is given away for.
    pub ends: Option<oneshot::Receiver<()>>,
}

impl Handoff {
    /// Says that there is no room for its request, and ends it. Nothing waits for the client: the answer fits
    /// into the buffer of any socket, and a client that does not take it is refused all the same. Over HTTP/2
    /// and before the end of a handshake nothing can be said.
    pub fn refuse(mut self, admit: &Admit, date: &str) {
        Metrics::global().overloaded_connections.inc();
        let mut out = Vec::new();
        let origin = admit.readable_by(head::origin_of(&self.bytes));
        let refusal = Refusal::new(ErrorCode::Overloaded, "too many requests at a time");
        whole(&mut out, &refusal, origin, date);
        if let Some(tls) = &mut self.tls {
            let is_silent = tls.is_handshaking() || tls.is_http_2();
            if is_silent || tls.seal(&mut out, 0).is_err() {
                return;
            }
            tls.end(&mut out);
        }
        let _ = self.socket.write(&out);
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}
