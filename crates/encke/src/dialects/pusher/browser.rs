//! By what a browser is known again: a cookie of the application, which the change of protocol sets. It
//! proves nothing, and cannot be guessed.

use encke_proto::{ChannelName, SessionId};

use super::{SOCKETS, application::Application, place_records};
use crate::{
    admission::Waiting,
    auth::{Credentials, values},
    http::refusal::Refused,
    random,
};

const COOKIE: &str = "PUSHER_BROWSER";

/// A browser, as far as a connection shows it.
#[derive(Debug)]
pub(super) struct Browser {
    /// Where its places are kept.
    pub(super) log: ChannelName,
    /// What the change of protocol sets for one that was not here before, or keeps no cookies.
    pub(super) cookie: Option<String>,
}

impl Browser {
    /// The one that asks; none of what is no browser. Pages of other origins are others, also for
    /// the same person.
    pub(super) fn of(application: &Application, waiting: &Waiting<'_>) -> Result<Option<Self>, Refused> {
        let Some(origin) = waiting.origin else { return Ok(None) };
        let cookies = waiting.cookie.as_deref().unwrap_or_default();
        let known = values(cookies, COOKIE).find_map(|value| value.parse::<SessionId>().ok());
        let id = match known {
            Some(id) => id,
            None => SessionId::from_bits(random::bits()?),
        };
        let credentials = Credentials { forwarded_proto: waiting.forwarded_proto, ..Credentials::default() };
        let cookie = known.is_none().then(|| cookie(application, id, credentials.is_https()));
        let log = place_records::log(application, &["browser", id.text().as_str(), origin]);
        Ok(Some(Self { log, cookie }))
    }
}

fn cookie(application: &Application, id: SessionId, is_https: bool) -> String {
    // Pages of other sites have it with them as well, which browsers allow by https alone.
    let site = if is_https { "None; Secure" } else { "Lax" };
    let key = &application.settings.key;
    format!("{COOKIE}={id}; Path={SOCKETS}{key}; HttpOnly; SameSite={site}")
}
