//! A body of lines, each a request of its own, read while it comes: as many lines at a time as have come, and
//! never more bytes in memory than a line and a frame have.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use encke_proto::limits::BODY_MAX_BYTES;
use http_body_util::BodyExt;

/// The most lines that are handed over at a time.
pub(crate) const LINES_MAX: usize = 256;
/// The longest line, in bytes: as long as the body of a request alone.
pub(crate) const LINE_MAX_BYTES: usize = BODY_MAX_BYTES;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Without the white space around it; never empty.
    Whole(Bytes),
    /// It is longer than [`LINE_MAX_BYTES`], and was passed over.
    TooLong,
}

/// The body broke off: what came of its last line is not a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BrokenOff;

/// The lines of a body.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Body,
    unread: BytesMut,
    /// How many bytes of `unread` are known to hold no end of a line.
    looked_at: usize,
    /// Whether the line that has begun is already told to be too long.
    passing_over: bool,
    has_ended: bool,
}

impl Lines {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, unread: BytesMut::new(), looked_at: 0, passing_over: false, has_ended: false }
    }

    /// The lines that have come, at most [`LINES_MAX`]; waits for the first of them, and gives none at the
    /// end. A last line need not be ended. Empty lines are passed over. May be dropped at any time: nothing
    /// of the body is lost.
    ///
    /// # Errors
    /// [`BrokenOff`], after all whole lines were given.
    pub(crate) async fn next(&mut self) -> Result<Vec<Line>, BrokenOff> {
        loop {
            let lines = self.take();
            if !lines.is_empty() || self.has_ended {
                return Ok(lines);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    // Trailers say nothing here.
                    if let Ok(bytes) = frame.into_data() {
                        self.unread.extend_from_slice(&bytes);
                    }
                }
                Some(Err(_)) => return Err(BrokenOff),
                None => {
                    self.has_ended = true;
                    self.unread.extend_from_slice(b"\n");
                }
            }
        }
    }

    fn take(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        while lines.len() < LINES_MAX {
            let Some(at) = self.unread[self.looked_at..].iter().position(|byte| *byte == b'\n') else {
                self.looked_at = self.unread.len();
                if self.unread.len() > LINE_MAX_BYTES {
                    if !self.passing_over {
                        lines.push(Line::TooLong);
                    }
                    self.passing_over = true;
                    self.unread.clear();
                    self.looked_at = 0;
                }
                break;
            };
            let mut line = self.unread.split_to(self.looked_at + at + 1).freeze();
            self.looked_at = 0;
            if std::mem::take(&mut self.passing_over) {
                continue;
            }
            line = line.slice_ref(line.trim_ascii());
            if line.len() > LINE_MAX_BYTES {
                lines.push(Line::TooLong);
            } else if !line.is_empty() {
                lines.push(Line::Whole(line));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// All groups of lines of a body that comes in these pieces, and whether it broke off.
    async fn groups(pieces: Vec<io::Result<Vec<u8>>>) -> (Vec<Vec<Line>>, bool) {
        let mut lines = Lines::new(Body::from_stream(futures_util::stream::iter(pieces)));
        let mut groups = Vec::new();
        loop {
            match lines.next().await {
                Ok(group) if group.is_empty() => return (groups, false),
                Ok(group) => groups.push(group),
                Err(BrokenOff) => return (groups, true),
            }
        }
    }

    fn whole(text: &str) -> Line {
        Line::Whole(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[tokio::test]
    async fn lines_come_out_whole_however_their_bytes_come_in() {
        let text = "{\"a\":\"\u{fc}\"}\n\n \r\n{\"b\":2}\r\n{\"c\"";
        for size in 1..=text.len() {
            let pieces = text.as_bytes().chunks(size).map(|piece| Ok(piece.to_vec())).collect();
            let (groups, broken) = groups(pieces).await;
            assert_eq!(
                groups.concat(),
                [whole("{\"a\":\"\u{fc}\"}"), whole("{\"b\":2}"), whole("{\"c\"")],
                "{size}"
            );
            assert!(!broken);
        }
    }

    #[tokio::test]
    async fn a_line_that_broke_off_is_none() {
        let pieces = vec![Ok(b"1\n2\n3".to_vec()), Err(io::ErrorKind::ConnectionReset.into())];
        assert_eq!(groups(pieces).await, (vec![vec![whole("1"), whole("2")]], true));
    }

    #[tokio::test]
    async fn a_long_line_is_told_once_and_the_next_is_read() {
        let long = "x".repeat(LINE_MAX_BYTES);
        for extra in [0, 1, 2, 100_000, 1_000_000] {
            let text = format!("1\n{long}{}\n2\n", "y".repeat(extra));
            for size in [1_000, LINE_MAX_BYTES, 10_000_000] {
                let pieces = text.as_bytes().chunks(size).map(|piece| Ok(piece.to_vec())).collect();
                let (groups, _) = groups(pieces).await;
                let second = if extra == 0 { whole(&long) } else { Line::TooLong };
                assert_eq!(groups.concat(), [whole("1"), second, whole("2")], "{extra} {size}");
            }
        }
    }

    #[tokio::test]
    async fn a_line_without_end_takes_no_memory() {
        let endless = futures_util::stream::unfold(0, |sent| async move {
            tokio::task::yield_now().await;
            (sent < 1_000).then(|| (Ok::<_, io::Error>(vec![b'x'; 16 * 1024]), sent + 1))
        });
        let mut lines = Lines::new(Body::from_stream(endless));
        assert_eq!(lines.next().await, Ok(vec![Line::TooLong]));
        let mut most = 0;
        loop {
            let next = Box::pin(lines.next());
            let is_over = futures_util::FutureExt::now_or_never(next).is_some_and(|next| next.is_ok());
            most = most.max(lines.unread.capacity());
            if is_over {
                break;
            }
        }
        assert!(most < 4 * LINE_MAX_BYTES, "{most}");
    }

    #[tokio::test]
    async fn not_too_many_lines_come_at_a_time() {
        let (groups, _) = groups(vec![Ok("1\n".repeat(3 * LINES_MAX).into_bytes())]).await;
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [LINES_MAX; 3]);
    }
}
