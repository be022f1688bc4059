//! A certificate by ACME (RFC 8555, ADR 0025): ordered when there is none that is good for all names, renewed
//! in time, kept on the disk. The server does not wait for it: what needs it is refused until it is there.

mod attempts;
mod cache;
mod certificate_id;
mod challenge_certificate;
mod challenges;
mod directory_client;
mod issued;
mod order;
mod renewal;
mod resolver;
mod route;

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::Router;
use rustls::{
    crypto::{CryptoProvider, aws_lc_rs},
    server::ResolvesServerCert,
    sign::CertifiedKey,
};
use tokio::{sync::watch, time::sleep};

use self::{
    attempts::{Attempts, Failure},
    cache::{Cache, Lock},
    challenges::Challenges,
    order::{Issued, OrderError, Orders, blocking},
    renewal::{Window, due_s},
    resolver::Resolver,
    route::Answers,
};
use super::{certificates::Certificates, validity::Validity};
use crate::{clock::Clock, config::Config, metrics::Metrics, random};

pub use route::CHALLENGE_PATH;

/// The longest time without a look at the clock and at the certificate, which another node may have renewed.
const LOOK_MAX: Duration = Duration::from_secs(30);
/// How long it is waited for another process that makes an order.
const LOCKED: Duration = Duration::from_secs(5);
/// How long what a directory suggests holds at least and at most, in seconds, whatever it says.
const WINDOW_MIN_S: u64 = 300;
const WINDOW_MAX_S: u64 = 86_400;
/// How long until it is asked again when it said nothing, in seconds.
const WINDOW_AGAIN_S: u64 = 6 * 3600;

/// The file of the certificate that is got, if one is to be.
pub(super) fn certificate_path(config: &Config) -> Option<PathBuf> {
    let is_wanted = !config.tls_acme.is_empty();
    is_wanted.then(|| Cache::new(&config.data, &config.tls_acme_directory).certificate_path())
}

/// What gets a certificate by ACME. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Acme {
    orders: Orders,
    certificates: Arc<Certificates>,
}

/// The names in one order, so that nodes whose lists differ in it alone take the same certificate.
fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    names
}

impl Acme {
    /// As the configuration says, if it asks for one.
    pub(super) fn of(config: &Config, certificates: &Arc<Certificates>) -> Option<Self> {
        if config.tls_acme.is_empty() {
            return None;
        }
        let provider =
            CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
        let orders = Orders {
            names: sorted(&config.tls_acme).into(),
            contact: config.tls_acme_contact.clone(),
            directory: config.tls_acme_directory.clone(),
            root: config.tls_acme_root.clone(),
            cache: Cache::new(&config.data, &config.tls_acme_directory),
            challenges: Challenges::default(),
            provider,
        };
        Some(Self { orders, certificates: Arc::clone(certificates) })
    }

    /// Which certificate a client is shown.
    pub(super) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        let (certificates, challenges) = (Arc::clone(&self.certificates), self.orders.challenges.clone());
        Arc::new(Resolver { certificates, challenges })
    }

    /// Lets a router answer directories before anything else.
    pub fn answer_first(&self, routes: Router) -> Router {
        route::answer_first(routes, Answers::new(self.orders.challenges.clone(), self.orders.cache.clone()))
    }

    /// Orders and renews until the server stops.
    pub async fn run(self, clock: Arc<dyn Clock>, mut stopping: watch::Receiver<bool>) {
        tracing::info!(
            names = ?self.orders.names,
            directory = self.orders.directory,
            "a certificate is got by ACME; with `tls_acme` the operator agrees to the directory's terms"
        );
        let mut keeper = Keeper::new(self, clock);
        let keeps = async {
            loop {
                sleep(keeper.step().await.min(LOOK_MAX)).await;
            }
        };
        tokio::select! {
            () = keeps => {}
            // The sender is gone only when the server is.
            _ = stopping.wait_for(|stops| *stops) => {}
        }
    }
}

