//! What a connection of hyper is doing: whether it comes with a request's head, has requests under
//! way, or rests between two; and how long it may.
//!
//! hyper has one timer for a head, and starts it when the answer before is complete. So it cannot tell
//! a client that rests from one that sends its head byte by byte, and its
//! timer is not used. What is known here comes from both ends of hyper: the socket that it reads and
//! writes ([`Watched`]), and the service that it calls ([`Activity::begin`]).

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::connection::Permit;

use super::{
    long_head,
    progress::{SocketProgress, StreamProgress},
};

/// How long a client may go on sending after an answer that ends its connection, in how large pieces that is
/// read, and how many of them.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_READ_BYTES: usize = 16 * 1024;
const LINGER_READS_MAX: usize = 64;
/// How much of an answer HTTP/2 is given at a time: what it has of one is kept, whatever the client takes.
const PIECE_MAX_BYTES: usize = 8 * 1024;

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// A head, from its first byte; the first head, from the beginning of the connection.
    pub(super) head: Duration,
    /// Between two requests.
    pub(super) rest: Duration,
    /// A client that takes nothing of what is written to it, or hardly anything.
    pub(super) stalled: Duration,
}

/// Which of these is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The head has not come.
    Head,
    /// No request has come.
    Rest,
    /// The socket takes too little.
    Stalled,
    /// The client lets no answer come, by HTTP/2's windows.
    HeldBack,
}

/// What a connection is doing; shared by its socket, its service and its driver.
#[derive(Debug)]
pub(super) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Requests whose answer is not complete.
    under_way: usize,
    /// Requests whose body was not read to its end.
    unread: usize,
    /// Whether there was a request at all.
    began: bool,
    /// Whether the requests come over HTTP/2, where bytes between two of them may be anything.
    multiplexed: bool,
    /// What the socket takes.
    socket: SocketProgress,
    /// What the streams of HTTP/2 take.
    streams: StreamProgress,
    /// How many streams there were.
    streams_begun: u64,
    /// Whether something was written since the connection was last found resting.
    wrote: bool,
    /// Whether what hyper writes next can only be an answer of its own: all answers were flushed, and
    /// no request has come since.
    flushed: bool,
    /// Since when no request is under way.
    since: Instant,
    /// When the first byte of the next head came.
    head_began: Option<Instant>,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            under_way: 0,
            unread: 0,
            began: false,
            multiplexed: false,
            socket: SocketProgress::default(),
            streams: StreamProgress::default(),
            streams_begun: 0,
            wrote: false,
            flushed: true,
            since: Instant::now(),
            head_began: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No change of the state stops halfway, so that it is whole even after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come. It is under way until both halves are dropped: the first goes around its body, the
    /// second around that of its answer.
    pub(super) fn begin(self: &Arc<Self>, multiplexed: bool, has_body: bool) -> (Unread, UnderWay) {
        let mut state = self.lock();
        state.began = true;
        state.multiplexed = multiplexed;
        state.head_began = None;
        state.flushed = false;
        state.under_way += 1;
        state.unread += usize::from(has_body);
        state.streams_begun += u64::from(multiplexed);
        let stream = multiplexed.then_some(state.streams_begun);
        drop(state);
        let under_way = UnderWay { activity: Arc::clone(self), stream, permit: None };
        (Unread(has_body.then(|| Arc::clone(self))), under_way)
    }

    /// Whether a request's body was not read to its end, so that the connection cannot go on.
    pub(super) fn has_unread(&self) -> bool {
        self.lock().unread > 0
    }

    /// Whether the socket did not take all of what was last written to it.
    pub(super) fn is_blocked(&self) -> bool {
        self.lock().socket.is_behind()
    }

    /// When the time is over that the connection has for what it is doing now, if that is bounded here.
    fn deadline(&self, times: &Times) -> Option<(Instant, Over)> {
        let mut state = self.lock();
        let stalled = state.socket.deadline(times.stalled).map(|deadline| (deadline, Over::Stalled));
        let held_back = state.streams.deadline(times.stalled).map(|deadline| (deadline, Over::HeldBack));
        if let Some(first) = stalled.into_iter().chain(held_back).min_by_key(|(deadline, _)| *deadline) {
            return Some(first);
        }
        if state.under_way > 0 {
            return None;
        }
        if !state.began {
            return Some((state.since + times.head, Over::Head));
        }
        match state.head_began {
            Some(began) if !state.multiplexed => Some((began + times.head, Over::Head)),
            // The rest of a body that was not read is no rest between requests; hyper ends the
            // connection.
            _ if state.unread > 0 => None,
            _ => {
                state.wrote = false;
                Some((state.since + times.rest, Over::Rest))
            }
        }
    }

    /// Whether the client may still send something, and has been answered.
    fn lingers(&self, has_more: bool) -> bool {
        let state = self.lock();
        state.wrote && (has_more || state.unread > 0)
    }
}

