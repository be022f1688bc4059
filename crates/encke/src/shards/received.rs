//! What comes of a read from what a slot writes to.

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// The peer sends no more.
    End {
        /// Whether it has said so. Under TLS an end that was not said may be the doing of another on the way
        /// (RFC 8446 section 6.1).
        orderly: bool,
    },
    /// Something has come.
    Bytes {
        /// How much of it is to be read at the beginning of the buffer. None, when records are not complete
        /// or say nothing.
        count: usize,
        /// How many bytes the socket has given for that.
        taken: usize,
        /// Whether there was nothing more at that time.
        is_all: bool,
    },
}
