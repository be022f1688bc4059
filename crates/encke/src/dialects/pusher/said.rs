//! What is said to a client after something that it asked: frames, and perhaps the end.

use encke_proto::{
    Close, CloseCode, ErrorCode,
    codec::{
        pusher,
        ws::{CloseFrame, CloseStatus},
    },
};

/// Why a connection is closed, by the protocol's own numbers. From 4000 to 4099 clients stay away, from 4100
/// on they come back after a pause, and from 4200 on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PusherClose {
    /// There is no application of this key.
    UnknownApplication,
    /// The application has as many connections as it may.
    OverQuota,
    /// The version of the protocol is none.
    VersionFormat,
    /// This version of the protocol is not spoken.
    UnsupportedVersion,
    /// No version of the protocol was said.
    NoVersion,
    /// The client may not go on.
    Unauthorized,
    /// Come back after a pause.
    OverCapacity,
    /// Come back at once.
    Reconnect,
}

impl PusherClose {
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::UnknownApplication => 4001,
            Self::OverQuota => 4004,
            Self::VersionFormat => 4006,
            Self::UnsupportedVersion => 4007,
            Self::NoVersion => 4008,
            Self::Unauthorized => 4009,
            Self::OverCapacity => 4100,
            Self::Reconnect => 4200,
        }
    }

    pub(super) fn frame(self, reason: impl Into<String>) -> CloseFrame {
        CloseFrame { status: CloseStatus::of_application(self.number() - 4000), reason: reason.into() }
    }
}

/// How the end of a session is told.
pub(super) fn close_of(close: &Close) -> (PusherClose, &str) {
    let (number, text) = match close.code {
        CloseCode::Client | CloseCode::Recycle | CloseCode::Shutdown => (PusherClose::Reconnect, "come back"),
        CloseCode::Operator if close.reconnect => (PusherClose::Reconnect, "come back"),
        CloseCode::Operator
        | CloseCode::Deleted
        | CloseCode::TokenExpired
        | CloseCode::Revoked
        | CloseCode::Banned => (PusherClose::Unauthorized, "the connection was ended"),
        CloseCode::Slow | CloseCode::TakenOver | CloseCode::TooManySessions => {
            (PusherClose::OverCapacity, "the connection cannot be served now")
        }
    };
    (number, if close.reason.is_empty() { text } else { close.reason.as_str() })
}

/// How it is told that a connection is not served.
pub(super) fn refusal_of(code: ErrorCode) -> PusherClose {
    match code.status() {
        429 | 500.. => PusherClose::OverCapacity,
        _ => PusherClose::Unauthorized,
    }
}

/// What is said to a client.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Frames, each the text of one.
    pub(super) frames: Vec<String>,
    /// The end of the connection.
    pub(super) close: Option<CloseFrame>,
}

impl Said {
    /// One frame.
    pub(super) fn one(frame: String) -> Self {
        Self { frames: vec![frame], ..Self::default() }
    }

    /// An error, behind which the connection goes on.
    pub(super) fn error(code: Option<u16>, message: &str) -> Self {
        Self::one(pusher::error(code, message))
    }

    /// An error, with which the connection ends. Clients of the first versions read it as a frame alone.
    pub(super) fn closing(close: PusherClose, message: &str) -> Self {
        let frames = vec![pusher::error(Some(close.number()), message)];
        Self { frames, close: Some(close.frame(message)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_protocol() {
        for (close, number) in [
            (PusherClose::UnknownApplication, 4001),
            (PusherClose::OverCapacity, 4100),
            (PusherClose::Reconnect, 4200),
        ] {
            assert_eq!(close.frame("x").status.number(), number);
            assert_eq!(close.number(), number);
        }
    }
}
