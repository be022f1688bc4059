//! A bounded cache of verified tokens, found by a keyed hash, so that a signature is not verified for each
//! poll (ADR 0010). It never holds a token that failed, nor one of a request that lasts, as it comes once.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use encke_proto::{TokenId, TokenInfo, UserId};
use siphasher::sip128::SipHasher24;

use super::{Claims, Grants};

/// Into how many parts the memory is split, so that threads do not wait for one another. A power of two.
const SHELVES: usize = 16;
/// The most tokens in one generation of one shelf: 65,536 in all, twice that with those of the generation
/// before.
const TOKENS_MAX: usize = 4_096;
/// The most bytes of them: 8 MiB in all, twice that with the generation before.
const TOKENS_MAX_BYTES: usize = 512 * 1024;

/// What is known of a token that was found good.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) user: UserId,
    pub(super) grants: Arc<Grants>,
    pub(super) expires_s: u64,
    pub(super) token: TokenInfo,
}

/// The same as it is kept: there are as many as clients who poll.
#[derive(Debug)]
struct Kept {
    user: UserId,
    grants: Arc<Grants>,
    /// When the token ends, in seconds since 1970; in 2106 at the latest, so it is never good for longer.
    expires_s: u32,
    /// When it was issued, likewise; 0 when it does not say.
    issued_s: u32,
    /// Its id; few have one.
    id: Option<Box<TokenId>>,
}

/// A mark as a key, which lies without a gap beside what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place([u8; 16]);

/// Tokens that were found good, so that a client that comes back for each message is not verified for each.
/// ADR 0010 has the reasons.
#[derive(Debug)]
pub(super) struct Remembered {
    hasher: SipHasher24,
    shelves: [Mutex<Shelf>; SHELVES],
}

/// A token's mark. Without the key no other token can be made that has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u128);

/// The tokens of one part. When the younger generation is full, it becomes the older, and what was not asked
/// for since is forgotten.
#[derive(Debug, Default)]
struct Shelf {
    young: HashMap<Place, Kept, AsIs>,
    old: HashMap<Place, Kept, AsIs>,
    /// How much the younger generation holds.
    bytes: usize,
    /// What the last token granted. Most applications grant the same to all users, so it is kept once.
    grants: Arc<Grants>,
    /// The latest time that it was asked at.
    latest_s: u64,
}

impl Remembered {
    /// Nothing yet. The key is random, and used for nothing else.
    pub(super) fn new(key: u128) -> Self {
        Self { hasher: SipHasher24::new_with_key(&key.to_ne_bytes()), shelves: Default::default() }
    }

    /// The mark of a token under these keys. When the keys change, every token has another one, and so is
    /// verified anew; what was kept under the former marks goes like all that is not asked for again.
    pub(super) fn mark(&self, token: &str, keys_generation: u64) -> Mark {
        let mut hasher = self.hasher;
        hasher.write_u64(keys_generation);
        // The rest in one piece, which costs less than as a part of more.
        Mark(hasher.hash(token.as_bytes()).as_u128())
    }

    /// What is known of a token, if it was found good and has not expired.
    pub(super) fn get(&self, mark: Mark, now_s: u64) -> Option<Known> {
        self.shelf(mark, |shelf| shelf.get(mark.0, now_s))
    }

    /// Keeps in mind that a token was found good.
    pub(super) fn put(&self, mark: Mark, claims: Claims, now_s: u64) -> Known {
        self.shelf(mark, |shelf| shelf.put(mark.0, Known::of(claims), now_s))
    }

    /// What a token says that is not kept in mind.
    pub(super) fn share(&self, mark: Mark, claims: Claims) -> Known {
        self.shelf(mark, |shelf| shelf.share(Known::of(claims)))
    }

