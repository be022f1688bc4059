//! The heads of inline requests that were read and allowed just now.
//!
//! A backend sends the same head with each of its requests, but for the length of the body. To read it and to
//! check its key again costs more than to append its message. So what is the same as before, byte for byte,
//! is not read again; nothing else is taken from here. What was allowed once stays allowed until its key
//! ends, or others come into use.

use std::fmt;

use encke_proto::{Time, limits::BODY_MAX_BYTES};

use super::inline_head::{Asking, LENGTH_MAX_DIGITS};
use crate::auth::Allowed;

/// The most heads that are remembered. Each client library has one of its own, and there are few of them.
const HEADS_MAX: usize = 4;

/// What is known of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownHead {
    /// The number of its route.
    pub route: usize,
    /// Whether the client keeps the connection afterwards.
    pub keep_alive: bool,
    /// How many bytes the head has.
    pub head_bytes: usize,
    /// How many bytes the body has; at most [`BODY_MAX_BYTES`].
    pub body_bytes: usize,
    /// Which key it has: see [`Allowed::key`].
    pub key: u16,
}

impl KnownHead {
    /// What is known of a head that was read.
    #[must_use]
    pub fn of(asking: &Asking<'_>, allowed: Allowed) -> Self {
        let Asking { route, keep_alive, head_bytes, body_bytes, .. } = *asking;
        Self { route, keep_alive, head_bytes, body_bytes, key: allowed.key }
    }
}

/// A head without the digits that say how long the body is. The key of the server API is in it.
struct Head {
    before: Box<[u8]>,
    behind: Box<[u8]>,
    route: usize,
    keep_alive: bool,
    /// For how long its key allows it.
    allowed: Allowed,
}

/// The heads that were allowed last. Each has at most the bytes of a head that is read in the table
/// ([`super::head::HEAD_MAX_BYTES`]).
#[derive(Debug, Default)]
pub struct RememberedHeads {
    heads: Vec<Head>,
    /// Which is replaced next, once there are [`HEADS_MAX`].
    next: usize,
}

impl RememberedHeads {
    /// What is known of the head that these bytes begin with, if it was remembered and is still allowed by
    /// the keys of this generation.
    #[must_use]
    pub fn find(&self, bytes: &[u8], now: Time, generation: u64) -> Option<KnownHead> {
        let is_allowed = |allowed: Allowed| {
            allowed.generation == generation && allowed.until.is_none_or(|until| now < until)
        };
        let mut heads = self.heads.iter().filter(|head| is_allowed(head.allowed));
        heads.find_map(|head| head.of(bytes))
    }

    /// Remembers a head that was read at the beginning of these bytes, and allowed.
    pub fn remember(&mut self, bytes: &[u8], asking: &Asking<'_>, allowed: Allowed) {
        let Asking { route, keep_alive, head_bytes, ref length, .. } = *asking;
        let (before, behind) = (bytes[..length.start].into(), bytes[length.end..head_bytes].into());
        let head = Head { before, behind, route, keep_alive, allowed };
        if self.heads.len() < HEADS_MAX {
            self.heads.push(head);
        } else {
            self.heads[self.next] = head;
            self.next = (self.next + 1) % HEADS_MAX;
        }
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Head(redacted)")
    }
}

