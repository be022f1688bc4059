//! Takes in what a handler left of a body, so that its answer arrives: a socket that is closed with something
//! unread in it throws away what was written to it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, extract::Request, middleware::Next, response::Response};
use bytes::Bytes;
use http::header;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// The most that is taken in and thrown away.
const DISCARD_MAX_BYTES: usize = 1 << 20;
/// How long that may take.
const DISCARD_WITHIN: Duration = Duration::from_secs(2);

/// Marks an answer that is written while its request's body is read: nothing of that is left over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadsOn;

/// Around all handlers.
pub(crate) async fn discard_rest(request: Request, next: Next) -> Response {
    // Who waits for leave to send a body has not sent any; who announces too much is not waited for.
    let waits = request.headers().contains_key(header::EXPECT);
    let too_much = request.body().size_hint().lower() > DISCARD_MAX_BYTES as u64;
    if request.body().is_end_stream() || waits || too_much {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let left = Shared(Arc::new(Mutex::new(body)));
    let response = next.run(Request::from_parts(parts, Body::new(left.clone()))).await;
    if response.extensions().get::<ReadsOn>().is_some() {
        return response;
    }
    // Whether it all came in time makes no difference to the answer.
    let _ = tokio::time::timeout(DISCARD_WITHIN, discard(left)).await;
    response
}

async fn discard(mut body: Shared) {
    let mut taken = 0;
    while let Some(Ok(frame)) = body.frame().await {
        taken += frame.data_ref().map_or(0, Bytes::len);
        if taken > DISCARD_MAX_BYTES {
            return;
        }
    }
}

/// A body that its handler and this layer hold, one after the other.
#[derive(Clone)]
struct Shared(Arc<Mutex<Body>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Body> {
        // A handler that panicked while it read leaves a body that can still be thrown away.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().size_hint()
    }
}
