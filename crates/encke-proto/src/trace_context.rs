//! To which trace a message belongs, and which span of it is the parent of what is done with the message:
//! what W3C Trace Context calls `traceparent`. Where spans go is not known here, and no id is made.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// The length of `traceparent` in the version that is written: `00-`, 32 and 16 hexadecimal digits, flags.
const TEXT_BYTES: usize = 55;
/// The version that is written.
const VERSION: u8 = 0;
/// The one version that there is never to be.
const VERSION_INVALID: u8 = 0xff;
/// The flag that the caller may have recorded the trace.
const SAMPLED: u8 = 1;

/// A place in a trace (W3C Trace Context, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not zero.
    pub trace_id: [u8; 16],
    /// The span that is the parent of what comes; not zero.
    pub span_id: [u8; 8],
    /// Whether spans of this trace are recorded.
    pub is_sampled: bool,
}

/// What is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no `traceparent`")]
pub struct NotATraceparent;

impl TraceContext {
    /// How many bytes the short form for logs takes.
    pub const BYTES: usize = 25;

    /// A short form for logs: both ids and the flags.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.trace_id);
        bytes[16..24].copy_from_slice(&self.span_id);
        bytes[24] = u8::from(self.is_sampled);
        bytes
    }

    /// Reads the short form.
    ///
    /// # Errors
    /// [`NotATraceparent`] when an id is zero.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Result<Self, NotATraceparent> {
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        trace_id.copy_from_slice(&bytes[..16]);
        span_id.copy_from_slice(&bytes[16..24]);
        Self { trace_id, span_id, is_sampled: bytes[24] & SAMPLED != 0 }.checked()
    }

    fn checked(self) -> Result<Self, NotATraceparent> {
        let is_valid = self.trace_id != [0; 16] && self.span_id != [0; 8];
        is_valid.then_some(self).ok_or(NotATraceparent)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id));
        write!(f, "{VERSION:02x}-{trace:032x}-{span:016x}-{:02x}", u8::from(self.is_sampled))
    }
}

impl FromStr for TraceContext {
    type Err = NotATraceparent;

    /// Reads `traceparent`. Of a later version the part that this one has is read, as section 3.2.4 wants it.
    fn from_str(text: &str) -> Result<Self, NotATraceparent> {
        let (known, rest) = text.split_at_checked(TEXT_BYTES).ok_or(NotATraceparent)?;
        let mut fields = known.split('-');
        let version = u8::from_be_bytes(hex(fields.next())?);
        let (trace_id, span_id) = (hex(fields.next())?, hex(fields.next())?);
        let flags = u8::from_be_bytes(hex(fields.next())?);
        let is_whole = rest.is_empty() || (version > VERSION && rest.starts_with('-'));
        if version == VERSION_INVALID || !is_whole {
            return Err(NotATraceparent);
        }
        Self { trace_id, span_id, is_sampled: flags & SAMPLED != 0 }.checked()
    }
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// So many bytes as hexadecimal digits in lower case.
fn hex<const N: usize>(text: Option<&str>) -> Result<[u8; N], NotATraceparent> {
    let digits = text.filter(|text| text.len() == 2 * N).ok_or(NotATraceparent)?.as_bytes();
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NotATraceparent),
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn it_is_read_and_written_as_the_specification_has_it() {
        let read: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!((read.to_string().as_str(), read.is_sampled), (EXAMPLE, true));
        assert_eq!(TraceContext::from_bytes(&read.to_bytes()), Ok(read));
        let not_sampled = EXAMPLE.replace("-01", "-00").parse::<TraceContext>().unwrap();
        assert!(!not_sampled.is_sampled);
        assert_eq!(TraceContext::from_bytes(&not_sampled.to_bytes()), Ok(not_sampled));
        // Flags that are not known are not passed on (section 3.2.2.5.3).
        assert_eq!(EXAMPLE.replace("-01", "-ff").parse(), Ok(read));
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = format!("cc{}", &EXAMPLE[2..]);
        let read: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!(later.parse(), Ok(read));
        assert_eq!(format!("{later}-what-comes").parse(), Ok(read));
        assert_eq!(format!("{later}.what-comes").parse::<TraceContext>(), Err(NotATraceparent));
    }

    #[test]
    fn what_is_none_is_not_taken_for_one() {
        let zero_trace = format!("00-{:032}-b7ad6b7169203331-01", 0);
        let zero_span = format!("00-0af7651916cd43dd8448eb211c80319c-{:016}-01", 0);
        for bad in [
            String::new(),
            EXAMPLE[..54].to_owned(),
            format!("{EXAMPLE}-"),
            format!("{EXAMPLE}0"),
            format!(" {EXAMPLE}"),
            EXAMPLE.to_uppercase(),
            EXAMPLE.replace('-', "_"),
            format!("ff{}", &EXAMPLE[2..]),
            EXAMPLE.replace("0af7", "0ag7"),
            EXAMPLE.replace("0af7", "äf7"),
            zero_trace,
            zero_span,
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(NotATraceparent), "{bad}");
        }
        assert_eq!(TraceContext::from_bytes(&[0; TraceContext::BYTES]), Err(NotATraceparent));
    }
}