    fn shelf<T>(&self, mark: Mark, use_it: impl FnOnce(&mut Shelf) -> T) -> T {
        // Its upper bits choose the shelf, its lower ones the place in it.
        let shelf = &self.shelves[(mark.0 >> 64) as usize % SHELVES];
        use_it(&mut shelf.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shelf {
    fn get(&mut self, mark: u128, now_s: u64) -> Option<Known> {
        self.see(now_s);
        let is_good = |kept: &Kept| u64::from(kept.expires_s) > now_s;
        if let Some(kept) = self.young.get(&Place::of(mark)) {
            return is_good(kept).then(|| kept.known());
        }
        let kept = self.old.remove(&Place::of(mark)).filter(is_good)?;
        let known = kept.known();
        self.keep(mark, kept);
        Some(known)
    }

    fn put(&mut self, mark: u128, known: Known, now_s: u64) -> Known {
        self.see(now_s);
        let known = self.share(known);
        self.keep(mark, Kept::of(&known));
        known
    }

    /// The same, with what it grants in the place of the last if that is alike.
    fn share(&mut self, mut known: Known) -> Known {
        if self.grants == known.grants {
            known.grants = Arc::clone(&self.grants);
        } else {
            self.grants = Arc::clone(&known.grants);
        }
        known
    }

    fn keep(&mut self, mark: u128, kept: Kept) {
        let bytes = kept.bytes();
        if self.young.len() >= TOKENS_MAX || self.bytes + bytes > TOKENS_MAX_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.young.insert(Place::of(mark), kept);
    }

    /// Takes note of the time. When it goes back, a token that was good already may not be good yet.
    fn see(&mut self, now_s: u64) {
        if now_s < self.latest_s {
            *self = Self::default();
        }
        self.latest_s = now_s;
    }
}

impl Known {
    /// What a verified token says.
    pub(super) fn of(claims: Claims) -> Self {
        let token = claims.info();
        let Claims { user, expires_s, channels, publish, .. } = claims;
        Self { user, grants: Arc::new(Grants { channels, publish }), expires_s, token }
    }
}

impl Kept {
    fn of(known: &Known) -> Self {
        let seconds = |seconds: u64| u32::try_from(seconds).unwrap_or(u32::MAX);
        Self {
            user: known.user.clone(),
            grants: Arc::clone(&known.grants),
            expires_s: seconds(known.expires_s),
            issued_s: known.token.issued_s.map_or(0, |issued_s| seconds(issued_s).max(1)),
            id: known.token.id.map(Box::new),
        }
    }

    fn known(&self) -> Known {
        let issued_s = (self.issued_s > 0).then(|| u64::from(self.issued_s));
        Known {
            user: self.user.clone(),
            grants: Arc::clone(&self.grants),
            expires_s: self.expires_s.into(),
            token: TokenInfo { issued_s, id: self.id.as_deref().copied() },
        }
    }

    /// Roughly the bytes that it occupies, when it shares what it grants with no other.
    fn bytes(&self) -> usize {
        size_of::<(Place, Self)>() + self.user.as_str().len() + self.grants.bytes()
    }
}

impl Place {
    fn of(mark: u128) -> Self {
        Self(mark.to_ne_bytes())
    }
}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u128::from_ne_bytes(self.0) as u64);
    }
}

/// A mark is as evenly spread as any hash of it would be.
#[derive(Debug, Default)]
struct AsIsHasher(u64);

type AsIs = BuildHasherDefault<AsIsHasher>;

