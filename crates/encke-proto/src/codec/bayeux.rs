//! Bayeux 1.0, the protocol of CometD and Faye: messages and their batches, channels with their globs,
//! replies with advice, and the JavaScript around an answer for pages that load it as a script
//! (`callback-polling`).

mod callback;
mod channel;
mod event;
mod message;
mod reply;

pub use callback::{CALLBACK_MAX_BYTES, DEFAULT_CALLBACK, is_callback, script};
pub use channel::{Channel, ChannelFault, Pattern, SEGMENTS_MAX, glob_logs, is_glob};
pub use event::{PUSH_CHANNEL, channel_of, copy, event, service};
pub use message::{BATCH_MAX_MESSAGES, Ext, ID_MAX_BYTES, Malformed, Message, Subscription, TimeSync, read};
pub use reply::{Advice, Reconnect, Reply, ReplyExt, TimeSyncReply, array};

/// The version that is spoken (specification section 4.1).
pub const VERSION: &str = "1.0";
