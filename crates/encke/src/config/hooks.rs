//! `[hooks]`: what the application's own endpoint is asked before it happens, and told after it has.

use serde::{Deserialize, Serialize};

use super::Secret;
use super::setting::{self, list, number, secret, secrets, settings, switch, text, word, words};

/// What the application may decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Who a client is that brings neither token nor ticket.
    Connect,
    /// Whether a client may follow a channel.
    Subscribe,
    /// Whether a client may publish a message, and what becomes of its data.
    Publish,
}

/// What becomes of what the application is to decide on while it gives no answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It is refused.
    #[default]
    Deny,
    /// It is allowed, as far as token and rules do.
    Allow,
}

/// What the application may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookEvent {
    /// A user has a session, and had none on any node.
    Connected,
    /// A user has none any more, and has not come back within the grace time of sessions.
    Disconnected,
    /// A session has begun to follow a public channel.
    Subscribed,
    /// A public channel has a follower, and had none on any node.
    ChannelOccupied,
    /// It has none any more.
    ChannelVacated,
    /// A push has reached a user.
    PushDelivered,
    /// A user has seen a push.
    PushShown,
    /// The time of a push was over before it reached a user.
    PushExpired,
}

/// The names of all events.
const EVENTS: &[&str] = &[
    "connected",
    "disconnected",
    "subscribed",
    "channel_occupied",
    "channel_vacated",
    "push_delivered",
    "push_shown",
    "push_expired",
];

settings! {
    /// The application's endpoint, and what it takes part in.
    #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Hooks {
        /// Where the endpoint is: an https URL without a user; an http one needs `allow_private`.
        url: Option<String> => text().unset("there is none").sample("\"https://app.example.com/encke\"");
        /// The secret that requests are signed with (Standard Webhooks): `whsec_` and the Base64 of 24 to 64
        /// bytes. Make one with `openssl rand -base64 32`.
        secret: Option<Secret> => secret().sample("\"whsec_changeme\"");
        /// Secrets that requests are signed with besides, while the endpoint goes over from one to another;
        /// at most 4.
        former_secrets: Vec<Secret> = [] => secrets();
        /// Whether the endpoint may be at an address that is not public, or reached by plain http.
        allow_private: bool = false => switch();
        /// What the endpoint decides: connect (who a client without a token is), subscribe, publish.
        decide: Vec<Decision> = [] => words(&["connect", "subscribe", "publish"]);
        /// What the endpoint is told.
        events: Vec<HookEvent> = [] => words(EVENTS);
        /// For how long an event is kept that the endpoint has not taken.
        events_kept_s: u64 = 259_200 => number(3_600, 2_592_000);
        /// What becomes of what it is to decide on while it gives no answer. Who a client is, is known by an
        /// answer alone; what finds no place among `max_concurrent` is refused.
        on_failure: OnFailure = "deny" => word(&["deny", "allow"]);
        /// The header fields of a client's request, besides `Cookie` and `Origin`, that the endpoint is told
        /// to decide who it is; at most 16.
        headers: Vec<String> = [] => list();
        /// How long a decision may take.
        timeout_ms: u64 = 2_000 => number(50, 10_000);
        /// How many decisions the endpoint is asked for at once by a node; connect has as many places of its
        /// own.
        max_concurrent: u64 = 64 => number(1, 10_000);
    }
}

impl Default for Hooks {
    fn default() -> Self {
        setting::at_defaults(Self::SETTINGS)
    }
}