impl Head {
    fn of(&self, bytes: &[u8]) -> Option<KnownHead> {
        let (before, rest) = bytes.split_at_checked(self.before.len())?;
        let digits = rest.iter().take(LENGTH_MAX_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
        let (length, rest) = rest.split_at(digits);
        let behind = rest.get(..self.behind.len())?;
        let is_length = (1..=LENGTH_MAX_DIGITS).contains(&digits);
        if !is_length || !(is_same(&self.before, before) & is_same(&self.behind, behind)) {
            return None;
        }
        let body_bytes = length.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        (body_bytes <= BODY_MAX_BYTES).then(|| KnownHead {
            route: self.route,
            keep_alive: self.keep_alive,
            head_bytes: before.len() + digits + behind.len(),
            body_bytes,
            key: self.allowed.key,
        })
    }
}

/// Whether two heads are the same. All of both is looked at: how long that takes must not tell how much of
/// the key in them is right.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Scope,
        connection::inline_head::{Verdict, read},
        inline::{Begun, InlineRoute, InlineRoutes},
    };

    const NOW: Time = Time(1000);
    const UNTIL: Time = Time(2000);
    const ALLOWED: Allowed = Allowed { until: Some(UNTIL), generation: 7, key: 0 };

    fn routes() -> InlineRoutes {
        let route = |path| InlineRoute {
            path,
            scope: Scope::Push,
            action: "push",
            what: |_| "".into(),
            run: Box::new(|_| Begun::Goes(Box::pin(std::future::pending()))),
        };
        InlineRoutes::new(vec![route("/api/push"), route("/api/publish")])
    }

    fn head(path: &str, key: &str, length: &str, fields: &str) -> String {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Length: {length}\r\n\
             Content-Type: application/json\r\n{fields}\r\n"
        )
    }

    fn remember(heads: &mut RememberedHeads, text: &str) {
        let Verdict::Inline(asking) = read(text.as_bytes(), &routes()) else { panic!("{text:?}") };
        heads.remember(text.as_bytes(), &asking, ALLOWED);
    }

    #[test]
    fn a_head_is_known_again_whatever_the_length_of_its_body() {
        let mut heads = RememberedHeads::default();
        remember(&mut heads, &head("/api/push", "k", "2", ""));
        remember(&mut heads, &head("/api/publish", "k", "2", "Connection: close\r\n"));
        for (path, fields) in [("/api/push", ""), ("/api/publish", "Connection: close\r\n")] {
            for length in ["0", "2", "00017", "123", "65536"] {
                let text = head(path, "k", length, fields) + "{}POST /next";
                let Verdict::Inline(asking) = read(text.as_bytes(), &routes()) else { panic!("{text:?}") };
                assert_eq!(
                    heads.find(text.as_bytes(), NOW, 7),
                    Some(KnownHead::of(&asking, ALLOWED)),
                    "{text:?}"
                );
            }
        }
    }

    #[test]
    fn nothing_is_known_that_would_be_read_otherwise() {
        let mut heads = RememberedHeads::default();
        let good = head("/api/push", "k", "17", "");
        remember(&mut heads, &good);
        for length in ["", "65537", "0000017", "1x", "+1", " 1", "1 ", "1, 1", "-1", "18446744073709551617"] {
            let text = head("/api/push", "k", length, "");
            assert_eq!(heads.find(text.as_bytes(), NOW, 7), None, "{length:?}");
        }
        // One byte is another, one is missing, or one is too many. Behind the end it would be of the body.
        for at in (0..good.len() - 1).filter(|at| !good.as_bytes()[*at].is_ascii_digit()) {
            let mut other = good.clone().into_bytes();
            other[at] ^= 0x20;
            assert_eq!(heads.find(&other, NOW, 7), None, "{at}");
            other[at] ^= 0x20;
            let byte = other.remove(at);
            assert_eq!(heads.find(&other, NOW, 7).map(|_| at), None, "{at}");
            other.splice(at..at, [byte, b'x']);
            assert_eq!(heads.find(&other, NOW, 7), None, "{at}");
        }
        for length in 0..good.len() {
            assert_eq!(heads.find(&good.as_bytes()[..length], NOW, 7), None, "{length}");
        }
    }

    #[test]
    fn only_so_many_are_remembered_and_the_oldest_goes() {
        let mut heads = RememberedHeads::default();
        let texts: Vec<String> =
            (0..6).map(|number| head("/api/push", "k", "2", &format!("X: {number}\r\n"))).collect();
        texts.iter().for_each(|text| remember(&mut heads, text));
        let known: Vec<bool> =
            texts.iter().map(|text| heads.find(text.as_bytes(), NOW, 7).is_some()).collect();
        assert_eq!(known, [false, false, true, true, true, true]);
        assert_eq!(heads.heads.len(), HEADS_MAX);
        assert!(!format!("{heads:?}").contains("Bearer"), "nor are they written to a log");
    }

    #[test]
    fn a_head_is_known_until_its_key_ends_or_others_are_in_use() {
        let mut heads = RememberedHeads::default();
        let text = head("/api/push", "k", "2", "");
        remember(&mut heads, &text);
        assert!(heads.find(text.as_bytes(), Time(UNTIL.0 - 1), 7).is_some());
        assert_eq!(heads.find(text.as_bytes(), UNTIL, 7), None);
        assert_eq!(heads.find(text.as_bytes(), NOW, 8), None, "other keys are in use");
    }
}
