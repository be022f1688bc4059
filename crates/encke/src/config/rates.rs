//! How often clients may ask.

use serde::Deserialize;

use super::setting::{self, number, settings};

/// The highest rate that can be said.
pub(super) const RATE_MAX: u64 = 1_000_000_000;

settings! {
    /// Rates by address (an IPv4 address, or a /64 of IPv6) and by user, each up to 1,000,000,000 a second; 0
    /// is no limit. Of this machine itself only failures are limited.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Limits {
        /// Connections from one address; those of `trusted_proxies` are not counted.
        address_connects_per_s: u64 = 1_000 => number(0, RATE_MAX).reloads();
        /// Logins from one address.
        address_logins_per_s: u64 = 50 => number(0, RATE_MAX).reloads();
        /// Requests of clients that do not wait (`/v1/…`), from one address.
        address_requests_per_s: u64 = 2_000 => number(0, RATE_MAX).reloads();
        /// Keys, tokens and session ids from one address that are none.
        address_failures_per_s: u64 = 100 => number(0, RATE_MAX).reloads();
        /// Messages that clients publish from one address.
        address_publishes_per_s: u64 = 2_000 => number(0, RATE_MAX).reloads();
        /// The bytes of these.
        address_publish_bytes_per_s: u64 = 20_971_520 => number(0, RATE_MAX).reloads();
        /// New sessions of one user.
        user_connects_per_s: u64 = 100 => number(0, RATE_MAX).reloads();
        /// Control requests of one user (subscribe, unsubscribe, ack, ticket, refresh).
        user_requests_per_s: u64 = 200 => number(0, RATE_MAX).reloads();
        /// Messages that one user publishes.
        user_publishes_per_s: u64 = 200 => number(0, RATE_MAX).reloads();
        /// The bytes of these.
        user_publish_bytes_per_s: u64 = 2_097_152 => number(0, RATE_MAX).reloads();
        /// For how long a client that asked nothing before may ask at once, at these rates.
        burst_s: u64 = 10 => number(1, 3_600).reloads();
    }
}

impl Default for Limits {
    fn default() -> Self {
        setting::at_defaults(Self::SETTINGS)
    }
}
