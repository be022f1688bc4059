//! Pusher Channels, protocol 7: names of channels and events, what clients send, what they are sent, and how
//! an event stands in the log of a channel. Signatures are checked by the server, not here.

mod fallback;
mod incoming;
mod logged;
mod name;
mod outgoing;
mod webhook;

pub use fallback::{
    FallbackAction, FallbackPath, HEARTBEAT, OPEN, SENT_MAX_FRAMES, close_line, fallback_path, line_of,
    quoted, read_sent,
};
pub use incoming::{ChannelData, Incoming, Malformed, Member, SignIn, SignedIn, Subscribe, read};
pub use logged::{Forged, cached, forged, frame_text, logged};
pub use name::{
    CHANNEL_MAX_BYTES, Channel, ChannelFault, ChannelKind, EVENT_MAX_BYTES, FRAMES, ONLINE, USER_CHANNEL,
    app_and_channel, channel_of, is_app_id, is_event, is_internal, is_socket_id, log_of, pattern_of,
};
pub use outgoing::{
    MemberEvent, PONG, cache_miss, connection_established, error, member_data, online_data, presence_data,
    signin_success, subscription_error, subscription_succeeded, watchlist_events,
};
pub use webhook::{
    webhook_body, webhook_cache_miss, webhook_change, webhook_client_event, webhook_subscription_count,
};

/// The first and the last version of the protocol that is spoken. Older ones have data that is no text.
pub const PROTOCOLS: std::ops::RangeInclusive<u32> = 5..=7;
/// The longest id of a user, in bytes.
pub const USER_ID_MAX_BYTES: usize = 128;
/// The largest `user_info`, in bytes of JSON.
pub const USER_INFO_MAX_BYTES: usize = 1024;
/// The most users on a watchlist.
pub const WATCHLIST_MAX_USERS: usize = 100;
/// What begins the names of events that clients send.
pub const CLIENT_EVENT: &str = "client-";
/// What begins the names of events that the protocol keeps for itself.
pub const RESERVED_EVENTS: [&str; 2] = ["pusher:", "pusher_internal:"];
