//! The time that the driver passes in with each event: a monotonic clock for deadlines and the wall clock for
//! messages. The hub reads no clock.

use encke_proto::Time;

/// The time, as it is handed in with everything that happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back; deadlines are measured with it.
    pub mono_ms: u64,
    /// The time of day, for logs and for messages that expire.
    pub wall: Time,
}