/// The body of a request, as far as it is known whether it was read.
#[derive(Debug)]
pub(super) struct Unread(Option<Arc<Activity>>);

impl Unread {
    fn ended(&mut self) {
        if let Some(activity) = self.0.take() {
            let mut state = activity.lock();
            state.unread = state.unread.saturating_sub(1);
        }
    }
}

/// An answer that is not complete.
#[derive(Debug)]
pub(super) struct UnderWay {
    activity: Arc<Activity>,
    /// The number of its stream, over HTTP/2.
    stream: Option<u64>,
    /// What counts for its client meanwhile, where several share the connection.
    permit: Option<Permit>,
}

impl UnderWay {
    /// Counts for its client until it is complete.
    pub(super) fn keep(&mut self, permit: Option<Permit>) {
        self.permit = permit;
    }

    /// The answer is there.
    fn answered(&self) {
        if let Some(stream) = self.stream {
            self.activity.lock().streams.hold_back(stream, Instant::now());
        }
    }

    /// HTTP/2 has asked for more of the answer, as it does only when the client lets that come.
    fn asked(&self, stream: u64, gives: bool) {
        let streams = &mut self.activity.lock().streams;
        if gives { streams.moved(stream, Instant::now()) } else { streams.caught_up(stream) }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        if let Some(stream) = self.stream {
            state.streams.caught_up(stream);
        }
        state.under_way = state.under_way.saturating_sub(1);
        state.since = Instant::now();
    }
}

/// A request's body that says when it was read to its end. One that is dropped before never is: its rest
/// would be taken for the next request.
#[derive(Debug)]
pub(super) struct Asked<B> {
    pub(super) body: B,
    pub(super) unread: Unread,
}

