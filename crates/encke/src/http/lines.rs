//! A body of lines, each a request of its own, read while it comes: as many lines at a time as have come, and
//! never more bytes in memory than a line and a frame have.

use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use encke_proto::limits::BODY_MAX_BYTES;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::time::timeout;

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

/// Why a body has no more lines before its end: what came of its last line is not a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfinished {
    /// The body broke off.
    #[error("the body broke off")]
    BrokenOff,
    /// Nothing of it came for too long.
    #[error("nothing of the body came for too long")]
    Idle,
}

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
    has_broken_off: bool,
}

impl Lines {
    pub(crate) fn new(body: Body) -> Self {
        Self {
            body,
            unread: BytesMut::new(),
            looked_at: 0,
            passing_over: false,
            has_ended: false,
            has_broken_off: false,
        }
    }

    /// Asks for the body, and waits for nothing of it. A client that asks whether it may send one
    /// (`Expect: 100-continue`) is told so by that, but only while the answer has not begun.
    pub(crate) async fn ask(&mut self) {
        if let Some(frame) = self.body.frame().now_or_never() {
            self.take_in(frame);
        }
        // Has hyper say it before the answer goes on.
        tokio::task::yield_now().await;
    }

    /// The lines that have come, at most [`LINES_MAX`]; waits for the first of them, and gives none at the
    /// end. A last line need not be ended. Empty lines are passed over. May be dropped at any time: nothing
    /// of the body is lost.
    ///
    /// # Errors
    /// [`Unfinished`], after all whole lines were given: also when nothing comes for `idle_max`. Whatever
    /// comes of the body begins that time anew, an empty line too.
    pub(crate) async fn next(&mut self, idle_max: Duration) -> Result<Vec<Line>, Unfinished> {
        loop {
            let lines = self.take();
            if !lines.is_empty() || self.has_ended {
                return Ok(lines);
            }
            if self.has_broken_off {
                return Err(Unfinished::BrokenOff);
            }
            let frame = timeout(idle_max, self.body.frame()).await.map_err(|_| Unfinished::Idle)?;
            self.take_in(frame);
        }
    }

    fn take_in(&mut self, frame: Option<Result<Frame<Bytes>, axum::Error>>) {
        match frame {
            Some(Ok(frame)) => {
                // Trailers say nothing here.
                if let Ok(bytes) = frame.into_data() {
                    self.unread.extend_from_slice(&bytes);
                }
            }
            Some(Err(_)) => self.has_broken_off = true,
            None => {
                self.has_ended = true;
                self.unread.extend_from_slice(b"\n");
            }
        }
    }

    fn take(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        while lines.len() < LINES_MAX {
            let Some(at) = self.unread[self.looked_at..].iter().position(|byte| *byte == b'\n') else {
                if self.is_too_long() {
                    lines.push(Line::TooLong);
                    self.passing_over = true;
                }
                if self.passing_over {
                    self.unread.clear();
                }
                self.looked_at = self.unread.len();
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

    /// Whether the line that has begun is longer than it may be, wherever it ends. The white space around it
    /// does not count, and little of that is kept.
    fn is_too_long(&mut self) -> bool {
        let leading = self.unread.len() - self.unread.trim_ascii_start().len();
        self.unread.advance(leading);
        if self.passing_over || self.unread.len() <= LINE_MAX_BYTES {
            return false;
        }
        if self.unread.trim_ascii_end().len() > LINE_MAX_BYTES {
            return true;
        }
        // One byte of the white space behind the bound tells enough: anything else behind it is too much.
        self.unread.truncate(LINE_MAX_BYTES + 1);
        false
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const IDLE_MAX: Duration = Duration::from_secs(300);

    /// A body whose pieces come so many seconds one after the other.
    fn late(pieces: &'static [(u64, &'static str)]) -> Body {
        Body::from_stream(futures_util::stream::unfold(pieces, |pieces| async move {
            let ((seconds, piece), rest) = pieces.split_first()?;
            tokio::time::sleep(Duration::from_secs(*seconds)).await;
            Some((Ok::<_, io::Error>(*piece), rest))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_comes_begins_the_idle_time_anew() {
        for piece in ["\n", " ", "\r\n\n", "12"] {
            let pieces: &'static [_] = Box::leak(Box::new([(299, piece), (299, piece), (299, "7\n")]));
            let lines = Lines::new(late(pieces)).next(IDLE_MAX).await.unwrap();
            assert_eq!(lines, [whole(if piece == "12" { "12127" } else { "7" })], "{piece:?}");
        }
        for pieces in [&[(301, "7\n")][..], &[(299, "\n"), (301, "7\n")], &[(299, "1"), (301, "\n")]] {
            assert_eq!(Lines::new(late(pieces)).next(IDLE_MAX).await, Err(Unfinished::Idle), "{pieces:?}");
        }
    }

    /// All groups of lines of a body that comes in these pieces, and whether it broke off.
    async fn groups(pieces: Vec<io::Result<Vec<u8>>>) -> (Vec<Vec<Line>>, bool) {
        let mut lines = Lines::new(Body::from_stream(futures_util::stream::iter(pieces)));
        let mut groups = Vec::new();
        loop {
            match lines.next(IDLE_MAX).await {
                Ok(group) if group.is_empty() => return (groups, false),
                Ok(group) => groups.push(group),
                Err(_) => return (groups, true),
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
    async fn whether_a_line_is_too_long_depends_on_nothing_around_it_and_on_no_cut() {
        let spaces = " ".repeat(100_000);
        for (before, after) in [("", "\r"), (" ", ""), ("\t \r", " \r"), (&spaces, ""), ("", &spaces)] {
            for length in [LINE_MAX_BYTES, LINE_MAX_BYTES + 1] {
                for inner in ["x", " "] {
                    let line = format!("{}{inner}x", "x".repeat(length - 2));
                    let text = format!("{before}{line}{after}\n2\n");
                    let first = if length == LINE_MAX_BYTES { whole(&line) } else { Line::TooLong };
                    for cut in (LINE_MAX_BYTES - 3..=LINE_MAX_BYTES + 6).chain([before.len() + length + 1]) {
                        let (head, tail) = text.as_bytes().split_at(cut.min(text.len()));
                        let (groups, _) = groups(vec![Ok(head.to_vec()), Ok(tail.to_vec())]).await;
                        let found: Vec<Line> = groups.concat();
                        assert!(found == [first.clone(), whole("2")], "{length} {cut} {:?}", after.len());
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn a_line_without_end_takes_no_memory() {
        for (begin, byte) in [("", b'x'), ("", b' '), ("x", b' '), ("", b'\r')] {
            keeps_little(begin, byte).await;
        }
    }

    async fn keeps_little(begin: &'static str, byte: u8) {
        let endless = futures_util::stream::unfold(0, move |sent| async move {
            tokio::task::yield_now().await;
            let bytes = if sent == 0 { begin.into() } else { vec![byte; 16 * 1024] };
            (sent < 1_000).then(|| (Ok::<_, io::Error>(bytes), sent + 1))
        });
        let mut lines = Lines::new(Body::from_stream(endless));
        if byte == b'x' {
            assert_eq!(lines.next(IDLE_MAX).await, Ok(vec![Line::TooLong]));
        }
        let mut most = 0;
        loop {
            let next = Box::pin(lines.next(IDLE_MAX));
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