/// Keeps the certificate good: the state between two looks.
struct Keeper {
    acme: Acme,
    clock: Arc<dyn Clock>,
    attempts: Attempts,
    /// What was issued and cannot be written.
    unwritten: Option<Issued>,
    /// What the directory suggests for the certificate with these bytes, and until when it is not asked
    /// again.
    window: Option<(Vec<u8>, Option<Window>, i64)>,
    /// Where in the window the renewal is, from 0 to 1.
    place: f64,
}

impl Keeper {
    fn new(acme: Acme, clock: Arc<dyn Clock>) -> Self {
        let attempts = Attempts::default().of(&acme.orders.names);
        Self { acme, clock, attempts, unwritten: None, window: None, place: fraction() }
    }

    /// Does what is due. How long there is nothing more to do.
    async fn step(&mut self) -> Duration {
        self.write_issued().await;
        self.look().await;
        self.ask_window().await;
        let wait_s = (self.due_s() - self.now_s()).max(self.attempts.wait_s(self.now_s()));
        if wait_s > 0 {
            return Duration::from_secs(wait_s.unsigned_abs());
        }
        let cache = self.acme.orders.cache.clone();
        match blocking(move || cache.lock()).await.and_then(|locked| locked) {
            Ok(Some(lock)) => self.order(lock).await,
            Ok(None) => return LOCKED,
            Err(error) => self.fail(&self.unkept(&error), None).await,
        }
        Duration::ZERO
    }

    fn now_s(&self) -> i64 {
        i64::try_from(self.clock.now().wall.0 / 1000).unwrap_or(i64::MAX)
    }

    /// Sees what is on the disk: another node may share it.
    async fn look(&mut self) {
        self.acme.certificates.look(self.now_s()).await;
        let cache = self.acme.orders.cache.clone();
        if let Ok(kept) = blocking(move || cache.attempts()).await {
            let kept = kept.of(&self.acme.orders.names);
            self.attempts = self.attempts.clone().or_later(kept);
        }
        let missing = i64::try_from(self.missing().len()).unwrap_or(i64::MAX);
        Metrics::global().tls_acme_names_missing.set(missing);
    }

    fn shown(&self) -> Option<(Arc<CertifiedKey>, Validity)> {
        let certified = self.acme.certificates.by_acme()?;
        let validity = Validity::of(certified.end_entity_cert().ok()?)?;
        Some((certified, validity))
    }

    /// The names without a certificate that is valid now.
    fn missing(&self) -> Vec<&str> {
        let now_s = self.now_s();
        let shown = self.shown().filter(|(_, validity)| now_s <= validity.not_after_s);
        let is_missing =
            |name: &&str| !shown.as_ref().is_some_and(|(certified, _)| issued::covers(certified, name));
        self.acme.orders.names.iter().map(String::as_str).filter(is_missing).collect()
    }

    /// When an order is due, in seconds since 1970.
    fn due_s(&self) -> i64 {
        match self.shown() {
            Some((_, validity)) if self.missing().is_empty() => {
                let window = self.window.as_ref().and_then(|(_, window, _)| *window);
                due_s(validity, window, self.place, self.attempts.issued_s)
            }
            _ => 0,
        }
    }

    /// Asks the directory when to renew the certificate, if it has not said so or that holds no more.
    async fn ask_window(&mut self) {
        let Some((certified, _)) = self.shown() else { return };
        let Ok(certificate) = certified.end_entity_cert() else { return };
        let now_s = self.now_s();
        let known = self.window.take().filter(|(of, ..)| of[..] == certificate[..]);
        if let Some((_, _, until_s)) = &known
            && now_s < *until_s
        {
            self.window = known;
            return;
        }
        let said = match self.acme.orders.client().await {
            Ok(client) => self.acme.orders.window(&client, certificate).await,
            Err(_) => None,
        };
        let holds_s = said.as_ref().map_or(WINDOW_AGAIN_S, |(_, holds)| holds.as_secs());
        let until_s = now_s.saturating_add_unsigned(holds_s.clamp(WINDOW_MIN_S, WINDOW_MAX_S));
        // What was said before is better than nothing.
        let window = said.map(|(window, _)| window).or_else(|| known.and_then(|(_, window, _)| window));
        self.window = Some((certificate.to_vec(), window, until_s));
    }

