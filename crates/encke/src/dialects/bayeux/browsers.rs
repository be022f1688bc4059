//! How many connects of one browser are held: over HTTP/1.1 a browser opens six connections to a host and no
//! more, for all of its pages together, so that some have to stay free for everything else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use encke_proto::SessionId;

use crate::auth::values;

/// The cookie that tells browsers apart; it proves nothing.
const COOKIE: &str = "BAYEUX_BROWSER";
/// The most connects of one browser that are held at a time.
const HELD_MAX: u32 = 4;

/// The counts of browsers that have a connect held.
#[derive(Clone, Debug, Default)]
pub(super) struct Browsers(Arc<Mutex<HashMap<SessionId, u32>>>);

/// A connect that is held. It counts until this is dropped, with the connection at the latest.
#[derive(Debug)]
pub(super) struct Held {
    browsers: Browsers,
    browser: SessionId,
}

impl Browsers {
    /// Counts one more connect of a browser; none if it has as many as it may.
    pub(super) fn hold(&self, browser: SessionId) -> Option<Held> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(browser).or_default();
        if *count >= HELD_MAX {
            return None;
        }
        *count += 1;
        Some(Held { browsers: self.clone(), browser })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = self.browsers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.browser) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.browser);
            }
        }
    }
}

/// The browser that a request comes from, if it has said so before.
pub(super) fn of(cookies: Option<&str>) -> Option<SessionId> {
    values(cookies?, COOKIE).find_map(|value| value.parse().ok())
}

/// What lets a browser say so from now on.
pub(super) fn cookie(browser: SessionId, is_https: bool) -> String {
    let secure = if is_https { "; Secure" } else { "" };
    format!("{COOKIE}={browser}; Path=/; HttpOnly; SameSite=Lax{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_has_so_many_connects_held_and_each_counts_until_it_is_dropped() {
        let (browsers, one) = (Browsers::default(), SessionId::from_bits(1));
        let mut held: Vec<Held> = (0..HELD_MAX).map(|_| browsers.hold(one).unwrap()).collect();
        assert!(browsers.hold(one).is_none());
        assert!(browsers.hold(SessionId::from_bits(2)).is_some(), "it is another's");
        held.pop();
        held.push(browsers.hold(one).unwrap());
        assert!(browsers.hold(one).is_none());
        drop(held);
        assert!(browsers.0.lock().unwrap().is_empty(), "nothing is left");
    }

    #[test]
    fn its_cookie_is_read_as_it_was_written() {
        let browser = SessionId::from_bits(7);
        let written = cookie(browser, true);
        assert_eq!(of(Some(&format!("a=1; {}", written.split(';').next().unwrap()))), Some(browser));
        assert!(written.ends_with("; Secure") && !cookie(browser, false).contains("Secure"));
        assert_eq!((of(None), of(Some("BAYEUX_BROWSER=short"))), (None, None));
    }
}
