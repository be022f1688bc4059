use std::sync::Arc;

use encke_proto::Entry;

/// Who is told of messages as they get into the logs: the server's hub. Called from the engine's thread, so it must not wait; what it cannot take, it drops and finds again by the offsets.
pub trait Feed: Send + Sync + 'static {
    /// These messages are safe now; in order within each channel.
    fn appended(&self, entries: &[Arc<Entry>]);
}

/// A feed to nobody, for tools that only read and write.
impl Feed for () {
    fn appended(&self, _: &[Arc<Entry>]) {}
}
