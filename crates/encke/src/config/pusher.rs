//! `[[pusher_apps]]`: the applications of the dialect `pusher`, each with its key, its secret and what its
//! clients may.

use encke_proto::limits::BODY_MAX_BYTES;
use serde::{Deserialize, Serialize};

use super::Secret;
use super::setting::{number, secret, settings, switch, text, words};

/// What is told by webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookEvent {
    /// A channel has a subscriber, and had none on any node.
    ChannelOccupied,
    /// It has none any more.
    ChannelVacated,
    /// A user is in a presence channel, and was not.
    MemberAdded,
    /// The last connection of the user is gone.
    MemberRemoved,
    /// A client has sent an event.
    ClientEvent,
    /// A client has subscribed to a cache channel that holds no event.
    CacheMiss,
    /// The subscribers of a channel are others in number.
    SubscriptionCount,
}

/// The names of all of them.
const WEBHOOK_EVENTS: &[&str] = &[
    "channel_occupied",
    "channel_vacated",
    "member_added",
    "member_removed",
    "client_event",
    "cache_miss",
    "subscription_count",
];

settings! {
    /// An application of clients of Pusher.
    #[derive(Debug, Clone, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct PusherApp {
        /// Its id, in the addresses of the HTTP API and in the names of its logs: 1 to 64 ASCII letters,
        /// digits, `-`, `_`, and not that of another.
        id: String => text().unset("required").sample("\"1\"");
        /// Its key, by which clients name it; no secret. 1 to 128 ASCII letters, digits, `-`, `_`, and not
        /// that of another.
        key: String => text().unset("required").sample("\"app-key\"");
        /// What its backend signs with, 8 to 512 bytes.
        secret: Secret => secret().unset("required").sample("\"changeme\"");
        /// Whether clients may send events to each other in private and presence channels.
        client_events: bool = false => switch();
        /// How many events a client may send in a second.
        client_events_per_s: u64 = 10 => number(1, 1_000);
        /// Whether subscribers are told how many they are.
        subscription_count: bool = false => switch();
        /// How long a client waits in silence before it asks whether the server is there.
        activity_timeout_s: u64 = 120 => number(10, 600);
        /// The most bytes of the data of an event.
        event_max_bytes: u64 = 10_240 => number(1, BODY_MAX_BYTES as u64);
        /// The most users in a presence channel, at all nodes together.
        presence_max_members: u64 = 100 => number(1, 10_000);
        /// The most connections of the application to a node; 0 is no bound.
        max_connections: u64 = 0 => number(0, 10_000_000);
        /// How long a cache channel keeps its last event.
        cache_ttl_s: u64 = 1_800 => number(1, 86_400);
        /// Whether a client that comes back is sent what it missed.
        recovery: bool = true => switch();
        /// How long a client may be away for that.
        recovery_s: u64 = 120 => number(1, 3_600);
        /// Where webhooks are sent: an https URL without a user; an http one needs `webhook_allow_private`.
        webhook: Option<String> => text().unset("none are sent").sample("\"https://app.example.com/pusher\"");
        /// Which webhooks are sent.
        webhook_events: Vec<WebhookEvent> = ["channel_occupied", "channel_vacated", "member_added",
            "member_removed", "client_event", "cache_miss", "subscription_count"] => words(WEBHOOK_EVENTS);
        /// Whether webhooks may be sent to an address that is not public, or by plain http.
        webhook_allow_private: bool = false => switch();
    }
}
