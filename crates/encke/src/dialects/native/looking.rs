//! `GET /api/users/{user}/messages`: an operator looks on at what a user is given, in the forms of the
//! streams that clients have. Nothing is taken from the user by that.

use std::{borrow::Cow, fmt};

use encke_hub::Start;
use encke_proto::{Cursor, ErrorCode, Grant, Refusal, SessionId, Time, UserId};
use percent_encoding::percent_decode_str;
use utoipa::IntoParams;

use super::{
    Forms, NDJSON, SSE,
    query::{Form, pairs, read_cursor, read_start},
};
use crate::{
    admission::{Address, Admission, Admit, Endpoint, LooksOn, Method, Path, Verdict, Waiting},
    auth::{Credentials, KeyDigest},
    config::Scope,
    looks::Looks,
    random,
    transports::{ConnectionState, RequestState},
};

/// Around which name it stands.
const PATH: Path = Path::Around("/api/users/", "/messages");

/// Where operators ask to look on.
pub(super) struct LookingEndpoint {
    pub(super) admit: Admit,
    pub(super) looks: Looks,
}

impl fmt::Debug for LookingEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookingEndpoint")
    }
}

/// The query of an operator who looks on.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LookQuery<'a> {
    /// Where to begin: at the first message that the user was not handed when absent, at the oldest that is
    /// kept for `earliest`, or behind a cursor.
    #[param(value_type = Option<String>)]
    cursor: Cow<'a, str>,
    /// What a client that is no browser's EventSource sends in the place of `Last-Event-ID`.
    #[param(rename = "lastEventId", value_type = Option<String>)]
    last_event_id: Cow<'a, str>,
    /// `sse` or `ndjson`; without it `Accept` says which, and `sse` is the default.
    #[param(rename = "as", value_type = Option<String>, pattern = "^(sse|ndjson)$", example = "sse")]
    kind: Option<Cow<'a, str>>,
    /// The form of messages: `short` or `long`, which is the default.
    #[param(value_type = Option<String>, pattern = "^(long|short)$", example = "long")]
    form: Option<Cow<'a, str>>,
    /// Whether it holds a token or a key, which do not belong there.
    #[param(ignore)]
    token: bool,
}

impl<'a> LookQuery<'a> {
    fn read(text: &'a str) -> Result<Self, Refusal> {
        let mut query = Self::default();
        for (name, value) in pairs(text) {
            match name.as_ref() {
                "cursor" => query.cursor = value,
                "lastEventId" => query.last_event_id = value,
                "as" => query.kind = Some(value),
                "form" => query.form = Some(value),
                "token" | "access_token" | "jwt" | "api_key" => query.token = true,
                // A browser's cache is got around by a parameter that changes.
                "_" | "r" => {}
                other => return Err(bad(format!("there is no parameter {other:?} here"))),
            }
        }
        Ok(query)
    }

    /// The transports of what is asked for.
    fn forms(&self, accept: Option<&str>) -> Result<Forms, Refusal> {
        match self.kind.as_deref() {
            Some("sse") => Ok(SSE),
            Some("ndjson") => Ok(NDJSON),
            Some(_) => Err(bad("`as` has to be `sse` or `ndjson`".into())),
            None => {
                let takes = |kind| accept.is_some_and(|accept| accept.contains(kind));
                Ok(if takes("ndjson") && !takes("text/event-stream") { NDJSON } else { SSE })
            }
        }
    }
}

impl Endpoint for LookingEndpoint {
    fn address(&self) -> Address {
        Address { method: Method::Get, path: PATH, form: None, websocket: false }
    }

    fn is_for_operators(&self) -> bool {
        true
    }

    fn decide(&self, waiting: &Waiting<'_>, now: Time) -> Verdict {
        // Pages of other origins do not read what the server API answers.
        let request_state = RequestState { origin: None, ..self.admit.request_state(waiting) };
        match self.admit(waiting, request_state, now) {
            Ok(Some(admission)) => Verdict::Admitted(Box::new(admission)),
            Ok(None) => Verdict::StayAway(request_state),
            Err(refusal) => Verdict::Refused(refusal, request_state),
        }
    }
}

