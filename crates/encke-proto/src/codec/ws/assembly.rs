//! A WebSocket message that is being put together from its frames (RFC 6455 section 5.4): size bound,
//! inflating and UTF-8 check. The order of frames is checked in `reader.rs`.

use super::{Fault, inflate::Inflater};

/// A message in the making, from one frame or several.
#[derive(Debug)]
pub(super) struct Assembly {
    /// Whether it is text.
    text: bool,
    /// How much of the text is known to be UTF-8.
    sound: usize,
    /// What inflates it, if it is compressed.
    inflater: Option<Box<Inflater>>,
    /// What has come so far.
    bytes: Vec<u8>,
}

impl Assembly {
    pub(super) fn new(text: bool, compressed: bool) -> Self {
        Self { text, sound: 0, inflater: compressed.then(Inflater::new), bytes: Vec::new() }
    }

    /// Whether a frame with so much more may come. What is compressed is not held, only what comes out of it,
    /// which is bounded there.
    pub(super) fn admits(&self, length: u64, max_bytes: usize) -> Result<(), Fault> {
        match usize::try_from(length) {
            _ if self.inflater.is_some() => Ok(()),
            Ok(length) if length <= max_bytes.saturating_sub(self.bytes.len()) => Ok(()),
            _ => Err(Fault::TOO_BIG),
        }
    }

    /// Takes payload, with the mask still on it.
    pub(super) fn add(
        &mut self,
        masked: &[u8],
        unmask: impl FnOnce(&mut [u8]),
        max_bytes: usize,
    ) -> Result<(), Fault> {
        match &mut self.inflater {
            Some(inflater) => {
                // As much as was read from the socket at once, at most.
                let mut plain = masked.to_vec();
                unmask(&mut plain);
                inflater.feed(&plain, &mut self.bytes, max_bytes)?;
            }
            None => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(masked);
                unmask(&mut self.bytes[start..]);
            }
        }
        self.check()
    }

    /// Text that cannot become UTF-8 any more is noticed at its first wrong byte.
    fn check(&mut self) -> Result<(), Fault> {
        if !self.text {
            return Ok(());
        }
        match std::str::from_utf8(&self.bytes[self.sound..]) {
            Ok(_) => self.sound = self.bytes.len(),
            Err(error) if error.error_len().is_none() => self.sound += error.valid_up_to(),
            Err(_) => return Err(Fault::content("text that is not UTF-8")),
        }
        Ok(())
    }

    /// The message is complete.
    pub(super) fn finish(mut self, max_bytes: usize) -> Result<super::Received, Fault> {
        if let Some(inflater) = &mut self.inflater {
            inflater.finish(&mut self.bytes, max_bytes)?;
            self.check()?;
        }
        if !self.text {
            return Ok(super::Received::Binary(self.bytes));
        }
        // All but a broken character at the end is known to be sound.
        String::from_utf8(self.bytes)
            .map(super::Received::Text)
            .map_err(|_| Fault::content("text that ends within a character"))
    }
}
