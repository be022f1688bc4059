//! The incremental reader of WebSocket frames: bytes in pieces of any size become messages and control
//! frames. It has no socket and no clock, and holds no buffer between two messages.

use super::{
    CONTROL_MAX_BYTES, CloseFrame, Fault,
    assembly::Assembly,
    frame::{CLOSE, CONTINUATION, PING, TEXT},
    head::{Head, HeadBytes},
    mask::unmask,
};

/// What is agreed on with a peer, and what is taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The largest message, in bytes after inflating.
    pub message_max_bytes: usize,
    /// Whether messages may be compressed.
    pub compression: bool,
    /// Whether the peer masks its frames: a client has to, a server must not (RFC 6455 section 5.1).
    pub masked: bool,
}

/// What a peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message of text.
    Text(String),
    /// A message of bytes.
    Binary(Vec<u8>),
    /// A question whether the receiver is there; a pong with the same bytes answers it.
    Ping(Vec<u8>),
    /// The answer to a ping, or a sign of life without one.
    Pong(Vec<u8>),
    /// The end (RFC 6455 section 5.5.1). Nothing that follows it has a meaning.
    Close(Option<CloseFrame>),
}

/// Reads what a peer sends, however it is cut into pieces.
#[derive(Debug, Default)]
pub struct Reader {
    partial: Option<Box<Partial>>,
}

impl Reader {
    /// Reads up to the end of the next message or control frame, and takes those bytes from `input`; none
    /// when all bytes are read. A message is held in memory as far as it has come, never as far as its head
    /// says.
    ///
    /// # Errors
    /// The peer's [`Fault`]. Nothing can be read after it.
    pub fn next(&mut self, rules: &Rules, input: &mut &[u8]) -> Result<Option<Received>, Fault> {
        let mut boxed = self.partial.take();
        let mut fresh = Partial::default();
        let partial = boxed.as_deref_mut().unwrap_or(&mut fresh);
        let heard = partial.next(rules, input)?;
        if !partial.is_idle() {
            self.partial = Some(boxed.unwrap_or_else(|| Box::new(fresh)));
        }
        Ok(heard)
    }

    /// Notes that the rest of what has begun is waited for from now on; `now_ms` is any clock that never goes
    /// back. The first note of a message holds until the message is complete, however many control frames
    /// come within it.
    pub fn wait_from(&mut self, now_ms: u64) {
        if let Some(partial) = &mut self.partial {
            partial.since_ms.get_or_insert(now_ms);
        }
    }

    /// Notes the same anew, after a time in which nothing was read.
    pub fn wait_anew(&mut self, now_ms: u64) {
        if let Some(partial) = &mut self.partial {
            partial.since_ms = Some(now_ms);
        }
    }

    /// Since when the rest of a message or control frame is waited for, as [`Reader::wait_from`] was told.
    #[must_use]
    pub fn since_ms(&self) -> Option<u64> {
        self.partial.as_ref()?.since_ms
    }

    /// Whether it stands between two messages, where it costs no memory.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }
}

/// A frame or a message that is not complete.
#[derive(Debug, Default)]
struct Partial {
    head: HeadBytes,
    frame: Option<Frame>,
    message: Option<Assembly>,
    /// Since when the rest is waited for.
    since_ms: Option<u64>,
}

/// A frame whose head is read.
#[derive(Debug)]
struct Frame {
    head: Head,
    /// How much of its payload has come.
    done: u64,
    /// The payload of a control frame; no more than [`CONTROL_MAX_BYTES`].
    control: Vec<u8>,
}

impl Partial {
    fn is_idle(&self) -> bool {
        self.head.is_empty() && self.frame.is_none() && self.message.is_none()
    }

    fn next(&mut self, rules: &Rules, input: &mut &[u8]) -> Result<Option<Received>, Fault> {
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.head.take(rules.masked, input)? {
                    Some(head) => self.begin(rules, head)?,
                    None => return Ok(None),
                },
            };
            if !self.go_on(rules, &mut frame, input)? {
                self.frame = Some(frame);
                return Ok(None);
            }
            if let Some(heard) = self.end(rules, frame)? {
                return Ok(Some(heard));
            }
        }
    }

    /// A head is complete: whether it may stand here.
    fn begin(&mut self, rules: &Rules, head: Head) -> Result<Frame, Fault> {
        let frame = Frame { head, done: 0, control: Vec::new() };
        if head.opcode >= CLOSE {
            return Ok(frame);
        }
        let message = match (&mut self.message, head.opcode) {
            (None, CONTINUATION) => return Err(Fault::protocol("a frame that goes on with no message")),
            (Some(_), CONTINUATION) if head.rsv1 => {
                return Err(Fault::protocol("a reserved bit is set within a message"));
            }
            (Some(message), CONTINUATION) => message,
            (Some(_), _) => return Err(Fault::protocol("a message within another")),
            (None, _) if head.rsv1 && !rules.compression => {
                return Err(Fault::protocol("a reserved bit is set"));
            }
            (place @ None, opcode) => place.insert(Assembly::new(opcode == TEXT, head.rsv1)),
        };
        message.admits(head.length, rules.message_max_bytes)?;
        Ok(frame)
    }

    /// Takes what there is of the frame's payload; whether that is all of it.
    fn go_on(&mut self, rules: &Rules, frame: &mut Frame, input: &mut &[u8]) -> Result<bool, Fault> {
        let left = frame.head.length - frame.done;
        let count = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let (payload, rest) = input.split_at(count);
        *input = rest;
        let at = frame.done;
        let plain = |bytes: &mut [u8]| unmask(bytes, frame.head.mask, at);
        match &mut self.message {
            Some(message) if frame.head.opcode < CLOSE => {
                message.add(payload, plain, rules.message_max_bytes)?
            }
            _ => {
                // The head was refused if it says more than that.
                debug_assert!(frame.control.len() + count <= CONTROL_MAX_BYTES);
                let start = frame.control.len();
                frame.control.extend_from_slice(payload);
                plain(&mut frame.control[start..]);
            }
        }
        frame.done += count as u64;
        Ok(frame.done == frame.head.length)
    }

    /// A frame is complete: what was said, if that is all of it.
    fn end(&mut self, rules: &Rules, frame: Frame) -> Result<Option<Received>, Fault> {
        match frame.head.opcode {
            CLOSE => Ok(Some(Received::Close(CloseFrame::read(&frame.control)?))),
            PING => Ok(Some(Received::Ping(frame.control))),
            opcode if opcode > PING => Ok(Some(Received::Pong(frame.control))),
            _ if !frame.head.fin => Ok(None),
            _ => self.message.take().map(|message| message.finish(rules.message_max_bytes)).transpose(),
        }
    }
}
