//! How often a client may ask: token buckets by address, by user, by key of the server API and by channel.
//!
//! An address is one of IPv4, or a /64 of IPv6, of which a client has as many addresses as it likes. This
//! machine itself is bounded in its failures alone: behind it there is a proxy, or nothing to be kept off.

mod token_buckets;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, PoisonError, RwLock},
};

use encke_proto::{ChannelName, ErrorCode, Refusal, Time, UserId};
use futures_util::future::BoxFuture;

use self::token_buckets::{Rate, TokenBuckets};
use crate::{
    config::{Config, Limits},
    metrics::Metrics,
    reload::{Change, Problem, Reload},
};

/// All limits of rates. Shared by all threads.
#[derive(Debug, Default)]
pub struct RateLimits(Arc<RwLock<Arc<Rates>>>);

/// The limits that hold now.
#[derive(Debug)]
struct Rates {
    connects: Option<TokenBuckets<IpAddr>>,
    logins: Option<TokenBuckets<IpAddr>>,
    requests: Option<TokenBuckets<IpAddr>>,
    failures: Option<TokenBuckets<IpAddr>>,
    publishes: Option<TokenBuckets<IpAddr>>,
    publish_bytes: Option<TokenBuckets<IpAddr>>,
    user_connects: Option<TokenBuckets<UserId>>,
    user_requests: Option<TokenBuckets<UserId>>,
    user_publishes: Option<TokenBuckets<UserId>>,
    user_publish_bytes: Option<TokenBuckets<UserId>>,
    /// Each key and each channel has the rate that the configuration gives it.
    api_keys: TokenBuckets<Box<str>>,
    channels: TokenBuckets<ChannelName>,
    burst_s: u64,
}

impl Default for Rates {
    fn default() -> Self {
        Self::after(&Limits::default(), None)
    }
}

impl Rates {
    /// These limits, with what clients have left of those before.
    fn after(limits: &Limits, before: Option<&Self>) -> Self {
        let of_its_own = Rate::new(0, limits.burst_s);
        macro_rules! next {
            ($buckets:ident, $per_s:ident) => {{
                let before = before.and_then(|before| before.$buckets.as_ref());
                TokenBuckets::after(before, limits.$per_s, limits.burst_s)
            }};
        }
        Self {
            connects: next!(connects, address_connects_per_s),
            logins: next!(logins, address_logins_per_s),
            requests: next!(requests, address_requests_per_s),
            failures: next!(failures, address_failures_per_s),
            publishes: next!(publishes, address_publishes_per_s),
            publish_bytes: next!(publish_bytes, address_publish_bytes_per_s),
            user_connects: next!(user_connects, user_connects_per_s),
            user_requests: next!(user_requests, user_requests_per_s),
            user_publishes: next!(user_publishes, user_publishes_per_s),
            user_publish_bytes: next!(user_publish_bytes, user_publish_bytes_per_s),
            api_keys: TokenBuckets::at(of_its_own, before.map(|before| &before.api_keys)),
            channels: TokenBuckets::at(of_its_own, before.map(|before| &before.channels)),
            burst_s: limits.burst_s,
        }
    }
}

