//! The close frame and its status codes (RFC 6455 sections 5.5.1 and 7.4), read and written. Which status
//! fits which end of a session is decided by the server, not here.

use super::{CONTROL_MAX_BYTES, Fault, frame};

/// Why a connection is closed, as a number (RFC 6455 section 7.4 and the registry that it sets up).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseStatus(u16);

impl CloseStatus {
    /// It has done what it was for.
    pub const NORMAL: Self = Self(1000);
    /// A server that stops, or a browser that goes to another page.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The peer sent a type of message that is not taken.
    pub const UNSUPPORTED: Self = Self(1003);
    /// The peer sent content that is not what its type says, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// The peer sent something against the rules of this place.
    pub const POLICY: Self = Self(1008);
    /// The peer sent more than is taken.
    pub const TOO_BIG: Self = Self(1009);
    /// The server cannot go on; that is not the peer's fault.
    pub const INTERNAL: Self = Self(1011);
    /// Come back after a pause.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// The status of this number, if it may stand in a close frame: those that are registered for that, and
    /// those from 3000 to 4999 for libraries and applications (RFC 6455 section 7.4.2). 1004 has no meaning
    /// yet; 1005, 1006 and 1015 are what a receiver says to itself.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match number {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(number)),
            _ => None,
        }
    }

    /// A status of the application's own: 4000 and `number`, which is below 1000.
    #[must_use]
    pub const fn of_application(number: u16) -> Self {
        Self(4000 + number % 1000)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// What a close frame says (RFC 6455 section 5.5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// Why, for programs.
    pub status: CloseStatus,
    /// Why, as text for logs and users; may be empty.
    pub reason: String,
}

/// The longest reason: a control frame less the status.
const REASON_MAX_BYTES: usize = CONTROL_MAX_BYTES - 2;

impl CloseFrame {
    /// Reads the payload of a close frame; none when it is empty, which is allowed.
    ///
    /// # Errors
    /// The [`Fault`] of the peer.
    pub fn read(payload: &[u8]) -> Result<Option<Self>, Fault> {
        let (status, reason) = match payload {
            [] => return Ok(None),
            [_] => return Err(Fault::protocol("a close frame with half a status")),
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        };
        let status = CloseStatus::new(status)
            .ok_or(Fault::protocol("a close frame with a status that may not be sent"))?;
        let reason = std::str::from_utf8(reason)
            .map_err(|_| Fault::content("the reason of a close frame is not UTF-8"))?;
        Ok(Some(Self { status, reason: reason.to_owned() }))
    }

    /// Writes a whole close frame. A reason that is too long for a control frame is cut between two
    /// characters.
    pub fn write(out: &mut Vec<u8>, status: CloseStatus, reason: &str) {
        let mut length = reason.len().min(REASON_MAX_BYTES);
        while !reason.is_char_boundary(length) {
            length -= 1;
        }
        frame::head(out, frame::CLOSE, false, length + 2);
        out.extend_from_slice(&status.number().to_be_bytes());
        out.extend_from_slice(&reason.as_bytes()[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_sent_is_a_status() {
        let allowed = |number: &u16| CloseStatus::new(*number).is_some();
        let below: Vec<u16> = (0..3000).filter(allowed).collect();
        assert_eq!(below, [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]);
        assert!(
            (3000..5000).all(|number| allowed(&number)) && !(5000..=u16::MAX).any(|number| allowed(&number))
        );
    }

    #[test]
    fn a_reason_is_cut_between_two_characters() {
        let mut out = Vec::new();
        CloseFrame::write(&mut out, CloseStatus::NORMAL, &"ü".repeat(100));
        assert_eq!((out[0], out[1] as usize), (0x88, out.len() - 2));
        let read = CloseFrame::read(&out[2..]).unwrap().unwrap();
        assert_eq!((read.status, read.reason), (CloseStatus::NORMAL, "ü".repeat(61)));
    }

    #[test]
    fn what_cannot_be_read_is_the_peers_fault() {
        assert_eq!(CloseFrame::read(&[]), Ok(None));
        for (payload, status) in [
            (&[3][..], CloseStatus::PROTOCOL_ERROR),
            (&[0, 0], CloseStatus::PROTOCOL_ERROR),
            (&[3, 0xed], CloseStatus::PROTOCOL_ERROR),
            (&[3, 0xe8, 0xff], CloseStatus::INVALID_PAYLOAD),
        ] {
            assert_eq!(CloseFrame::read(payload).unwrap_err().status, status, "{payload:?}");
        }
    }
}
