//! A response that the table writes and hyper sends: both ends of it.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use axum::body::HttpBody;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use tokio::sync::oneshot;

use super::{
    Mailbox, ShardCommand,
    ahead::{Ahead, Closed, Taken},
};
use crate::connection::{Given, Sent};

/// The number of a body sink; one server never gives two alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BodySinkId(pub u64);

/// The table's end of a response that hyper sends.
#[derive(Debug)]
pub struct BodySink {
    /// Which it is.
    pub id: BodySinkId,
    head: Option<oneshot::Sender<Response<()>>>,
    /// How many bytes of the body were given to hyper, and what it has taken of them. None where it cannot be
    /// known what becomes of it.
    given: Option<(u64, Arc<Given>)>,
    ahead: Arc<Ahead>,
    home: SinkHome,
}

/// The shard that a response is of, which changes when its client names a user who lives elsewhere.
#[derive(Clone, Debug)]
pub struct SinkHome(Arc<Mutex<Mailbox<ShardCommand>>>);

impl SinkHome {
    /// The way into that shard.
    #[must_use]
    pub fn mailbox(&self) -> Mailbox<ShardCommand> {
        // Nothing stops halfway here, so that it is whole even after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// hyper's end. Dropping it tells the table that the receiver is gone.
#[derive(Debug)]
pub struct HyperBody {
    id: BodySinkId,
    home: SinkHome,
    ahead: Arc<Ahead>,
    given: Option<Arc<Given>>,
    /// How many bytes hyper has taken.
    taken: u64,
    /// The last byte of what it took last, which it is still to take.
    last: Bytes,
}

/// Both ends of a response that hyper sends and the shard behind `home` writes. The head comes first, by
/// itself. Without `given`, it is not asked whether the client's side has it, and no receipt is given for it.
#[must_use]
pub fn body_sink(
    id: BodySinkId,
    home: Mailbox<ShardCommand>,
    given: Option<Arc<Given>>,
) -> (BodySink, oneshot::Receiver<Response<()>>, HyperBody) {
    let (head, head_comes) = oneshot::channel();
    let ahead = Arc::new(Ahead::default());
    let counted = given.clone().map(|given| (0, given));
    let home = SinkHome(Arc::new(Mutex::new(home)));
    let body_sink =
        BodySink { id, head: Some(head), given: counted, ahead: Arc::clone(&ahead), home: home.clone() };
    (body_sink, head_comes, HyperBody { id, home, ahead, given, taken: 0, last: Bytes::new() })
}

impl BodySink {
    /// The shard that it is of.
    #[must_use]
    pub fn home(&self) -> SinkHome {
        self.home.clone()
    }

    /// From now on it is of this shard, which then looks for what was said of it to the former one.
    pub fn move_to(&self, home: &Mailbox<ShardCommand>) {
        *self.home.0.lock().unwrap_or_else(PoisonError::into_inner) = home.clone();
    }

    /// Everything that was given to hyper so far, to be asked after.
    #[must_use]
    pub fn sent(&self) -> Option<Sent> {
        let (count, given) = self.given.as_ref()?;
        Some(Sent::new(given, *count))
    }

    /// Whether its receiver is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.ahead.is_closed()
    }

    /// Gives hyper bytes, the head by itself; how many it has room for.
    ///
    /// # Errors
    /// When the receiver is gone.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut head_bytes = 0;
        if let Some(head) = self.head.take() {
            let (response, length) = read_head(bytes).ok_or(io::ErrorKind::InvalidData)?;
            head.send(response).map_err(|_| io::ErrorKind::BrokenPipe)?;
            head_bytes = length;
        }
        let taken = self.ahead.put(&bytes[head_bytes..]).map_err(|Closed| io::ErrorKind::BrokenPipe)?;
        if let Some((count, _)) = &mut self.given {
            *count += taken as u64;
        }
        Ok(head_bytes + taken)
    }
}

impl Drop for BodySink {
    fn drop(&mut self) {
        self.ahead.end();
    }
}

/// The head as a transport wrote it, in hyper's form. How the connection goes on is hyper's
/// business.
fn read_head(bytes: &[u8]) -> Option<(Response<()>, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes).ok()? else { return None };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.code?).ok()?;
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        if name != header::CONNECTION && name != header::TRANSFER_ENCODING {
            response.headers_mut().append(name, HeaderValue::from_bytes(field.value).ok()?);
        }
    }
    Some((response, length))
}

impl HttpBody for HyperBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if !self.last.is_empty() {
            self.taken += self.last.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.last)))));
        }
        if let Some(given) = &self.given {
            given.asks(self.taken);
        }
        let Some(Taken { mut bytes, wanted }) = ready!(self.ahead.poll_take(cx)) else {
            return Poll::Ready(None);
        };
        if wanted {
            self.home.mailbox().post_or_miss(ShardCommand::Drained(self.id));
        }
        if let Some(given) = &self.given
            && given.is_shared()
            && bytes.len() > 1
        {
            // hyper waits for the peer to take a byte more of the response before it goes on, but not
            // for as many as it goes on with (hyper's `PipeToSendStream`). So when it asks for what
            // comes behind a byte, that has a place among those that go out, and so has everything before it.
            let rest = bytes.len() - 1;
            self.last = bytes.split_off(rest);
        }
        self.taken += bytes.len() as u64;
        if let Some(given) = &self.given {
            given.takes(self.taken);
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl Drop for HyperBody {
    fn drop(&mut self) {
        // Should the command be missed, the next heartbeat finds out.
        // Closed before it is said, so that a shard which it moves to meanwhile sees it.
        self.ahead.close();
        self.home.mailbox().post_or_miss(ShardCommand::Gone(self.id));
    }
}
