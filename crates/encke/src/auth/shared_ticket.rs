//! Tickets that any node of a cluster takes.

use encke_proto::{SessionId, Time, TokenId, TokenInfo, UserId};
use serde::{Deserialize, Serialize};

use super::{
    Authenticated, Grant, Grants, Identity, Returns, SignedText, TICKET_S,
    ticket::{self, RETURNS_S, Tickets},
};
use crate::config::Secret;

/// What tickets are signed for.
const PURPOSE: &str = "encke ticket, good once";

/// Writes and reads tickets that say themselves whose they are, signed with the secret that all nodes share.
/// That each is good once is seen to by the engine, in which it is spent.
#[derive(Debug)]
pub(super) struct SharedTickets(SignedText);

/// A ticket as it stands between its dots.
#[derive(Serialize, Deserialize)]
struct Written {
    /// Which it is: 128 bits in hexadecimal.
    jti: String,
    sub: UserId,
    /// Until when it is good, and until when the token that it stands in for, in milliseconds since 1970.
    until: u64,
    ends: u64,
    /// When that token was issued, in seconds since 1970, and what it is known by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<TokenId>,
    #[serde(default, skip_serializing_if = "Grant::is_unsaid")]
    channels: Grant,
    #[serde(default, skip_serializing_if = "Grant::is_unsaid")]
    publish: Grant,
}

/// A ticket that is good, unless it is spent.
pub(super) struct ReadTicket {
    /// What is to be spent.
    pub(super) id: String,
    /// The session that it begins when it is used for a stream.
    pub(super) session: SessionId,
    /// Who brought it.
    pub(super) owner: Authenticated,
}

/// Who brings a ticket, which is one of those in memory where no node shares any.
pub(super) fn owner(
    own: &Tickets,
    shared: Option<&SharedTickets>,
    text: &str,
    returns: Returns,
    now: Time,
) -> Option<Authenticated> {
    let again = returns == Returns::Now;
    let Some(shared) = shared else {
        let bits = ticket::read(text)?;
        return match returns {
            Returns::Never => own.take(bits, now),
            Returns::Later | Returns::Now => own.take_for_stream(bits, again, now),
        };
    };
    let read = if again { shared.read_again(text, now) } else { shared.read(text, now) };
    read.map(|read| read.owner)
}

impl SharedTickets {
    pub(super) fn new(secret: &Secret) -> Self {
        Self(SignedText::new(PURPOSE, secret))
    }

    /// Writes a ticket: `bits` have to be random. None when it cannot be signed.
    pub(super) fn give(&self, bits: u128, owner: &Authenticated, now: Time) -> Option<(String, Time)> {
        let Authenticated { identity, token } = owner;
        let until = now.plus_seconds(TICKET_S).min(identity.expires);
        let Grants { channels, publish } = (*identity.grants).clone();
        let written = Written {
            jti: ticket::write(bits),
            sub: identity.user.clone(),
            until: until.0,
            ends: identity.expires.0,
            iat: token.issued_s,
            token: token.id,
            channels,
            publish,
        };
        self.0.write(&written).map(|text| (text, until))
    }

    /// Reads one.
    pub(super) fn read(&self, text: &str, now: Time) -> Option<ReadTicket> {
        self.read_for(text, 0, now)
    }

    /// Reads one by which a stream comes back to its session: for so many seconds more, unless its token ends
    /// before.
    pub(super) fn read_again(&self, text: &str, now: Time) -> Option<ReadTicket> {
        self.read_for(text, RETURNS_S, now).filter(|read| read.owner.identity.expires > now)
    }

    fn read_for(&self, text: &str, more_s: u64, now: Time) -> Option<ReadTicket> {
        let Written { jti, sub, until, ends, iat, token, channels, publish } = self.0.read(text)?;
        let session = ticket::session(ticket::read(&jti)?);
        let until = Time(until).plus_seconds(more_s);
        let token = TokenInfo { issued_s: iat, id: token };
        let identity = Identity {
            user: sub,
            grants: Grants { channels, publish }.into(),
            expires: Time(ends),
            by_cookie: false,
        };
        (until > now).then_some(ReadTicket { id: jti, session, owner: Authenticated { identity, token } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Claims, TokenKey};

    fn secret() -> Secret {
        Secret::new("s".repeat(32))
    }

    fn identity() -> Authenticated {
        let claims = Claims {
            user: UserId::new("alice").unwrap(),
            expires_s: 1_000,
            issued_s: Some(3),
            jti: Some("j".into()),
            channels: Grant::of(vec!["room:*".into()]),
            publish: Grant::none(),
        };
        Authenticated::new(claims, true)
    }

    #[test]
    fn another_node_reads_what_one_wrote() {
        let (text, until) = SharedTickets::new(&secret()).give(7, &identity(), Time(5_000)).unwrap();
        assert_eq!(until, Time(35_000));
        let read = SharedTickets::new(&secret()).read(&text, Time(34_999)).unwrap();
        let Authenticated { identity, token } = identity();
        let expected = Authenticated { identity: Identity { by_cookie: false, ..identity }, token };
        assert_eq!((read.owner, read.id), (expected, ticket::write(7)));
        assert!(SharedTickets::new(&secret()).read(&text, Time(35_000)).is_none());
        assert!(SharedTickets::new(&Secret::new("t".repeat(32))).read(&text, Time(5_000)).is_none());
        let again = |now| SharedTickets::new(&secret()).read_again(&text, Time(now)).map(|read| read.session);
        assert_eq!(again(999_999), Some(ticket::session(7)));
        assert_eq!(again(1_000_000), None, "its token has ended");
    }

    #[test]
    fn a_ticket_does_not_outlive_the_token() {
        assert_eq!(
            SharedTickets::new(&secret()).give(7, &identity(), Time(990_000)).unwrap().1,
            Time(1_000_000)
        );
    }

    #[test]
    fn a_ticket_is_no_token_and_a_token_no_ticket() {
        let tickets = SharedTickets::new(&secret());
        let (text, _) = tickets.give(7, &identity(), Time(5_000)).unwrap();
        assert!(TokenKey::hs256(&secret()).verify(&text, 5).is_err());
        let claims = Claims {
            user: identity().identity.user,
            expires_s: 1_000,
            issued_s: None,
            jti: None,
            channels: Grant::all(),
            publish: Grant::all(),
        };
        let token = TokenKey::hs256(&secret()).sign(&claims).unwrap();
        assert!(tickets.read(&token, Time(5_000)).is_none());
        for text in ["", "a.b.c", "0000000000000000000000000000000a"] {
            assert!(tickets.read(text, Time(0)).is_none(), "{text}");
        }
    }
}
