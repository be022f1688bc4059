//! One JSON object a line, in bytes that come in any pieces.

use crate::sse::{MAX_EVENT_BYTES, TooLong};

/// Takes lines out of bytes. Empty lines, which only break a silence, are passed over.
#[derive(Debug, Default)]
pub(crate) struct LineReader {
    begun: Vec<u8>,
    lines: std::collections::VecDeque<String>,
}

impl LineReader {
    /// Takes in more bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(piece);
            if self.begun.len() > MAX_EVENT_BYTES {
                return Err(TooLong);
            }
            if self.begun.ends_with(b"\n") {
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.begun)).trim().to_owned();
                if !line.is_empty() {
                    self.lines.push_back(line);
                }
            }
        }
        Ok(())
    }

    /// The next whole line.
    pub(crate) fn next_line(&mut self) -> Option<String> {
        self.lines.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_their_bytes_come_in() {
        let bytes = "{\"a\":\"ü\"}\n\n\r\n{\"b\":2}\r\n{\"c\"".as_bytes();
        for size in 1..bytes.len() {
            let mut reader = LineReader::default();
            bytes.chunks(size).for_each(|piece| reader.push(piece).unwrap());
            assert_eq!(reader.next_line().as_deref(), Some("{\"a\":\"ü\"}"));
            assert_eq!(reader.next_line().as_deref(), Some("{\"b\":2}"));
            assert_eq!(reader.next_line(), None, "the last one is not whole");
        }
    }

    #[test]
    fn a_line_without_end_is_an_error() {
        assert_eq!(LineReader::default().push(&vec![b'x'; MAX_EVENT_BYTES + 1]), Err(TooLong));
    }
}
