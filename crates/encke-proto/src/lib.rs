//! What Encke's rooms and its clients agree on: names and ids, positions and cursors, messages, the table of
//! errors, the limits, and the wire formats.
//!
//! Nothing here has a socket, a clock, a task or a source of randomness: bytes and times are handed in, so
//! everything can be tested and fuzzed as plain functions.

mod channel_pattern;
mod channel_rules;
pub mod codec;
mod cursor;
mod error;
mod event;
mod grant;
mod histogram;
mod id;
mod int_hasher;
pub mod json;
mod json_text;
pub mod limits;
mod lineage;
mod message;
mod message_json;
mod name;
mod name_filter;
mod name_hasher;
mod object;
mod page;
mod page_url;
pub mod pattern;
mod plain_json;
mod position;
mod revocation;
mod time;
mod trace_context;
mod typed_bytes;
mod web_page;

pub use channel_pattern::{ChannelPattern, ChannelPatternError};
pub use channel_rules::{Action, Caller, ChannelRule, ChannelRules, Who};
pub use codec::Entry;
pub use cursor::{Cursor, CursorError, write_name as write_cursor_name};
pub use error::{ErrorAnswer, ErrorCode, ErrorDetail, Refusal};
pub use event::{Close, CloseCode, Event, Expiring, Gap, GapReason, Open, Unsubscribed, UnsubscribedReason};
pub use grant::Grant;
pub use histogram::{HISTOGRAM_BUCKETS, Histogram};
pub use id::{CloseKey, IdError, IdText, MessageId, SessionId};
pub use int_hasher::IntHashState;
pub use json_text::JsonText;
pub use lineage::Lineage;
pub use message::{Body, Message};
pub use message_json::{MessageJson, MessageType};
pub use name::{ChannelName, DeviceName, NameError, UserId};
pub use name_filter::NameFilter;
pub use name_hasher::{NameHashState, NameHasher};
pub use object::{Object, objects};
pub use page::Page;
pub use page_url::{AllowList, PageUrl, PageUrlError};
pub use plain_json::PlainJson;
pub use position::{Epoch, EpochError, Offset, Position, write_offset};
pub use revocation::{Revocation, TokenId, TokenInfo};
pub use time::Time;
pub use trace_context::{NotATraceparent, TraceContext};
pub use typed_bytes::{NotAContentType, TypedBytes, check_content_type};
pub use web_page::{Show, WebPage};