impl<B: Body + Unpin> Body for Asked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // With an error the rest is still to come, or will never be.
        if frame.is_none() || (matches!(frame, Some(Ok(_))) && self.body.is_end_stream()) {
            self.unread.ended();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, which is under way until hyper has done with it.
#[derive(Debug)]
pub(super) struct Answered<B> {
    body: B,
    under_way: UnderWay,
    /// What it has given and HTTP/2 has not been given.
    rest: Bytes,
}

impl<B> Answered<B> {
    pub(super) fn new(body: B, under_way: UnderWay) -> Self {
        under_way.answered();
        Self { body, under_way, rest: Bytes::new() }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answered<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { body, under_way, rest } = self.get_mut();
        let Some(stream) = under_way.stream else { return Pin::new(body).poll_frame(cx) };
        let mut polled = if rest.is_empty() {
            Pin::new(body).poll_frame(cx)
        } else {
            Poll::Ready(Some(Ok(Frame::data(std::mem::take(rest)))))
        };
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(data) = frame.data_mut()
            && data.len() > PIECE_MAX_BYTES
        {
            *rest = data.split_off(PIECE_MAX_BYTES);
        }
        under_way.asked(stream, matches!(polled, Poll::Ready(Some(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, mut hint) = (self.rest.len() as u64, self.body.size_hint());
        let (lower, upper) = (hint.lower() + rest, hint.upper().map(|upper| upper + rest));
        if let Some(upper) = upper {
            hint.set_upper(upper);
        }
        hint.set_lower(lower);
        hint
    }
}

/// Tells when a connection has taken too long.
#[derive(Debug)]
pub(super) struct Watch {
    activity: Arc<Activity>,
    times: Times,
    sleep: Pin<Box<Sleep>>,
}

impl Watch {
    pub(super) fn new(activity: Arc<Activity>, times: Times) -> Self {
        Self { activity, times, sleep: Box::pin(sleep_until(Instant::now())) }
    }

    /// From now on the connection may rest, and take nothing, for so long.
    pub(super) fn ends_within(&mut self, rest: Duration) {
        self.times.rest = rest;
        self.times.stalled = self.times.stalled.min(rest);
        let (mut state, now) = (self.activity.lock(), Instant::now());
        state.since = now;
        state.streams.begin_anew(now);
    }

    /// To be polled whenever the connection was, and is not done. Then all that it has to write was offered
    /// to its socket, and what is found resting has nothing left to say.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        let Some((deadline, over)) = self.activity.deadline(&self.times) else { return Poll::Pending };
        if self.sleep.deadline() != deadline {
            self.sleep.as_mut().reset(deadline);
        }
        self.sleep.as_mut().poll(cx).map(|()| over)
    }
}

/// A socket that is watched; some of its bytes may have been read before.
#[derive(Debug)]
pub(super) struct Watched<S> {
    /// What was read, and is to be read again first.
    pub(super) before: Bytes,
    /// The socket.
    pub(super) socket: S,
    /// What becomes of hyper's refusal of a head that is too long.
    pub(super) long_head: LongHead,
    /// Whether the client is waited for at the end although all of its request was read.
    lingers: bool,
    activity: Arc<Activity>,
    linger: Option<Linger>,
}

/// What becomes of hyper's refusal of a head that is too long; see [`long_head`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LongHead {
    /// It is written as any answer is.
    PassedOn,
    /// It would be left unsaid, as would the end of the connection behind it.
    HeldBack,
    /// It was.
    Refused,
}

/// What is left of the time in which a client may go on sending after its answer.
#[derive(Debug)]
struct Linger {
    until: Pin<Box<Sleep>>,
    reads_left: usize,
}

impl<S> Watched<S> {
    pub(super) fn new(before: Bytes, socket: S, activity: Arc<Activity>) -> Self {
        Self { before, socket, long_head: LongHead::PassedOn, lingers: true, activity, linger: None }
    }

    /// The same for a connection of HTTP/1.1, whose long heads are refused in words of our own. `lingers`:
    /// whether its client is waited for at the end although all of its request was read.
    pub(super) fn http_1(before: Bytes, socket: S, activity: Arc<Activity>, lingers: bool) -> Self {
        Self { long_head: LongHead::HeldBack, lingers, ..Self::new(before, socket, activity) }
    }

    /// Whether hyper refuses a long head with these bytes, and that is left unsaid. The bytes of an
    /// answer to a request may look the same anywhere, since clients choose what is in them.
    fn holds_back(&mut self, bytes: &[u8]) -> bool {
        let holds = self.long_head == LongHead::HeldBack
            && long_head::is_refused(bytes)
            && self.activity.lock().flushed;
        if holds {
            self.long_head = LongHead::Refused;
        }
        holds
    }

    fn note_blocked(&self, written: &Poll<io::Result<usize>>) {
        let mut state = self.activity.lock();
        let taken = match written {
            Poll::Pending => None,
            Poll::Ready(written) => Some(written.as_ref().copied().unwrap_or_default()),
        };
        state.socket.offered(taken, Instant::now());
        state.wrote |= taken.is_some();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.before.is_empty() {
            let count = self.before.len().min(out.remaining());
            out.put_slice(&self.before[..count]);
            self.before.advance(count);
            return Poll::Ready(Ok(()));
        }
        let filled = out.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, out))?;
        if out.filled().len() > filled {
            let mut state = self.activity.lock();
            if state.under_way == 0 && state.head_began.is_none() {
                state.head_began = Some(Instant::now());
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.holds_back(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.note_blocked(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if parts.first().is_some_and(|part| self.holds_back(part)) {
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, parts);
        self.note_blocked(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        let mut state = self.activity.lock();
        if flushed.is_pending() {
            state.socket.offered(None, Instant::now());
        } else {
            state.socket.caught_up();
            // hyper flushes when it has written all that it was given.
            state.flushed |= state.under_way == 0 && matches!(flushed, Poll::Ready(Ok(())));
        }
        drop(state);
        flushed
    }

    /// Says that nothing more will be written. After an answer it then reads and forgets what the client
    /// still sends: a socket that is closed with bytes unread is reset, and a reset
    /// overtakes the answer, so that a client which sent too large a body would never hear so.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.long_head == LongHead::Refused {
            return Poll::Ready(Ok(()));
        }
        let linger = match &mut this.linger {
            Some(linger) => linger,
            None => {
                ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
                if !this.activity.lingers(this.lingers) {
                    return Poll::Ready(Ok(()));
                }
                let until = Box::pin(sleep_until(Instant::now() + LINGER_MAX));
                this.linger.insert(Linger { until, reads_left: LINGER_READS_MAX })
            }
        };
        let mut unread = [0; LINGER_READ_BYTES];
        while linger.reads_left > 0 && linger.until.as_mut().poll(cx).is_pending() {
            let mut unread = ReadBuf::new(&mut unread);
            match ready!(Pin::new(&mut this.socket).poll_read(cx, &mut unread)) {
                Ok(()) if !unread.filled().is_empty() => linger.reads_left -= 1,
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::{Future as _, poll_fn},
    };

    use http::{Request, Response, header};
    use hyper::{body::Incoming, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// A body of which each frame is flushed before the next is there.
    struct Frames {
        left: &'static [&'static str],
        ready: bool,
    }

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.ready = !self.ready;
            if self.ready {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let Some((first, left)) = self.left.split_first() else { return Poll::Ready(None) };
            self.left = left;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(first.as_bytes())))))
        }

        fn is_end_stream(&self) -> bool {
            self.left.is_empty()
        }
    }

    /// What a client gets for these requests, each answered by these frames, over a pipe that takes so many
    /// bytes at a time.
    async fn answered(requests: &str, frames: &'static [&'static str], pipe: usize) -> (String, LongHead) {
        let (client, server) = duplex(pipe);
        let activity = Activity::new();
        let mut io = Watched::new(Bytes::new(), server, Arc::clone(&activity));
        io.long_head = LongHead::HeldBack;
        let service = service_fn(move |request: Request<Incoming>| {
            let (_, under_way) = activity.begin(false, !request.body().is_end_stream());
            let length = frames.iter().map(|frame| frame.len()).sum::<usize>();
            let body = Answered::new(Frames { left: frames, ready: false }, under_way);
            async move { Response::builder().header(header::CONTENT_LENGTH, length).body(body) }
        });
        let serving = tokio::spawn(async move {
            let mut connection =
                http1::Builder::new().max_buf_size(16 * 1024).serve_connection(TokioIo::new(io), service);
            let _ = poll_fn(|cx| Pin::new(&mut connection).poll(cx)).await;
            connection.into_parts().io.into_inner().long_head
        });
        let (mut reads, mut writes) = tokio::io::split(client);
        let mut seen = String::new();
        let (_, read) = tokio::join!(writes.write_all(requests.as_bytes()), reads.read_to_string(&mut seen));
        read.unwrap();
        (seen, serving.await.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_looks_like_a_refusal_is_written_whole() {
        const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        const LAST: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        const SAME: &str = "HTTP/1.1 431 HTTP/1.1 431 ";
        let all: [&'static [&'static str]; 3] =
            [&[SAME], &[SAME, SAME], &["HTTP/1.1 431 ", "x", "HTTP/1.1 431 "]];
        for frames in all {
            // With a pipe for one byte every byte begins a write once.
            for pipe in [1, 13, 100_000] {
                let (seen, long_head) = answered(&[GET, GET, LAST].concat(), frames, pipe).await;
                let bodies =
                    seen.split("\r\n\r\n").skip(1).map(|rest| rest.split("HTTP/1.1 200 ").next().unwrap());
                assert_eq!(bodies.collect::<Vec<_>>(), [&frames.concat(); 3], "{pipe}: {seen}");
                assert_eq!(long_head, LongHead::HeldBack);
            }
        }
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(20_000));
        for (before, answers) in [("", 0), (GET, 1)] {
            let (seen, long_head) = answered(&format!("{before}{long}"), &[SAME], 100_000).await;
            assert_eq!(
                (seen.matches("HTTP/1.1 200 ").count(), long_head),
                (answers, LongHead::Refused),
                "{seen}"
            );
            assert_eq!(seen.matches("HTTP/1.1 431 ").count(), 2 * answers, "{seen}");
        }
    }
}
