//! An idempotency key, and the request that it was sent with. How long keys are remembered, and where, is in
//! the engines.

use std::hash::Hasher as _;

use encke_proto::{Body, Show, WebPage};
use siphasher::sip::SipHasher13;

/// An idempotency key with the publisher's scope in front, so that two publishers never share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The scope and the publisher's word.
    pub text: String,
    /// A hash of the request that it came with: a repeat with another one is refused. Without, any repeat
    /// counts as the same request. Nodes and versions of the program have to agree on it.
    pub request: Option<u64>,
}

impl Key {
    /// A key that says nothing of its request.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), request: None }
    }

    /// The key of a request to say `body` to these targets: channels, users, or a word for a group that is
    /// no name. Their order does not count, nor how often each is named.
    #[must_use]
    pub fn of_request<'a>(text: String, targets: impl Iterator<Item = &'a str>, body: &Body) -> Self {
        // A hash of each takes less room than the names in order.
        let mut named: Vec<u64> = targets.map(|target| hash(b't', target.as_bytes())).collect();
        named.sort_unstable();
        named.dedup();
        let mut all = SipHasher13::new();
        named.into_iter().for_each(|target| all.write(&target.to_le_bytes()));
        let body = match body {
            Body::Page(WebPage { url, show: Show::Frame }) => hash(b'p', url.as_bytes()),
            Body::Page(WebPage { url, show: Show::Window }) => hash(b'w', url.as_bytes()),
            Body::Data(json) => hash(b'd', json.get().as_bytes()),
            Body::Bytes(typed) => hash(b'c', typed.content_type().as_bytes()) ^ hash(b'b', typed.bytes()),
        };
        all.write(&body.to_le_bytes());
        Self { text, request: Some(all.finish()) }
    }
}

fn hash(kind: u8, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(&[kind]);
    hasher.write(bytes);
    hasher.finish()
}

/// Whether a key that was first sent with one request is now sent with another.
pub(crate) fn is_reused(first: Option<u64>, again: Option<u64>) -> bool {
    first.zip(again).is_some_and(|(first, again)| first != again)
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn data(json: &str) -> Body {
        Body::Data(RawValue::from_string(json.to_owned()).unwrap().into())
    }

    fn request(targets: &[&str], body: &Body) -> Option<u64> {
        Key::of_request("k".into(), targets.iter().copied(), body).request
    }

    #[test]
    fn a_request_is_what_it_says_and_to_whom() {
        let first = request(&["a", "b"], &data("1"));
        assert_eq!(request(&["b", "a", "b"], &data("1")), first, "neither order nor repetition counts");
        for (targets, body) in [
            (&["a"][..], data("1")),
            (&["a", "b", "c"], data("1")),
            (&["ab"], data("1")),
            (&["a", "b"], data("2")),
            (&["a", "b"], Body::Page("1".into())),
            (&[], data("1")),
        ] {
            assert_ne!(request(targets, &body), first, "{targets:?} {body:?}");
        }
    }

    /// It is kept in stores, and compared by nodes of other versions.
    #[test]
    fn the_hash_of_a_request_stays_what_it_is() {
        assert_eq!(request(&["alice"], &data("{\"a\":1}")), Some(13_253_838_548_788_125_827));
    }

    #[test]
    fn only_two_known_requests_differ() {
        assert!(is_reused(Some(1), Some(2)));
        for (first, again) in [(Some(1), Some(1)), (None, Some(1)), (Some(1), None), (None, None)] {
            assert!(!is_reused(first, again), "{first:?} {again:?}");
        }
    }
}
