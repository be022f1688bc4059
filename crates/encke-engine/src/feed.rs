//! The `Feed` trait, by which an engine announces appended messages to the server. It may miss messages: the
//! log is the truth, and a receiver finds holes by the offsets.

use std::sync::Arc;

use encke_proto::{ChannelName, Entry};

/// Who is told of messages as they get into the logs: the server's hub. Called from the engine's threads, so
/// it must not wait; what it cannot take, it drops and finds again by the offsets.
pub trait Feed: Send + Sync + 'static {
    /// These messages are safe now; in order within each channel.
    fn appended(&self, entries: &[Arc<Entry>]);

    /// The logs of these channels may be further, or others, than the feed was told. Each receiver looks for
    /// itself.
    fn behind(&self, channels: &[ChannelName]);

    /// Messages of these channels were cancelled, or the channels deleted. Nothing of them that a receiver
    /// has in memory may be passed on before it has looked for itself.
    fn retracted(&self, channels: &[ChannelName]);
}

/// A feed without a receiver, for tools that only read and write.
impl Feed for () {
    fn appended(&self, _: &[Arc<Entry>]) {}

    fn behind(&self, _: &[ChannelName]) {}

    fn retracted(&self, _: &[ChannelName]) {}
}