impl Hasher for AsIsHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Grant;

    const NOW: u64 = 1_800_000_000;

    fn claims(user: &str) -> Claims {
        Claims {
            user: UserId::new(user).unwrap(),
            expires_s: NOW + 60,
            issued_s: None,
            jti: None,
            channels: Grant::all(),
            publish: Grant::none(),
        }
    }

    fn user_of(memory: &Remembered, token: &str, now_s: u64) -> Option<String> {
        memory.get(memory.mark(token, 0), now_s).map(|known| known.user.as_str().to_owned())
    }

    #[test]
    fn a_token_is_known_again_until_it_expires() {
        let memory = Remembered::new(7);
        assert_eq!(user_of(&memory, "a.b.c", NOW), None);
        memory.put(memory.mark("a.b.c", 0), claims("alice"), NOW);
        assert_eq!(user_of(&memory, "a.b.c", NOW + 59).as_deref(), Some("alice"));
        for other in ["a.b.d", "a.b.c ", "a.b.", "A.b.c", ""] {
            assert_eq!(user_of(&memory, other, NOW + 59), None, "{other}");
        }
        assert_eq!(user_of(&memory, "a.b.c", NOW + 60), None);
        assert_ne!(
            Remembered::new(8).mark("a.b.c", 0),
            memory.mark("a.b.c", 0),
            "marks are worth nothing elsewhere"
        );
    }

    #[test]
    fn what_is_kept_says_what_was_found_or_what_is_good_for_less() {
        let token = |issued_s, id: Option<u64>| TokenInfo { issued_s, id: id.map(TokenId) };
        for (given, kept) in [
            (token(None, None), token(None, None)),
            (token(Some(0), Some(0)), token(Some(1), Some(0))),
            (token(Some(NOW), Some(u64::MAX)), token(Some(NOW), Some(u64::MAX))),
            (token(Some(u64::MAX), None), token(Some(u32::MAX.into()), None)),
        ] {
            let known = Known { token: given, expires_s: NOW + 60, ..Known::of(claims("alice")) };
            let again = Kept::of(&known).known();
            assert_eq!((again.token, again.expires_s, again.user), (kept, known.expires_s, known.user));
        }
        let known = Known { expires_s: u64::MAX, ..Known::of(claims("alice")) };
        assert_eq!(Kept::of(&known).known().expires_s, u64::from(u32::MAX));
        assert_eq!(size_of::<(Place, Kept)>(), 56);
    }

    #[test]
    fn a_token_of_a_request_that_lasts_takes_no_place() {
        let memory = Remembered::new(7);
        let mark = memory.mark("a.b.c", 0);
        let first = memory.share(mark, claims("alice"));
        assert_eq!(user_of(&memory, "a.b.c", NOW), None);
        assert!(Arc::ptr_eq(&first.grants, &memory.share(mark, claims("bob")).grants));
    }

    #[test]
    fn when_the_keys_change_no_token_is_known() {
        let memory = Remembered::new(7);
        memory.put(memory.mark("a.b.c", 3), claims("alice"), NOW);
        for (generation, is_known) in [(2, false), (3, true), (4, false)] {
            let mark = memory.mark("a.b.c", generation);
            assert_eq!(memory.get(mark, NOW).is_some(), is_known, "{generation}");
        }
    }

    /// A token that expires in a minute, and has come into the older generation if `old`.
    fn shelf_with(mark: u128, old: bool) -> Shelf {
        let known = |user| Known { expires_s: NOW + 60, grants: Arc::default(), ..Known::of(claims(user)) };
        let mut shelf = Shelf::default();
        shelf.put(mark, known("alice"), NOW);
        for number in 0..if old { TOKENS_MAX as u128 } else { 0 } {
            shelf.put(number, known("bob"), NOW);
        }
        assert_eq!(
            (shelf.young.contains_key(&Place::of(mark)), shelf.old.contains_key(&Place::of(mark))),
            (!old, old)
        );
        shelf
    }

    #[test]
    fn a_token_expires_in_either_generation_and_is_not_taken_from_one_to_the_other_then() {
        for old in [false, true] {
            for (at_s, good) in
                [(NOW, true), (NOW + 59, true), (NOW + 60, false), (NOW + 61, false), (u64::MAX, false)]
            {
                let mut shelf = shelf_with(u128::MAX, old);
                assert_eq!(shelf.get(u128::MAX, at_s).is_some(), good, "old: {old}, {at_s}");
                // Once more: what was found is in the younger generation now.
                assert_eq!(shelf.get(u128::MAX, at_s).is_some(), good, "old: {old}, {at_s}, again");
                assert!(!old || shelf.young.contains_key(&Place::of(u128::MAX)) == good);
                assert!(shelf.get(u128::MAX, NOW + 60).is_none());
            }
        }
    }

    #[test]
    fn when_the_clock_goes_back_neither_generation_is_believed() {
        for old in [false, true] {
            let mut shelf = shelf_with(u128::MAX, old);
            assert!(shelf.get(0, NOW - 1).is_none());
            assert!(shelf.get(u128::MAX, NOW).is_none(), "old: {old}");
        }
    }

    #[test]
    fn when_the_clock_goes_back_all_are_verified_anew() {
        let memory = Remembered::new(7);
        memory.put(memory.mark("a.b.c", 0), claims("alice"), NOW);
        assert_eq!(user_of(&memory, "a.b.c", NOW - 1), None);
        assert_eq!(user_of(&memory, "a.b.c", NOW), None);
    }

    #[test]
    fn those_who_come_again_stay_and_the_others_are_forgotten() {
        let mut shelf = Shelf::default();
        let known = |user| Known { expires_s: NOW + 60, grants: Arc::default(), ..Known::of(claims(user)) };
        shelf.put(u128::MAX, known("alice"), NOW);
        for number in 0..4 * TOKENS_MAX as u128 {
            shelf.put(number, known("bob"), NOW);
            assert!(shelf.get(u128::MAX, NOW).is_some(), "after {number}");
            assert!(shelf.young.len() <= TOKENS_MAX && shelf.old.len() <= TOKENS_MAX);
        }
        assert!(shelf.get(0, NOW).is_none());
        assert!(shelf.get(4 * TOKENS_MAX as u128 - 1, NOW).is_some());
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let memory = Remembered::new(7);
        for number in 0..SHELVES * TOKENS_MAX {
            let patterns = (0..100).map(|channel| format!("room:{number}:{channel}")).collect();
            memory.put(
                memory.mark(&number.to_string(), 0),
                Claims { channels: Grant::of(patterns), ..claims("bob") },
                NOW,
            );
        }
        for shelf in &memory.shelves {
            let shelf = shelf.lock().unwrap();
            let bytes = |part: &HashMap<Place, Kept, AsIs>| part.values().map(Kept::bytes).sum::<usize>();
            assert!(
                bytes(&shelf.young) == shelf.bytes
                    && shelf.bytes <= TOKENS_MAX_BYTES
                    && bytes(&shelf.old) <= TOKENS_MAX_BYTES
            );
            assert!(shelf.young.len() + shelf.old.len() > 10);
        }
    }

    #[test]
    fn what_is_granted_to_all_users_is_kept_once() {
        let mut shelf = Shelf::default();
        let grants = |channels| Arc::new(Grants { channels, publish: Grant::none() });
        let known = |channels| Known {
            user: UserId::new("a").unwrap(),
            grants: grants(channels),
            expires_s: NOW + 60,
            token: TokenInfo::default(),
        };
        let first = shelf.put(1, known(Grant::all()), NOW);
        let second = shelf.put(2, known(Grant::all()), NOW);
        assert!(Arc::ptr_eq(&first.grants, &second.grants));
        assert_eq!(*shelf.put(3, known(Grant::none()), NOW).grants, *grants(Grant::none()));
    }
}
