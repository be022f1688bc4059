//! Reading server-sent events (the HTML standard's section 9.2): of each event its data.

/// Reads the events of one stream.
#[derive(Debug, Default)]
pub struct SseReader {
    /// The line so far.
    line: Vec<u8>,
    /// The data of the event so far, with a line break behind each line.
    data: Vec<u8>,
    /// A carriage return was the last byte, so that a line feed would belong to it.
    after_return: bool,
}

impl SseReader {
    /// Takes in bytes and hands out the data of each event that is complete.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8])) {
        let mut rest = bytes;
        if std::mem::take(&mut self.after_return) && rest.first() == Some(&b'\n') {
            rest = &rest[1..];
        }
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, ends_with_return) = (&rest[..at], rest[at] == b'\r');
            if self.line.is_empty() {
                take_line(&mut self.data, line, sink);
            } else {
                self.line.extend_from_slice(line);
                take_line(&mut self.data, &self.line, sink);
                self.line.clear();
            }
            rest = &rest[at + 1..];
            if ends_with_return {
                match rest.first() {
                    Some(b'\n') => rest = &rest[1..],
                    Some(_) => {}
                    None => self.after_return = true,
                }
            }
        }
        self.line.extend_from_slice(rest);
    }
}

fn take_line(data: &mut Vec<u8>, line: &[u8], sink: &mut impl FnMut(&[u8])) {
    if line.is_empty() {
        if data.pop().is_some() {
            sink(data);
            data.clear();
        }
        return;
    }
    let value = match line.strip_prefix(b"data:") {
        Some(value) => value.strip_prefix(b" ").unwrap_or(value),
        None if line == b"data" => b"",
        None => return,
    };
    data.extend_from_slice(value);
    data.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_may_come_in_any_parts_with_any_line_breaks() {
        let text = ": hi\n\nevent: open\ndata: a\nid: 1\n\ndata:b\r\ndata: c\r\n\r\ndata\r\rretry: 1\n\ndata: d e\n\ndata: unfinished";
        for part in 1..=text.len() {
            let mut reader = SseReader::default();
            let mut seen = Vec::new();
            for bytes in text.as_bytes().chunks(part) {
                reader.feed(bytes, &mut |data| seen.push(String::from_utf8(data.to_vec()).unwrap()));
            }
            assert_eq!(seen, ["a", "b\nc", "", "d e"], "in parts of {part}");
        }
    }
}
