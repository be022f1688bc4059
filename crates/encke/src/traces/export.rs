//! Sends spans to the collector, a batch at a time. While it is not there a batch is tried again, what comes
//! meanwhile waits, and what finds no room is dropped by the tracer.

use std::time::Duration;

use reqwest::{
    Client, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
    redirect,
};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use super::{
    Span,
    otlp::{self, Resource},
};
use crate::{config::Traces, metrics::Metrics};

/// The most spans of a request.
const BATCH_MAX: usize = 512;
/// How long spans are gathered for a request.
const GATHER: Duration = Duration::from_secs(1);
/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a batch is tried, and how long after a failure at first; the time doubles with each.
const TRIES_MAX: u32 = 5;
const RETRY: Duration = Duration::from_secs(1);
/// How long spans are still sent when the server has stopped serving.
const LAST: Duration = Duration::from_secs(2);

/// There can be no client for the collector.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ExportError(#[from] reqwest::Error);

/// Why a batch was not taken.
enum Refused {
    /// It may be taken later.
    Later(String),
    /// It is never taken.
    ForGood(String),
}

/// The way to the collector.
#[derive(Debug)]
pub struct Exporter {
    client: Client,
    endpoint: String,
    resource: Resource,
    spans: mpsc::Receiver<Span>,
    stopping: watch::Receiver<bool>,
}

impl Exporter {
    pub(super) fn new(
        endpoint: &str,
        config: &Traces,
        node: &str,
        spans: mpsc::Receiver<Span>,
        stopping: watch::Receiver<bool>,
    ) -> Result<Self, ExportError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(config.header_fields().flatten().map(|(name, value)| (Some(name), value)));
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .user_agent(concat!("encke/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .build()?;
        let resource = Resource { service: config.service.clone(), node: node.to_owned() };
        Ok(Self { client, endpoint: endpoint.to_owned(), resource, spans, stopping })
    }

    /// Sends what is recorded, until [`Tracer::stop`](super::Tracer::stop).
    pub async fn run(mut self) {
        let mut stopping = self.stopping.clone();
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                count = self.spans.recv_many(&mut batch, BATCH_MAX) => if count == 0 { return },
                _ = stopping.wait_for(|stops| *stops) => break,
            }
            tokio::select! {
                () = self.gather(&mut batch) => {}
                _ = stopping.wait_for(|stops| *stops) => break,
            }
            tokio::select! {
                () = self.deliver(&batch) => batch.clear(),
                _ = stopping.wait_for(|stops| *stops) => break,
            }
        }
        // What was recorded until now. The collector may have had the first of it already; it knows spans by
        // their ids.
        let last = async {
            loop {
                while batch.len() < BATCH_MAX && self.spans.try_recv().map(|span| batch.push(span)).is_ok() {}
                if batch.is_empty() {
                    return;
                }
                self.deliver(&batch).await;
                batch.clear();
            }
        };
        let _ = timeout(LAST, last).await;
    }

    /// Takes more spans, until there are enough or they were waited for long enough.
    async fn gather(&mut self, batch: &mut Vec<Span>) {
        let more = async {
            while batch.len() < BATCH_MAX {
                if self.spans.recv_many(batch, BATCH_MAX - batch.len()).await == 0 {
                    return;
                }
            }
        };
        let _ = timeout(GATHER, more).await;
    }

    /// Sends a batch, and again if it may be taken later.
    async fn deliver(&self, batch: &[Span]) {
        let body = otlp::export(&self.resource, batch);
        let mut wait = RETRY;
        for tries_left in (0..TRIES_MAX).rev() {
            let why = match self.send(body.clone()).await {
                Ok(()) => {
                    Metrics::global().trace_spans.of("exported").inc_by(batch.len() as u64);
                    return;
                }
                Err(Refused::Later(_)) if tries_left > 0 => {
                    sleep(wait).await;
                    wait *= 2;
                    continue;
                }
                Err(Refused::Later(why) | Refused::ForGood(why)) => why,
            };
            tracing::warn!(spans = batch.len(), %why, "the collector of traces has not taken spans");
            Metrics::global().trace_spans.of("failed").inc_by(batch.len() as u64);
            return;
        }
    }

    async fn send(&self, body: Vec<u8>) -> Result<(), Refused> {
        let sent = self.client.post(&self.endpoint).body(body).send().await;
        // The address may have a key in it.
        let answer = sent.map_err(|error| Refused::Later(error.without_url().to_string()))?;
        let status = answer.status();
        let told = || format!("the status {}", status.as_u16());
        match status {
            _ if status.is_success() => Ok(()),
            // Those that the specification of OTLP/HTTP lets come again.
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Refused::Later(told())),
            _ => Err(Refused::ForGood(told())),
        }
    }
}