impl RateLimits {
    /// With these rates, of which 0 stands for no limit.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(Rates::after(limits, None)))))
    }

    fn rates(&self) -> Arc<Rates> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What holds now, and a rate of so many a second with its burst.
    fn at(&self, per_s: u64) -> (Arc<Rates>, Rate) {
        let rates = self.rates();
        let rate = Rate::new(per_s, rates.burst_s);
        (rates, rate)
    }

    /// A connection from an address.
    ///
    /// # Errors
    /// `rate_limited`, as of all that follow.
    pub fn connect(&self, address: IpAddr, now: Time) -> Result<(), Refusal> {
        self.by_address(self.rates().connects.as_ref(), address, 1, "connections", now)
    }

    /// A login from an address.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn login(&self, address: IpAddr, now: Time) -> Result<(), Refusal> {
        self.by_address(self.rates().logins.as_ref(), address, 1, "logins", now)
    }

    /// A request of a client that does not wait, from an address.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn request(&self, address: IpAddr, now: Time) -> Result<(), Refusal> {
        self.by_address(self.rates().requests.as_ref(), address, 1, "requests", now)
    }

    /// A key, a token or a session id from an address was none. What is good is looked at before: it is never
    /// refused for what others have tried.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn failure(&self, address: IpAddr, now: Time) -> Result<(), Refusal> {
        Metrics::global().refused_credentials.inc();
        let limited = take(self.rates().failures.as_ref(), network(address), 1, "failures", now);
        if limited.is_err() {
            tracing::warn!(%address, "too many refused keys, tokens or session ids come from an address");
        }
        limited
    }

    /// A session that is named from an address is nowhere. That counts among the address's failures, but is
    /// no refused credential: clients that come to a node which does not know them name such sessions too.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn unknown_session(&self, address: IpAddr, now: Time) -> Result<(), Refusal> {
        Metrics::global().unknown_sessions.inc();
        let limited = take(self.rates().failures.as_ref(), network(address), 1, "failures", now);
        if limited.is_err() {
            tracing::warn!(
                %address,
                "too many sessions that are nowhere are named from an address; if it is a proxy, name it in \
                 `trusted_proxies`"
            );
        }
        limited
    }

    /// A new session of a user.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn user_connect(&self, user: &UserId, now: Time) -> Result<(), Refusal> {
        self.by_user(self.rates().user_connects.as_ref(), user, 1, "connects", now)
    }

    /// A control request of a user.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn user_request(&self, user: &UserId, now: Time) -> Result<(), Refusal> {
        self.by_user(self.rates().user_requests.as_ref(), user, 1, "user_requests", now)
    }

    /// A message that a user publishes, with so many bytes.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn user_publish(&self, user: &UserId, bytes: usize, now: Time) -> Result<(), Refusal> {
        self.by_user(self.rates().user_publishes.as_ref(), user, 1, "publishes", now)?;
        self.by_user(self.rates().user_publish_bytes.as_ref(), user, bytes as u64, "publish_bytes", now)
    }

    /// A message that a client publishes from an address.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn publish(&self, address: IpAddr, bytes: usize, now: Time) -> Result<(), Refusal> {
        self.by_address(self.rates().publishes.as_ref(), address, 1, "publishes", now)?;
        self.by_address(self.rates().publish_bytes.as_ref(), address, bytes as u64, "publish_bytes", now)
    }

    /// A message that a client publishes to a channel, of which the rules let so many a second come.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn channel_message(&self, channel: &ChannelName, per_s: u64, now: Time) -> Result<(), Refusal> {
        let (rates, rate) = self.at(per_s);
        told(rates.channels.take_at(channel.clone(), 1, rate, now.0), "channel_messages")
    }

    /// A request with a key of the server API, which may make so many a second.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn api_request(&self, key: &str, per_s: u64, now: Time) -> Result<(), Refusal> {
        let (rates, rate) = self.at(per_s);
        told(rates.api_keys.take_at(key.into(), 1, rate, now.0), "api_requests")
    }

    fn by_address(
        &self,
        buckets: Option<&TokenBuckets<IpAddr>>,
        address: IpAddr,
        count: u64,
        what: &'static str,
        now: Time,
    ) -> Result<(), Refusal> {
        if address.to_canonical().is_loopback() {
            return Ok(());
        }
        take(buckets, network(address), count, what, now)
    }

    fn by_user(
        &self,
        buckets: Option<&TokenBuckets<UserId>>,
        user: &UserId,
        count: u64,
        what: &'static str,
        now: Time,
    ) -> Result<(), Refusal> {
        if buckets.is_none() {
            return Ok(());
        }
        take(buckets, user.clone(), count, what, now)
    }
}

/// What was taken stays taken, so that a reload gives no burst to those who are at their limits.
impl Reload for RateLimits {
    fn keys(&self) -> &'static [&'static str] {
        &["limits"]
    }

    fn prepare(&self, config: Arc<Config>) -> BoxFuture<'static, Result<Change, Problem>> {
        let (rates, limits) = (Arc::clone(&self.0), config.limits);
        Box::pin(async move {
            Ok(Box::new(move || {
                let mut rates = rates.write().unwrap_or_else(PoisonError::into_inner);
                *rates = Arc::new(Rates::after(&limits, Some(&rates)));
            }) as Change)
        })
    }
}

