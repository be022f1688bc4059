//! Heads that are too long: the HTTP library refuses them in its own words, which no page of another origin
//! may read. They are left unsaid, and ours are said instead.

use std::io;

use encke_proto::{ErrorCode, Refusal, Time};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::{
    admission::Admit,
    http::{DateLine, refusal::sentence, response::whole},
    table::head::origin_of,
};

/// What the library's answer to a head that is too long begins with. No handler answers with this status.
const REFUSED: &[u8] = b"HTTP/1.1 431 ";

/// Whether the library writes its refusal.
pub(super) fn is_refused(bytes: &[u8]) -> bool {
    bytes.starts_with(REFUSED)
}

/// Says so to a client, of whose head this is the beginning.
///
/// # Errors
/// When the socket does not take it.
pub(super) async fn refuse(socket: &mut (impl AsyncWrite + Unpin), head: &[u8], admit: &Admit, now: Time) -> io::Result<()> {
    let refusal = Refusal::new(ErrorCode::HeadTooLarge, sentence(ErrorCode::HeadTooLarge));
    let mut out = Vec::new();
    whole(&mut out, &refusal, admit.readable_by(origin_of(head)), DateLine::default().at(now));
    // It fits into any socket's buffer.
    socket.write_all(&out).await?;
    socket.shutdown().await
}
