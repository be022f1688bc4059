//! The Rust client of Encke, a Comet server: push messages and pages to users, publish to channels, and
//! listen with resume.
//!
//! A backend has an API key and uses [`Api`]; a user has a token and uses [`Client`].
//!
//! ```no_run
//! # async fn example() -> Result<(), encke_client::Error> {
//! use encke_client::{Api, Client, Event, Listen, Push, Target};
//!
//! let api = Api::new("http://127.0.0.1:8080", "the API key")?;
//! let push = Push::page(Target::Users(vec!["alice".into()]), "https://example.com/");
//! println!("for {} users", api.push(&push).await?.accepted);
//! // Many go in one call, or over one connection that stays open.
//! for result in api.push_many(&[push.clone(), push]).await? {
//!     println!("{:?}", result?.id);
//! }
//!
//! let client = Client::new("http://127.0.0.1:8080", "alice's token")?;
//! let mut listener = client.listen(Listen::new().channels(["news"]));
//! while let Some(event) = listener.next().await {
//!     match event? {
//!         Event::Message(message) => println!("{}", message.to_json_line()),
//!         Event::Gap(gap) => println!("lost in {}: from {} to {:?}", gap.channel, gap.from, gap.to),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What the crate keeps to:
//! - A listener hands each message over once and in order per channel, however often the connection breaks;
//!   what cannot come any more is an [`Event::Gap`].
//! - Pushing and publishing always carry an idempotency key, so that trying again makes no second message.
//! - With a source of tokens ([`Client::with_token_source`]) a session goes on beyond the end of its token,
//!   without a break.
//! - After a close on purpose nothing reconnects, unless the server asked for that.

mod api;
mod backoff;
mod client;
mod error;
mod event;
mod hooks;
mod http;
mod id;
mod lines;
mod listen;
mod listen_options;
mod listing;
mod message;
mod positions;
mod publish;
mod push;
mod push_many;
mod push_stream;
mod session;
mod short;
mod socket;
pub mod sse;
mod stats;
mod token_source;
mod url_checked;

pub use api::{Api, CloseTarget, RevokeTarget};
pub use client::{Client, Login};
/// In what a page is to be shown.
pub use encke_proto::Show;
pub use error::Error;
pub use event::{Close, Event, Expiring, Gap, Lost, Open, Unsubscribed};
pub use hooks::{EndpointFailure, HookDecisions, HookEvents, HooksStatus, WebhookEvents};
pub use listen::Listener;
pub use listen_options::{Listen, Transport};
pub use listing::{
    Channel, Channels, History, Matching, Page, Presence, PresentUser, Session, Sessions, User, Users,
};
pub use message::Message;
pub use publish::{ChannelPosition, Publish, Published};
pub use push::{
    Accepted, DeviceReceipt, PastPush, PastPushes, Push, Receipt, ReceiptState, ReceiptTotals, Receipts,
    Target,
};
pub use push_many::AcceptedOne;
pub use push_stream::{PushResults, PushSender, PushStream};
pub use session::SessionHandle;
pub use stats::{Lately, Latency, Node, Nodes, Rates, SilentNode, Stats, Totals};
pub use url_checked::UrlChecked;
