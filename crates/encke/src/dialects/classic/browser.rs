//! A browser, as far as these scripts know one: what its cookie says.

use encke_hub::Start;
use encke_proto::{
    Action, Grant, Position, SessionId, Time, UserId,
    codec::classic::{Timestamp, Written},
};

use super::channel;
use crate::{
    admission::Admission,
    auth::{ChannelAccess, values},
    http::refusal::Refused,
    random,
    transports::{ConnectionState, RequestState, Transport},
};

/// The cookie: `ID`, or `ID.TIMESTAMP` once the browser has a position.
const COOKIE: &str = "encke_classic";

/// What the cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Browser {
    pub(super) id: SessionId,
    /// Up to where it was given everything, where the script keeps no timestamp.
    pub(super) at: Option<Position>,
}

/// How its request is held.
pub(super) struct Hold {
    pub(super) transport: &'static dyn Transport,
    pub(super) request_state: RequestState,
    pub(super) start: Start,
    /// Requests with the same one take over from one another.
    pub(super) session: Option<SessionId>,
    pub(super) state: Option<Box<ConnectionState>>,
}

impl Browser {
    pub(super) fn new() -> Result<Self, Refused> {
        Ok(Self { id: SessionId::from_bits(random::bits()?), at: None })
    }

    /// The browser that a request comes from. A cookie that cannot be read is none, since its script could do
    /// nothing about it.
    pub(super) fn of(cookies: &str) -> Option<Self> {
        values(cookies, COOKIE).find_map(Self::read)
    }

    fn read(value: &str) -> Option<Self> {
        let (id, at) = value.split_once('.').unwrap_or((value, ""));
        let at = match Timestamp::parse(at) {
            Ok(Timestamp::At(at)) => Some(at),
            _ => None,
        };
        Some(Self { id: id.parse().ok()?, at })
    }

    pub(super) fn user(&self) -> Result<UserId, Refused> {
        Ok(UserId::new(&format!("classic-{}", self.id))?)
    }

    /// What the table needs to hold its request.
    pub(super) fn admission(&self, access: &ChannelAccess, hold: Hold) -> Result<Admission, Refused> {
        let Hold { transport, request_state, start, session, state } = hold;
        access.check_anonymous(Action::Subscribe, &channel()?)?;
        let (user, channels) = (self.user()?, vec![channel()?]);
        let (token_ends, fresh, lasting, ticket) = (Time(0), session, false, None);
        Ok(Admission {
            transport,
            request_state,
            user,
            token_ends,
            token: None,
            // Whom it serves is told no channel but the one of its configuration.
            granted: Grant::all(),
            session,
            fresh,
            lasting,
            start,
            device: None,
            channels,
            state,
            ticket,
            looks_on: None,
        })
    }

    /// The cookie that lets the browser keep this.
    pub(super) fn cookie(&self, is_https: bool) -> String {
        let at = self.at.map_or(String::new(), |at| format!(".{}", Written(at)));
        let secure = if is_https { "; Secure" } else { "" };
        // Without a path it is good for the directory that the script asked in (RFC 6265 section 5.1.4),
        // behind whatever prefix a proxy puts that.
        format!("{COOKIE}={}{at}; HttpOnly; SameSite=Lax{secure}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_a_browser_or_nothing() {
        let of = Browser::of;
        let browser = Browser { id: SessionId::from_bits(7), at: None };
        let id = browser.id.to_string();
        let at = Some(Position { epoch: encke_proto::Epoch(36), offset: 3 });
        assert_eq!(of(&format!("theme=dark; encke_classic={id}")), Some(browser));
        assert_eq!(of(&format!("encke_classic={id}.3-10; b=1")), Some(Browser { at, ..browser }));
        assert_eq!(of(&format!("encke_classic=\"{id}.3-10\"")), Some(Browser { at, ..browser }));
        assert_eq!(
            of(&format!("encke_classic=old; encke_classic={id}.3-10")),
            Some(Browser { at, ..browser })
        );
        for position in ["", ".", ".x", ".0", ".12", ".3-10.4"] {
            assert_eq!(of(&format!("encke_classic={id}{position}")), Some(browser), "{position}");
        }
        for text in ["", "encke_classic=", "encke_classic=short.3-10", "my_encke_classic=x"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
