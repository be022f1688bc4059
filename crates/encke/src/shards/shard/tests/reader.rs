//! A client on a socket that takes little at a time.

use std::io::Read as _;

use serde_json::Value;

use super::offsets;

/// A client that waits by NDJSON on a socket, and reads only what has come.
pub(super) struct Reader {
    socket: std::net::TcpStream,
    bytes: Vec<u8>,
}

impl Reader {
    pub(super) fn new(socket: std::net::TcpStream) -> Self {
        socket.set_nonblocking(true).unwrap();
        Self { socket, bytes: Vec::new() }
    }

    /// The offsets of all that has come since it came.
    pub(super) fn offsets(&mut self) -> Vec<u64> {
        let _ = self.socket.read_to_end(&mut self.bytes);
        let whole = self.bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = std::str::from_utf8(&self.bytes[..whole]).unwrap().lines();
        // Before the events is the head of the response.
        let events: Vec<Value> = lines
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        offsets(&events, "news")
    }
}
