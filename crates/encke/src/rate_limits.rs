//! How often a client may ask: token buckets by address and by user.
//!
//! An address is one of IPv4, or a /64 of IPv6, of which a client has as many addresses as it likes. This
//! machine itself is bounded in its failures alone: behind it there is a proxy, or nothing to be kept off.

mod token_buckets;

use std::net::{IpAddr, Ipv6Addr};

use encke_proto::{ErrorCode, Refusal, Time, UserId};

use self::token_buckets::TokenBuckets;
use crate::config::Limits;

/// All limits of rates. Shared by all threads.
#[derive(Debug)]
pub struct RateLimits {
    logins: Option<TokenBuckets<IpAddr>>,
    requests: Option<TokenBuckets<IpAddr>>,
    failures: Option<TokenBuckets<IpAddr>>,
    user_connects: Option<TokenBuckets<UserId>>,
    user_requests: Option<TokenBuckets<UserId>>,
    user_publishes: Option<TokenBuckets<UserId>>,
    user_publish_bytes: Option<TokenBuckets<UserId>>,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self::new(&Limits::default())
    }
}

impl RateLimits {
    /// With these rates, of which 0 stands for no limit.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        metrics::describe_counter!(
            "encke_rate_limited_total",
            "How often something was refused as `rate_limited`, by what has a limit."
        );
        metrics::describe_counter!(
            "encke_refused_credentials_total",
            "How many keys, tokens and session ids were refused that were none."
        );
        Self {
            logins: TokenBuckets::new(limits.address_logins_per_s, limits.burst_s),
            requests: TokenBuckets::new(limits.address_requests_per_s, limits.burst_s),
            failures: TokenBuckets::new(limits.address_failures_per_s, limits.burst_s),
            user_connects: TokenBuckets::new(limits.user_connects_per_s, limits.burst_s),
            user_requests: TokenBuckets::new(limits.user_requests_per_s, limits.burst_s),
            user_publishes: TokenBuckets::new(limits.user_publishes_per_s, limits.burst_s),
            user_publish_bytes: TokenBuckets::new(limits.user_publish_bytes_per_s, limits.burst_s),
        }
    }

    /// A login from an address.
    ///
    /// # Errors
    /// `rate_limited`, as of all that follow.
    pub fn login(&self, address: IpAddr, now: Time) -> Result<(), Refusal> {
        self.by_address(self.logins.as_ref(), address, "logins", now)
    }

    /// A request of a client that does not wait, from an address.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn request(&self, address: IpAddr, now: Time) -> Result<(), Refusal> {
        self.by_address(self.requests.as_ref(), address, "requests", now)
    }

    /// A key, a token or a session id from an address was none. What is good is looked at before: it is never
    /// refused for what others have tried.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn failure(&self, address: IpAddr, now: Time) -> Result<(), Refusal> {
        metrics::counter!("encke_refused_credentials_total").increment(1);
        let limited = take(self.failures.as_ref(), network(address), 1, "failures", now);
        if limited.is_err() {
            tracing::warn!(%address, "too many refused keys, tokens or session ids come from an address");
        }
        limited
    }

    /// A new session of a user.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn user_connect(&self, user: &UserId, now: Time) -> Result<(), Refusal> {
        self.by_user(self.user_connects.as_ref(), user, 1, "connects", now)
    }

    /// A control request of a user.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn user_request(&self, user: &UserId, now: Time) -> Result<(), Refusal> {
        self.by_user(self.user_requests.as_ref(), user, 1, "user_requests", now)
    }

    /// A message that a user publishes, with so many bytes.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn user_publish(&self, user: &UserId, bytes: usize, now: Time) -> Result<(), Refusal> {
        self.by_user(self.user_publishes.as_ref(), user, 1, "publishes", now)?;
        self.by_user(self.user_publish_bytes.as_ref(), user, bytes as u64, "publish_bytes", now)
    }

    fn by_address(
        &self,
        buckets: Option<&TokenBuckets<IpAddr>>,
        address: IpAddr,
        what: &'static str,
        now: Time,
    ) -> Result<(), Refusal> {
        if address.to_canonical().is_loopback() {
            return Ok(());
        }
        take(buckets, network(address), 1, what, now)
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

fn take<K: Eq + std::hash::Hash>(
    buckets: Option<&TokenBuckets<K>>,
    key: K,
    count: u64,
    what: &'static str,
    now: Time,
) -> Result<(), Refusal> {
    if buckets.is_none_or(|buckets| buckets.take(key, count, now.0)) {
        return Ok(());
    }
    metrics::counter!("encke_rate_limited_total", "limit" => what).increment(1);
    Err(Refusal::new(ErrorCode::RateLimited, format!("too many {}", what.replace('_', " "))))
}

/// What one client has of addresses.
fn network(address: IpAddr) -> IpAddr {
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
