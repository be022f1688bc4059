//! Requests that wait on a connection that has to stay with hyper: the table writes the answer,
//! hyper sends it.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::IntoResponse};
use bytes::{Bytes, BytesMut};
use encke_proto::ErrorCode;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
};

use crate::{
    admission::{Admit, Endpoints, Verdict},
    clock::Clock,
    connection::{Given, Permit},
    http::{readable, refusal::Refused},
    shards::{
        Arrival, BodySink, BodySinkId, HyperBody, Mailbox, ShardCommand, Shards, Sink, SinkHome, body_sink,
        deliver,
    },
};

/// How much of what a client says is read at a time.
const READ_BYTES: usize = 4 * 1024;
/// How long a client may take to hang up after the last that was said to it.
const HANG_UP_MAX: Duration = Duration::from_secs(2);

/// Holds requests whose connection hyper keeps. Cheap to clone.
#[derive(Clone)]
pub struct HyperBridge {
    admit: Admit,
    pub(super) endpoints: Arc<Endpoints>,
    shards: Shards,
    pub(super) clock: Arc<dyn Clock>,
}

impl HyperBridge {
    /// Holds what the endpoints let wait.
    #[must_use]
    pub fn new(admit: Admit, endpoints: Arc<Endpoints>, shards: Shards, clock: Arc<dyn Clock>) -> Self {
        Self { admit, endpoints, shards, clock }
    }

    /// Lets the page of a request read its answer, if its origin is allowed: what the table has not written
    /// is not open yet.
    #[must_use]
    pub fn open(&self, origin: Option<HeaderValue>, mut response: Response<Body>) -> Response<Body> {
        let allowed = origin.filter(|origin| self.admit.readable_by(origin.to_str().ok()).is_some());
        if let Some(origin) = allowed {
            readable::open(response.headers_mut(), origin);
        }
        response
    }

    /// Holds a request.
    pub async fn hold(&self, verdict: Verdict, given: Arc<Given>) -> Response<Body> {
        let verdict = settled(verdict).await;
        let home = home(&self.shards, &verdict);
        let (body_sink, head, body) = body_sink(self.shards.body_sink_id(), home.clone(), Some(given));
        match answer(home, body_sink, verdict, head).await {
            Ok(response) => response.map(|()| Body::new(body)),
            Err(refused) => refused.into_response(),
        }
    }

    /// Changes the protocol, and carries what is said then. `permit` is kept as long as anything is.
    pub async fn duplex(
        &self,
        verdict: Verdict,
        given: Arc<Given>,
        upgrade: OnUpgrade,
        permit: Arc<Permit>,
    ) -> Response<Body> {
        let verdict = settled(verdict).await;
        let first = home(&self.shards, &verdict);
        let (mut body_sink, head, body) = body_sink(self.shards.body_sink_id(), first.clone(), Some(given));
        let (id, home, inbound) = (body_sink.id, body_sink.home(), body_sink.listen());
        match answer(first, body_sink, verdict, head).await {
            Ok(mut response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
                tokio::spawn(async move {
                    // Without the change, dropping the body tells the shard that the client has gone.
                    if let Ok(upgraded) = upgrade.await {
                        carry(TokioIo::new(upgraded), Said { id, home, inbound }, body).await;
                    }
                    drop(permit);
                });
                response.map(|()| Body::empty())
            }
            Ok(response) => response.map(|()| Body::new(body)),
            Err(refused) => refused.into_response(),
        }
    }
}

/// Where what a client says is put in.
struct Said {
    id: BodySinkId,
    home: SinkHome,
    inbound: mpsc::Sender<Bytes>,
}

/// Carries bytes between a connection and the table until either is done with the other.
async fn carry(io: impl AsyncRead + AsyncWrite, said: Said, mut body: HyperBody) {
    let (mut reads, mut writes) = tokio::io::split(io);
    let listen = async {
        let Said { id, home, inbound } = said;
        loop {
            let mut bytes = BytesMut::with_capacity(READ_BYTES);
            if !matches!(reads.read_buf(&mut bytes).await, Ok(count) if count > 0) {
                break;
            }
            // After the table has said its last, it is taken in and forgotten: closing a socket with
            // something unread in it would take back what was said.
            if inbound.send(bytes.freeze()).await.is_ok() {
                deliver(&home.mailbox(), ShardCommand::Received(id)).await;
            }
        }
        drop(inbound);
        deliver(&home.mailbox(), ShardCommand::Received(id)).await;
    };
    let say = async {
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(bytes) = frame.into_data()
                && (writes.write_all(&bytes).await.is_err() || writes.flush().await.is_err())
            {
                return;
            }
        }
        // Should the client be gone, it need not be told that this was all.
        let _ = writes.shutdown().await;
    };
    tokio::pin!(listen, say);
    // Whichever side ends first, the other has a moment to do so too.
    tokio::select! {
        () = &mut say => drop(tokio::time::timeout(HANG_UP_MAX, listen).await),
        () = &mut listen => drop(tokio::time::timeout(HANG_UP_MAX, say).await),
    }
}

fn home<'a>(shards: &'a Shards, verdict: &Verdict) -> &'a Mailbox<ShardCommand> {
    match verdict {
        Verdict::Admitted(admission) => shards.home(&admission.user),
        _ => shards.any(),
    }
}

/// What comes of a verdict that takes a while.
async fn settled(mut verdict: Verdict) -> Verdict {
    while let Verdict::Later(later) = verdict {
        verdict = later.0.await;
    }
    verdict
}

/// The head of the table's answer.
async fn answer(
    home: &Mailbox<ShardCommand>,
    body_sink: BodySink,
    verdict: Verdict,
    head: oneshot::Receiver<Response<()>>,
) -> Result<Response<()>, Refused> {
    let arrival =
        Arrival { sink: Sink::Body(Box::new(body_sink)), inbound: Vec::new(), verdict, unsent: None };
    home.post(ShardCommand::Arrived(Box::new(arrival)))
        .map_err(|_| Refused::new(ErrorCode::Overloaded, "too many requests at a time"))?;
    // The table may let go of it without a word, as it does with who takes nothing.
    head.await.map_err(|_| Refused::new(ErrorCode::ShuttingDown, "the server stops"))
}
