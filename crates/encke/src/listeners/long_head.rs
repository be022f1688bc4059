//! Heads that are too long: hyper refuses them in its own words, which no page of another origin
//! may read. They are left unsaid, and ours are said instead.

use std::{io, time::Duration};

use encke_proto::{ErrorCode, Refusal, Time};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    admission::Admit,
    connection::head::origin_of,
    http::{DateLine, refusal::sentence, response::whole},
};

/// What hyper's answer to a head that is too long begins with. No handler answers with this status.
const REFUSED: &[u8] = b"HTTP/1.1 431 ";

/// How long a client may take to take the refusal, and to end the connection after it.
const REFUSE_MAX: Duration = Duration::from_secs(2);

/// Whether hyper writes its refusal.
pub(super) fn is_refused(bytes: &[u8]) -> bool {
    bytes.starts_with(REFUSED)
}

/// Says so to a client, of whose head this is the beginning.
///
/// # Errors
/// When the socket does not take it, or not within [`REFUSE_MAX`].
pub(super) async fn refuse(
    socket: &mut (impl AsyncWrite + Unpin),
    head: &[u8],
    admit: &Admit,
    now: Time,
) -> io::Result<()> {
    let refusal = Refusal::new(ErrorCode::HeadTooLarge, sentence(ErrorCode::HeadTooLarge));
    let origin = match origin_of(head) {
        // Its origin may stand in what was not read. The answer is the same for all, and says nothing of
        // anyone.
        None if is_cut(head) => Some("*"),
        origin => admit.readable_by(origin),
    };
    let mut out = Vec::new();
    whole(&mut out, &refusal, origin, DateLine::default().at(now));
    tell(socket, &out).await
}

/// Whether the head's end is not there.
fn is_cut(head: &[u8]) -> bool {
    let is_end = |line: &[u8]| line == b"\n" || line == b"\r\n";
    !head.split_inclusive(|byte| *byte == b'\n').any(is_end)
}

/// Writes an answer and ends the connection, within [`REFUSE_MAX`].
async fn tell(socket: &mut (impl AsyncWrite + Unpin), answer: &[u8]) -> io::Result<()> {
    let told = async {
        socket.write_all(answer).await?;
        socket.shutdown().await
    };
    timeout(REFUSE_MAX, told).await?
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_take_the_refusal_is_not_waited_for() {
        let (_client, mut server) = duplex(8);
        let told = timeout(REFUSE_MAX * 10, tell(&mut server, &[b'x'; 100])).await;
        assert_eq!(told.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