    /// Makes an order, unless another process has just made one.
    async fn order(&mut self, _lock: Lock) {
        self.look().await;
        if self.due_s() > self.now_s() || self.attempts.wait_s(self.now_s()) > 0 {
            return;
        }
        // What is kept now counts if this is the end of the process. What cannot be kept is not ordered: it
        // would be again, at each start.
        let mut begun = self.attempts.clone();
        begun.fail(Failure::Unreached, self.now_s(), None, fraction());
        if let Err(error) = self.keep(begun).await {
            return self.fail(&error, None).await;
        }
        let client = match self.acme.orders.client().await {
            Ok(client) => client,
            Err(error) => return self.fail(&error, None).await,
        };
        let replaced =
            self.shown().and_then(|(certified, _)| certified.end_entity_cert().ok().map(|der| der.to_vec()));
        match self.acme.orders.issue(&client, self.attempts.kind, replaced.as_deref()).await {
            Ok(issued) => {
                self.unwritten = Some(issued);
                self.write_issued().await;
            }
            Err(error) => self.fail(&error, client.retry_s()).await,
        }
    }

    /// Writes what was issued, if there is something, and shows it.
    async fn write_issued(&mut self) {
        let Some(issued) = self.unwritten.take() else { return };
        let (cache, kind) = (self.acme.orders.cache.clone(), issued.kind);
        let written = blocking(move || (cache.write_certificate(&issued.pem), issued)).await;
        let written = match written {
            Ok((Ok(()), _)) => Ok(()),
            Ok((Err(error), issued)) => {
                self.unwritten = Some(issued);
                Err(error)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            return self.fail(&self.unkept(&error), None).await;
        }
        let mut attempts = self.attempts.clone();
        attempts.succeed(kind, self.now_s());
        self.attempts = attempts.clone();
        if let Err(error) = self.keep(attempts).await {
            tracing::warn!(%error, "a certificate was got, and not that it was");
        }
        self.look().await;
        Metrics::global().tls_acme_orders.of("issued").inc();
        let not_after_s = self.shown().map(|(_, validity)| validity.not_after_s);
        let (names, kind) = (&self.acme.orders.names, kind.name());
        tracing::info!(?names, kind, not_after_s, "a certificate was got by ACME");
    }

    /// Keeps on the disk when the next order may be made.
    async fn keep(&self, attempts: Attempts) -> Result<(), OrderError> {
        let cache = self.acme.orders.cache.clone();
        let written = blocking(move || cache.write_attempts(&attempts)).await.and_then(|written| written);
        written.map_err(|error| self.unkept(&error))
    }

    /// An order was not fulfilled: the next one comes later.
    async fn fail(&mut self, error: &OrderError, retry_s: Option<i64>) {
        let now_s = self.now_s();
        self.attempts.fail(error.failure(), now_s, retry_s, fraction());
        // If that cannot be kept, nothing will be ordered.
        let _ = self.keep(self.attempts.clone()).await;
        Metrics::global().tls_acme_orders.of(error.outcome()).inc();
        let (missing, again_s) = (self.missing(), self.attempts.wait_s(self.now_s()));
        if missing.is_empty() {
            tracing::warn!(%error, again_s, "the certificate could not be renewed by ACME");
        } else {
            let what = "there is no certificate by ACME: handshakes are refused";
            tracing::error!(%error, again_s, ?missing, "{what}");
        }
    }

    fn unkept(&self, error: &std::io::Error) -> OrderError {
        OrderError::unkept(&self.acme.orders.cache, error)
    }
}

/// From 0 to 1, by chance.
fn fraction() -> f64 {
    // Without randomness servers only come at the same time.
    random::bits().map_or(0.5, |bits| (bits >> 75) as f64 / (1_u64 << 53) as f64)
}
