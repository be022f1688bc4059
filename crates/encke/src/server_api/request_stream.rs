//! Requests that come one a line in a body of `application/x-ndjson`, and are answered one a line while that
//! is read, so that a backend needs one connection and is told of each.
//!
//! A group of lines that have come is carried out before the next one is read. So what comes meanwhile
//! gathers for the next group, and the engine commits each group as one; and no more is in memory than a
//! group and its results, since nothing is read until the client has taken what was answered.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use encke_proto::{ErrorCode, Refusal, TraceContext, json};
use futures_util::stream::unfold;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::{
    batch::{Part, Reason},
    what,
};
use crate::{
    app::App,
    auth::{AuditRecord, Credentials},
    config::Scope,
    http::{
        body,
        client_address::ClientAddress,
        discard::ReadsOn,
        lines::{LINE_MAX_BYTES, Line, Lines, Unfinished},
        refusal::Refused,
        response,
    },
    traces,
};

/// The type of a body with a request a line.
pub(crate) const NDJSON: &str = "application/x-ndjson";
/// How long nothing may come, not even an empty line, until the stream ends.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// How long lines are still answered that come when the server stops.
const REFUSES_FOR: Duration = Duration::from_millis(250);

/// Carries out a group of requests and gives the results in their order, each as JSON in one line.
pub(crate) type Run = fn(Arc<App>, Vec<Result<Bytes, Refused>>) -> Part<'static, Vec<String>>;

/// What became of one line.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum LineResult<T> {
    Accepted(T),
    Refused { error: Reason },
}

impl<T: Serialize> LineResult<T> {
    /// A result in one line.
    pub(crate) fn json(result: Result<T, Refused>) -> String {
        json::write(&match result {
            Ok(accepted) => Self::Accepted(accepted),
            Err(refused) => Self::Refused { error: refused.into() },
        })
    }
}

struct Stream {
    app: Arc<App>,
    lines: Lines,
    run: Run,
    /// The key that it was begun with, and what that has to allow for each group of lines.
    key: Option<HeaderValue>,
    scope: Scope,
    /// The parent that its request names, which holds for each line.
    parent: Option<TraceContext>,
    /// Where it comes from.
    from: Option<IpAddr>,
    /// It ends with the group that was answered last.
    is_over: bool,
    /// Until when lines are refused, once the server stops.
    refuses_until: Option<Instant>,
}

/// The answer to such a body: the result of each line in their order, as they come about. It ends with the
/// body and when the server stops. When the body breaks off, and when nothing of it comes for too long, the
/// answer breaks off as well: its client, which may be behind a proxy, must not take it for a whole one. What
/// has no result then may be sent again. When its key is taken out or ends, so does the answer, with a
/// refusal for each line that came since.
pub(crate) async fn answer(app: Arc<App>, request: Request, scope: Scope, run: Run) -> Response {
    let key = request.headers().get(header::AUTHORIZATION).cloned();
    let from = request.extensions().get::<ClientAddress>().map(|peer| peer.0);
    let parent = traces::current();
    let mut lines = Lines::new(request.into_body());
    lines.ask().await;
    let stream = Stream { app, lines, run, key, scope, parent, from, is_over: false, refuses_until: None };
    let results = unfold(Some(stream), |stream| async move {
        let mut stream = stream?;
        match stream.next().await {
            Ok(results) => Some((Ok(Bytes::from(results?)), Some(stream))),
            Err(unfinished) => {
                // The results before go out first.
                tokio::task::yield_now().await;
                Some((Err(unfinished), None))
            }
        }
    });
    let fields = [(header::CONTENT_TYPE.as_str(), response::NDJSON), ("x-accel-buffering", "no")];
    let mut response = (StatusCode::ACCEPTED, fields, Body::from_stream(results)).into_response();
    response.extensions_mut().insert(ReadsOn);
    response
}

impl Stream {
    /// The results of the next group of lines; none at the end.
    async fn next(&mut self) -> Result<Option<String>, Unfinished> {
        if self.is_over {
            return Ok(None);
        }
        let lines = match self.refuses_until {
            None => {
                let stopping = self.app.stopping.clone();
                tokio::select! {
                    biased;
                    () = stopping.begun() => self.refuse_next().await,
                    lines = self.lines.next(IDLE_MAX) => lines?,
                }
            }
            Some(_) => self.refuse_next().await,
        };
        if lines.is_empty() {
            return Ok(None);
        }
        let refused = self.refused();
        self.is_over = refused.is_some();
        let request = |line| match &refused {
            Some(refusal) => Err(Refused(refusal.clone())),
            None => self.request(line),
        };
        let requests = lines.into_iter().map(request).collect();
        let results = (self.run)(Arc::clone(&self.app), requests);
        let results = match self.parent {
            Some(parent) => traces::within(parent, results).await,
            None => results.await,
        };
        self.write_down(&results);
        let mut results = results.join("\n");
        results.push('\n');
        Ok(Some(results))
    }

    /// An audit line for each result, if there is to be one.
    fn write_down(&self, results: &[String]) {
        let audit = self.app.auth.audit();
        if !audit.has_messages() {
            return;
        }
        let key = self.key.as_ref().and_then(|key| key.to_str().ok());
        let credentials = Credentials { authorization: key, ..Credentials::default() };
        let name = credentials.bearer().and_then(|key| self.app.auth.api_keys().name_of(key));
        let who: Box<str> = name.unwrap_or_else(|| "-".into());
        let action = if self.scope == Scope::Push { "push" } else { "publish" };
        for result in results {
            let what = what::of_answer(result.as_bytes());
            let outcome = if what.is_empty() { "refused" } else { "ok" };
            let (who, from) = (who.clone(), self.from);
            audit.record(AuditRecord { who, action, what, outcome, from, left_out: 0 });
        }
    }

    /// Why the key does not allow it any more, if so.
    fn refused(&self) -> Option<Refusal> {
        let authorization = self.key.as_ref().and_then(|key| key.to_str().ok());
        let credentials = Credentials { authorization, changes: true, ..Credentials::default() };
        self.app.auth.operator(&credentials, self.scope, self.app.now().wall).err()
    }

    /// Lines that come while the server stops.
    async fn refuse_next(&mut self) -> Vec<Line> {
        let until = *self.refuses_until.get_or_insert_with(|| Instant::now() + REFUSES_FOR);
        match timeout_at(until, self.lines.next(IDLE_MAX)).await {
            Ok(Ok(lines)) => lines,
            _ => Vec::new(),
        }
    }

    fn request(&self, line: Line) -> Result<Bytes, Refused> {
        match line {
            _ if self.refuses_until.is_some() => Err(ErrorCode::ShuttingDown.into()),
            Line::Whole(line) => Ok(line),
            Line::TooLong => Err(body::too_large("a line", LINE_MAX_BYTES)),
        }
    }
}