fn take<K: Eq + std::hash::Hash>(
    buckets: Option<&TokenBuckets<K>>,
    key: K,
    count: u64,
    what: &'static str,
    now: Time,
) -> Result<(), Refusal> {
    told(buckets.is_none_or(|buckets| buckets.take(key, count, now.0)), what)
}

/// Whether there were enough tokens; if not, that is counted.
fn told(is_enough: bool, what: &'static str) -> Result<(), Refusal> {
    if is_enough {
        return Ok(());
    }
    Metrics::global().rate_limited.of(what).inc();
    Err(Refusal::new(ErrorCode::RateLimited, format!("too many {}", what.replace('_', " "))))
}

/// What one client has of addresses: one of IPv4, a /64 of IPv6.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> RateLimits {
        RateLimits::new(&Limits {
            address_logins_per_s: 1,
            address_failures_per_s: 1,
            user_publishes_per_s: 1,
            user_publish_bytes_per_s: 100,
            burst_s: 2,
            ..Limits::default()
        })
    }

    #[test]
    fn an_address_of_ipv6_is_its_network() {
        let limits = limits();
        let login = |address: &str| limits.login(address.parse().unwrap(), Time(0)).is_ok();
        assert!(login("2001:db8::1") && login("2001:db8::2") && !login("2001:db8::3"));
        assert!(login("2001:db8:0:1::1"), "the next /64 is another client");
        assert!(login("203.0.113.7") && login("::ffff:203.0.113.7") && !login("203.0.113.7"));
        assert!(login("203.0.113.8"));
        assert!((0..100).all(|_| login("127.0.0.1") && login("::1")), "this machine is not bounded");
    }

    #[test]
    fn keys_and_channels_have_the_rates_that_are_said() {
        let limits = limits();
        let api = |key: &str, per_s| limits.api_request(key, per_s, Time(0)).is_ok();
        assert!((0..4).all(|_| api("a", 2)) && !api("a", 2), "two seconds' worth");
        assert!(api("b", 1) && api("b", 1) && !api("b", 1));
        let channel =
            |name: &str| limits.channel_message(&ChannelName::public(name).unwrap(), 1, Time(0)).is_ok();
        assert!(channel("news") && channel("news") && !channel("news") && channel("sports"));
    }

    #[tokio::test]
    async fn a_reload_with_other_limits_gives_no_new_burst() {
        let limits = limits();
        let login = |now| limits.login([203, 0, 113, 7].into(), Time(now)).is_ok();
        let channel =
            |now| limits.channel_message(&ChannelName::public("news").unwrap(), 1, Time(now)).is_ok();
        assert!(login(0) && login(0) && !login(0));
        assert!(channel(0) && channel(0) && !channel(0));
        for address_logins_per_s in [2, 3] {
            let limits_then = Limits { address_logins_per_s, burst_s: 2, ..Limits::default() };
            let config = Arc::new(Config { limits: limits_then, ..Config::default() });
            limits.prepare(config).await.unwrap()();
            assert!(!login(0) && !channel(0));
        }
        assert!((0..3).all(|_| login(1_000)) && !login(1_000), "the new rate holds");
    }

    #[test]
    fn failures_are_bounded_from_this_machine_too() {
        let limits = limits();
        let fail = |now| limits.failure([127, 0, 0, 1].into(), Time(now));
        assert!(fail(0).is_ok() && fail(0).is_ok());
        assert_eq!(fail(0).unwrap_err().code, ErrorCode::RateLimited);
        assert!(fail(1_000).is_ok() && fail(1_000).is_err());
    }

    #[test]
    fn messages_and_their_bytes_have_limits_of_their_own() {
        let limits = limits();
        let publish = |user: &str, bytes, now| {
            limits.user_publish(&UserId::new(user).unwrap(), bytes, Time(now)).is_ok()
        };
        assert!(publish("alice", 1, 0) && publish("alice", 1, 0) && !publish("alice", 1, 0));
        assert!(publish("bob", 150, 0) && !publish("bob", 100, 0));
        assert!(publish("carol", 1 << 30, 0), "a message that is larger than the burst passes once");
        assert!(!publish("carol", 100, 500) && publish("carol", 100, 2_000));
    }
}