impl LookingEndpoint {
    fn admit(
        &self,
        waiting: &Waiting<'_>,
        request_state: RequestState,
        now: Time,
    ) -> Result<Option<Admission>, Refusal> {
        let query = LookQuery::read(waiting.query);
        let query_token = query.as_ref().is_ok_and(|query| query.token);
        let credentials =
            Credentials { authorization: waiting.authorization, query_token, ..Credentials::default() };
        let keys = self.admit.auth.api_keys();
        let allowed = self.admit.auth.operator(&credentials, Scope::Read, now)?;
        if let Some((name, per_s)) = keys.rate(allowed.key) {
            self.admit.rate_limits.api_request(&name, per_s, now)?;
        }
        let query = query?;
        let form = query.form.as_deref().map_or(Some(Form::Long), Form::read);
        let form = form.ok_or_else(|| bad("form is long or short".into()))?;
        let transport = query.forms(waiting.accept)?.of(form)?;
        let given = [waiting.last_event_id, Some(&*query.last_event_id)].into_iter().flatten();
        let start =
            match given.into_iter().find(|id| !Cursor::is_none_yet(id)).map(read_cursor).transpose()? {
                // A browser that came back by itself after the end.
                Some(cursor) if cursor.closed => return Ok(None),
                Some(cursor) => Start::Cursor(cursor),
                None => read_start(&query.cursor)?,
            };
        let user = user(waiting.path)?;
        let bits =
            random::pooled_bits().map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))?;
        let id = SessionId::from_bits(bits);
        let key = KeyDigest::of(credentials.bearer().unwrap_or_default());
        let place = self.looks.enter(id, user.clone(), key);
        let place = place.map_err(|full| Refusal::new(ErrorCode::Overloaded, full.to_string()))?;
        let name = keys.name(allowed.key).unwrap_or_else(|| "-".into());
        Ok(Some(Admission {
            transport,
            request_state,
            user,
            token_ends: allowed.until.unwrap_or(Time(0)),
            token: None,
            granted: Grant::none(),
            session: None,
            fresh: Some(id),
            lasting: false,
            start,
            device: None,
            channels: Vec::new(),
            // Freed with the connection.
            state: Some(Box::new(ConnectionState::Request(Box::new(place)))),
            ticket: None,
            looks_on: Some(LooksOn { key: name, generation: allowed.generation }),
        }))
    }
}

/// The user whom a path names.
fn user(path: &str) -> Result<UserId, Refusal> {
    let name = percent_decode_str(PATH.segment(path).unwrap_or_default()).decode_utf8();
    let bad = |message: String| Refusal::new(ErrorCode::BadName, message);
    let name = name.map_err(|_| bad("a name in a path has to be UTF-8, percent-encoded".into()))?;
    UserId::new(&name).map_err(|error| bad(error.to_string()))
}

fn bad(message: String) -> Refusal {
    Refusal::new(ErrorCode::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_said_by_the_query_or_else_by_the_head() {
        let name = |query, accept| {
            let forms = LookQuery::read(query).unwrap().forms(accept);
            forms.and_then(|forms| forms.of(Form::Long)).map(|transport| transport.name())
        };
        for (query, accept, expected) in [
            ("", None, "sse"),
            ("", Some("*/*"), "sse"),
            ("", Some("text/event-stream"), "sse"),
            ("", Some("application/x-ndjson"), "ndjson"),
            ("", Some("application/x-ndjson, text/event-stream"), "sse"),
            ("as=ndjson", Some("text/event-stream"), "ndjson"),
            ("as=sse", Some("application/x-ndjson"), "sse"),
        ] {
            assert_eq!(name(query, accept).ok(), Some(expected), "{query} {accept:?}");
        }
        assert!(name("as=iframe", None).is_err());
        for query in ["session=a", "channels=news", "hold_s=1", "ticket=a", "after=1"] {
            assert_eq!(LookQuery::read(query).unwrap_err().code, ErrorCode::BadRequest, "{query}");
        }
    }

    #[test]
    fn the_user_stands_in_the_path() {
        let at = |path| user(path).map(|user| user.as_str().to_owned()).map_err(|refusal| refusal.code);
        assert_eq!(at("/api/users/alice/messages"), Ok("alice".to_owned()));
        assert_eq!(at("/api/users/%C3%BC%2Fa/messages"), Ok("ü/a".to_owned()));
        for path in ["/api/users//messages", "/api/users/%00/messages", "/api/users/%FF/messages"] {
            assert_eq!(at(path), Err(ErrorCode::BadName), "{path}");
        }
    }
}
