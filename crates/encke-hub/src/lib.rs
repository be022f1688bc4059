//! The hub: channels, sessions, presence, members and receipts as a state machine.
//!
//! It has no socket, no clock, no task and no randomness. It is handed what happened, and the time; it
//! answers with [`Output`]s that its driver carries out, and gives messages to the driver when that asks for
//! the next one ([`Hub::pull`]). So a whole cluster can run in one test, on a fake clock, from a seed.
//!
//! # The shape of it
//! A session has a cursor: one position in each channel it follows. A channel has a window: the newest
//! messages of its log, shared by all. When a channel grows, the sessions that follow it become *ready*; the
//! driver pulls from a ready session when its connection can take something. A session that is behind the
//! window is caught up from the engine, a page at a time. There is no queue for a connection anywhere: who is
//! slow is merely at a lower offset.
//!
//! # What the driver promises
//! - Outputs are carried out in the order in which they come.
//! - After [`Output::Ready`] it pulls until [`Pulled::Nothing`], at once or when the connection can take
//!   more.
//! - Each [`Output::Open`] and [`Output::Read`] is answered once, by [`Hub::opened`] or [`Hub::read`].
//! - A message whose append the engine has finished is handed to [`Hub::appended`], or [`Hub::stale`] is
//!   called when some may have been missed.
//! - A feed that may drop what it announces is looked after by [`Hub::stale`] from time to time: a hole shows
//!   by itself only when the next message comes.
//! - Before [`Hub::detach`] of a connection that was given something it asks [`Hub::owed`], and says
//!   [`Hub::handed`] once the client's side has acknowledged that.
//! - [`Hub::tick`] is called a few times a second.

mod attach;
mod channel;
mod check;
mod config;
mod control;
mod control_request;
mod cursor_text;
mod deliver;
mod devices;
mod follower_counts;
mod grants;
mod handover;
mod hub;
mod index;
mod lag;
mod looking;
mod one_or_many;
mod output;
mod presence;
mod retract;
mod session;
mod slab;
mod time;
mod token_end;
mod tokens;
mod tombstone;
mod traffic;
mod view;
mod wheel;

pub use attach::{Attach, Start};
pub use config::HubConfig;
pub use control::CloseTarget;
pub use control_request::{ControlReply, ControlRequest};
pub use deliver::{Opening, Pulled, Receipt};
pub use devices::{Device, Reached};
pub use follower_counts::FollowerCounts;
pub use hub::Hub;
pub use index::{Index, Keyed};
pub use lag::Lag;
pub use looking::Look;
pub use output::{CloseNotice, Ending, Following, Output, ReadKey, TracedMessage};
pub use session::ConnKey;
pub use slab::{Key, Slab};
pub use time::Now;
pub use token_end::FreshToken;
pub use traffic::{Traffic, TransportTraffic};
pub use view::SessionView;
pub use wheel::Wheel;
