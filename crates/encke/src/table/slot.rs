use super::Line;
use crate::transports::{Held, Transport};

/// A connection in the table.
#[derive(Debug)]
pub struct Slot {
    /// What it writes to.
    pub line: Line,
    /// What it is doing.
    pub state: State,
    /// When something is to happen if nothing else does, in milliseconds of the clock that never goes back.
    pub deadline_ms: u64,
    /// When the wheel looks at it next.
    pub look_ms: u64,
    /// Bytes that the kernel did not take yet. As long as there are any, nothing is pulled: the receiver lags by its cursor.
    pub unsent: Option<Box<Unsent>>,
    /// Bytes of a request that is not complete, or that came while another waits; at most [`super::head::HEAD_MAX_BYTES`] and one read.
    pub inbound: Option<Box<Vec<u8>>>,
}

/// What the kernel did not take.
#[derive(Debug)]
pub struct Unsent {
    /// All of it.
    pub bytes: Vec<u8>,
    /// How much of it has gone since.
    pub sent: usize,
}

/// What a socket is doing.
#[derive(Debug)]
pub enum State {
    /// Between requests, or in the middle of a request's head.
    Head,
    /// A request waits.
    Waits(Service),
    /// The response is complete but not sent; then the next request may come.
    Answered,
    /// The response is complete but not sent; then the socket is freed.
    Closing,
}

/// The service of a request that waits.
#[derive(Debug)]
pub struct Service {
    /// How it is served.
    pub transport: &'static dyn Transport,
    /// The request.
    pub held: Held,
    /// Whether there is something to pull, which could not be done yet.
    pub ready: bool,
}
