//! How often clients may ask.

use serde::Deserialize;

/// Rates by address (an IPv4 address, or a /64 of IPv6) and by user, each up to 1,000,000,000 a second; 0 is
/// no limit. Of this machine itself only failures are limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Logins from one address, a second. Default 50.
    pub address_logins_per_s: u64,
    /// Requests of clients that do not wait (`/v1/…`), from one address, a second. Default 2,000.
    pub address_requests_per_s: u64,
    /// Keys, tokens and session ids from one address that are none, a second. Default 100.
    pub address_failures_per_s: u64,
    /// New sessions of one user, a second. Default 100.
    pub user_connects_per_s: u64,
    /// Control requests of one user (subscribe, unsubscribe, ack, ticket), a second. Default 200.
    pub user_requests_per_s: u64,
    /// Messages that one user publishes, a second. Default 200.
    pub user_publishes_per_s: u64,
    /// The bytes of these, a second. Default 2,097,152 (2 MiB).
    pub user_publish_bytes_per_s: u64,
    /// For how many seconds a client that asked nothing before may ask at once, 1 to 3,600. Default 10.
    pub burst_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            address_logins_per_s: 50,
            address_requests_per_s: 2_000,
            address_failures_per_s: 100,
            user_connects_per_s: 100,
            user_requests_per_s: 200,
            user_publishes_per_s: 200,
            user_publish_bytes_per_s: 2 << 20,
            burst_s: 10,
        }
    }
}

impl Limits {
    /// Every rate with its name.
    pub(crate) fn rates(&self) -> [(&'static str, u64); 7] {
        [
            ("limits.address_logins_per_s", self.address_logins_per_s),
            ("limits.address_requests_per_s", self.address_requests_per_s),
            ("limits.address_failures_per_s", self.address_failures_per_s),
            ("limits.user_connects_per_s", self.user_connects_per_s),
            ("limits.user_requests_per_s", self.user_requests_per_s),
            ("limits.user_publishes_per_s", self.user_publishes_per_s),
            ("limits.user_publish_bytes_per_s", self.user_publish_bytes_per_s),
        ]
    }
}
