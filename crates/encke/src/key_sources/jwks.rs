//! The key set of an issuer (RFC 7517 section 5), fetched from an address that the configuration names and
//! no token can change.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use reqwest::{Client, redirect};
use tokio::{sync::watch, time::interval};

use crate::{
    auth::{Authenticator, JwksError, KeySet},
    clock::Clock,
};

/// How long a set is good before it is fetched again, in milliseconds.
const FRESH_MS: u64 = 300_000;
/// How soon after one attempt the next may follow: after a failure, or for a token with an unknown `kid`.
const AGAIN_MS: u64 = 30_000;
/// How often it is looked whether a fetch is due.
const LOOK: Duration = Duration::from_millis(250);
/// How long a fetch may take in all.
const FETCH: Duration = Duration::from_secs(5);
/// The largest set, in bytes.
const SET_MAX_BYTES: usize = 64 * 1024;

/// Why a set could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There was no answer in time, or a broken one.
    #[error("no answer: {0}")]
    Http(#[from] reqwest::Error),
    /// Another status than 200; a redirection is one.
    #[error("the answer has the status {0}")]
    Status(u16),
    /// Too large.
    #[error("the answer has more than {SET_MAX_BYTES} bytes")]
    TooLarge,
    /// It is no set of keys.
    #[error(transparent)]
    Set(#[from] JwksError),
}

/// Fetches the key set of an issuer.
pub struct Jwks {
    url: String,
    client: Client,
    auth: Arc<Authenticator>,
    clock: Arc<dyn Clock>,
    last: Last,
}

/// The last attempt.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    at_ms: Option<u64>,
    failed: bool,
}

impl Last {
    /// Whether it is time for the next; `wanted` says that a token named a key that is not there.
    fn is_over(self, wanted: bool, now_ms: u64) -> bool {
        let again = if wanted || self.failed { AGAIN_MS } else { FRESH_MS };
        self.at_ms.is_none_or(|at_ms| now_ms.saturating_sub(at_ms) >= again)
    }

    /// Whether a token with an unknown `kid` may bring about the next.
    fn is_old(self, now_ms: u64) -> bool {
        self.is_over(true, now_ms)
    }
}

impl Jwks {
    /// For this address. Nothing is fetched yet.
    ///
    /// # Errors
    /// When there can be no TLS.
    pub fn new(url: String, auth: Arc<Authenticator>, clock: Arc<dyn Clock>) -> Result<Self, FetchError> {
        // An answer that leads elsewhere would let its host choose where keys come from.
        let mut client = Client::builder().redirect(redirect::Policy::none()).timeout(FETCH);
        if url.starts_with("http:") {
            // It is on this machine, and a proxy could put other keys in the place of those there.
            client = client.no_proxy();
        }
        let client = client.build()?;
        Ok(Self { url, client, auth, clock, last: Last::default() })
    }

    /// Fetches the set now. When that fails, those that are there stay.
    pub async fn fetch(&mut self) {
        let began = Instant::now();
        let fetched = self.get().await;
        self.last = Last { at_ms: Some(self.clock.now().mono_ms), failed: fetched.is_err() };
        match fetched {
            Ok(keys) => {
                tracing::debug!(keys = keys.len(), took = ?began.elapsed(), "the key set was fetched");
                self.auth.keys().set_fetched(keys);
            }
            Err(error) => {
                tracing::warn!(url = self.url, %error, "the key set was not fetched; the former keys stay");
            }
        }
        self.auth.keys().fetched();
    }

    /// Fetches the set when it is old, and for a token that names a key that is not there, until the server
    /// stops.
    pub async fn watch(mut self, mut stopping: watch::Receiver<bool>) {
        let mut looks = interval(LOOK);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = self.auth.keys().wanted() => {}
                // The sender is gone only when the server is.
                _ = stopping.wait_for(|stops| *stops) => return,
            }
            let (keys, now_ms) = (self.auth.keys(), self.clock.now().mono_ms);
            if self.last.is_over(keys.are_wanted(), now_ms) {
                self.fetch().await;
            } else if self.last.is_old(now_ms) {
                keys.allow_fetch();
            }
        }
    }

    async fn get(&self) -> Result<KeySet, FetchError> {
        let answer = self.client.get(&self.url).header("accept", "application/json").send().await?;
        if answer.status().as_u16() != 200 {
            return Err(FetchError::Status(answer.status().as_u16()));
        }
        let mut body = Vec::new();
        let mut pieces = answer.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            if body.len() + piece.len() > SET_MAX_BYTES {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&piece);
        }
        Ok(KeySet::of_jwks(&body)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_kid_fetches_every_30_s_at_most_and_nothing_else_sooner_than_5_min() {
        let fresh = Last { at_ms: Some(1_000), failed: false };
        for (wanted, now_ms, due) in [
            (false, 300_999, false),
            (false, 301_000, true),
            (true, 1_000, false),
            (true, 30_999, false),
            (true, 31_000, true),
        ] {
            assert_eq!(fresh.is_over(wanted, now_ms), due, "{wanted} {now_ms}");
        }
        let failed = Last { failed: true, ..fresh };
        assert!(!failed.is_over(false, 30_999) && failed.is_over(false, 31_000));
        assert!(Last::default().is_over(false, 0));
    }
}
