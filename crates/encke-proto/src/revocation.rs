//! What may be taken back of the tokens that were issued: all of a user, one, or all of a time; and that a
//! user is kept away. Which are in force, and where they are kept, is the server's part.

use serde::{Deserialize, Serialize};

use crate::UserId;

/// The id of a token (`jti`), as 64 bits of its hash, made by what reads the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TokenId(pub u64);

/// What revocations need to know of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// When it was issued (`iat`), in seconds since 1970; none when it does not say.
    pub issued_s: Option<u64>,
    /// Its id (`jti`), if it has one.
    pub id: Option<TokenId>,
}

impl TokenInfo {
    /// Whether it was issued before a time in seconds since 1970. One that does not say may have been.
    #[must_use]
    pub fn is_before(&self, before_s: u64) -> bool {
        self.issued_s.is_none_or(|issued_s| issued_s < before_s)
    }
}

/// What is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// All tokens of a user that were issued before a time, in seconds since 1970.
    User {
        /// The user.
        user: UserId,
        /// The time.
        before_s: u64,
    },
    /// One token.
    Token {
        /// Which.
        id: TokenId,
    },
    /// All tokens of all users that were issued before a time, in seconds since 1970.
    Before {
        /// The time.
        before_s: u64,
    },
    /// A user is kept away, whatever the token.
    Ban {
        /// The user.
        user: UserId,
    },
}

impl Revocation {
    /// The user whom alone it concerns; none when it may concern any.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::User { user, .. } | Self::Ban { user } => Some(user),
            Self::Token { .. } | Self::Before { .. } => None,
        }
    }

    /// Whether it concerns a session of `user` with this token. A session without a token can only be of a
    /// user who is kept away.
    #[must_use]
    pub fn concerns(&self, user: &UserId, token: Option<&TokenInfo>) -> bool {
        match self {
            Self::User { user: of, before_s } => {
                of == user && token.is_some_and(|token| token.is_before(*before_s))
            }
            Self::Token { id } => token.is_some_and(|token| token.id == Some(*id)),
            Self::Before { before_s } => token.is_some_and(|token| token.is_before(*before_s)),
            Self::Ban { user: of } => of == user,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_say_when_it_was_issued_counts_as_old() {
        let [alice, bob] = ["alice", "bob"].map(|name| UserId::new(name).unwrap());
        let token = |issued_s, id: Option<u64>| TokenInfo { issued_s, id: id.map(TokenId) };
        let (old, new, unsaid) = (token(Some(99), Some(7)), token(Some(100), None), token(None, None));
        let of_alice = Revocation::User { user: alice.clone(), before_s: 100 };
        let (all, one) = (Revocation::Before { before_s: 100 }, Revocation::Token { id: TokenId(7) });
        let ban = Revocation::Ban { user: alice.clone() };
        for (revocation, user, token, expected) in [
            (&of_alice, &alice, Some(&old), true),
            (&of_alice, &alice, Some(&new), false),
            (&of_alice, &alice, Some(&unsaid), true),
            (&of_alice, &alice, None, false),
            (&of_alice, &bob, Some(&old), false),
            (&all, &bob, Some(&old), true),
            (&all, &bob, Some(&new), false),
            (&all, &bob, None, false),
            (&one, &bob, Some(&old), true),
            (&one, &bob, Some(&unsaid), false),
            (&ban, &alice, Some(&new), true),
            (&ban, &alice, None, true),
            (&ban, &bob, Some(&old), false),
        ] {
            assert_eq!(revocation.concerns(user, token), expected, "{revocation:?} {user} {token:?}");
        }
    }
}
