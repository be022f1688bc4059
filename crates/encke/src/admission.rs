//! Admission: whether a request that waits may: who it is, where it wants to go on, and whether that is
//! granted.

use std::{borrow::Cow, sync::Arc};

use encke_hub::Start;
use encke_proto::{
    ChannelName, Cursor, ErrorCode, Refusal, SessionId, Time, UserId, codec::ws::Rejection,
    limits::SESSION_MAX_CHANNELS,
};

use percent_encoding::percent_decode_str;
use utoipa::IntoParams;

use crate::{
    auth::{Authenticator, Credentials, Identity},
    connection::head::Waiting,
    stopping::Stopping,
    transports::{Duplex, RequestState, Transport},
};

/// What an admitted request wants.
#[derive(Debug)]
pub struct Admission {
    /// How it is served.
    pub transport: &'static dyn Transport,
    /// What the table keeps of it.
    pub request_state: RequestState,
    /// Who it is.
    pub user: UserId,
    /// When its token ends.
    pub token_ends: Time,
    /// The session that it wants to continue.
    pub session: Option<SessionId>,
    /// The id of a new session; none lets the shard throw dice.
    pub fresh: Option<SessionId>,
    /// Whether a new session outlives its connection. See [`encke_hub::Attach::lasting`].
    pub lasting: bool,
    /// Where it wants to go on.
    pub start: Start,
    /// What it wants to follow besides.
    pub channels: Vec<ChannelName>,
    /// What is kept of its client, if the connection is duplex.
    pub duplex: Option<Box<Duplex>>,
    /// The ticket that is to be spent before it is served, so that no other node takes it.
    pub ticket: Option<String>,
}

/// What becomes of a request that wants to wait.
#[derive(Debug)]
pub enum Verdict {
    /// It may.
    Admitted(Box<Admission>),
    /// It may not; the origin says whether its page may read why.
    Refused(Refusal, RequestState),
    /// It is a browser that came back by itself after a close on purpose: 204 makes it stay away.
    StayAway(RequestState),
}

/// Decides on requests that want to wait.
#[derive(Clone, Debug)]
pub struct Admit {
    /// Who is who.
    pub auth: Arc<Authenticator>,
    /// Whether the server stops.
    pub stopping: Stopping,
    /// Origins that pages may come from besides the server's own.
    pub origins: Arc<[String]>,
    /// How long a poll waits at most, in seconds.
    pub hold_s: u64,
    /// Whether messages over WebSocket may be compressed.
    pub compression: bool,
}

impl Admit {
    /// The origin, if its pages may read answers.
    #[must_use]
    pub fn readable_by(&self, origin: Option<&str>) -> Option<&str> {
        self.origins.iter().map(String::as_str).find(|allowed| Some(*allowed) == origin)
    }

    /// Decides on one.
    #[must_use]
    pub fn decide(&self, waiting: &Waiting<'_>, now: Time) -> Verdict {
        let origin =
            waiting.origin.and_then(|origin| self.origins.iter().position(|allowed| allowed == origin));
        let mut request_state = RequestState {
            hold_s: u32::try_from(self.hold_s).unwrap_or(u32::MAX),
            origin: origin.and_then(|number| u16::try_from(number).ok()),
            keep_alive: waiting.keep_alive,
            plain: waiting.http_10,
            began: false,
            tally: 0,
            nonce: [0; 8],
            embedder: None,
        };
        match self.admit(waiting, &mut request_state, now) {
            Ok(Some(admission)) => Verdict::Admitted(Box::new(admission)),
            Ok(None) => Verdict::StayAway(request_state),
            Err(refusal) => Verdict::Refused(refusal, request_state),
        }
    }

    fn admit(
        &self,
        waiting: &Waiting<'_>,
        request_state: &mut RequestState,
        now: Time,
    ) -> Result<Option<Admission>, Refusal> {
        if self.stopping.has_begun() {
            return Err(Refusal::new(ErrorCode::ShuttingDown, "the server stops"));
        }
        let query = Query::read(waiting.query)?;
        let opening = waiting
            .handshake
            .as_ref()
            .map(|handshake| handshake.check("GET", !waiting.http_10))
            .transpose()
            .map_err(rejected)?;
        let is_duplex = opening.is_some();
        let credentials = Credentials {
            authorization: waiting.authorization,
            cookie: waiting.cookie.as_deref().map(Cow::Borrowed),
            ticket: query.ticket.as_deref(),
            query_token: query.token,
            origin: waiting.origin,
            // Every browser says where the page is from that opens a WebSocket (RFC 6455 section 4.1);
            // nothing else will do.
            sec_fetch_site: waiting.sec_fetch_site.filter(|_| !is_duplex),
            host: waiting.host,
            forwarded_proto: waiting.forwarded_proto,
            changes: is_duplex,
        };
        if is_duplex && !self.auth.own_or_allowed(&credentials) {
            return Err(Refusal::new(
                ErrorCode::OriginForbidden,
                "pages of this origin may not open a WebSocket here",
            ));
        }
        let identity = self.auth.identify(&credentials, now)?;
        let ticket = self.auth.to_be_spent(&credentials, now);
        if let Some(embedder) = query.embedder.as_deref() {
            request_state.embedder = self.embedder(embedder, waiting)?;
        }
        if let Some(hold_s) = query.hold_s {
            request_state.hold_s = request_state.hold_s.min(hold_s);
        }
        // The one that wins is read alone, so that nothing needs to be right in the other.
        let given = [waiting.last_event_id, Some(&*query.last_event_id)]
            .into_iter()
            .flatten()
            .find(|id| !Cursor::is_none_yet(id));
        let start = match given.map(read_cursor).transpose()? {
            Some(cursor) if cursor.closed => return Ok(None),
            Some(cursor) => Start::Cursor(cursor),
            None => query.start,
        };
        if let Start::Cursor(cursor) = &start {
            granted(&identity, cursor.entries.iter().map(|(channel, _)| channel))?;
        }
        granted(&identity, &query.channels)?;
        let (user, token_ends) = (identity.user.clone(), identity.expires);
        let duplex = opening.map(|opening| {
            let compression = opening.compression.filter(|_| self.compression);
            Box::new(Duplex::new(identity, opening.accept, compression))
        });
        let (session, channels) = (query.session, query.channels);
        let (transport, request_state) = (waiting.transport, *request_state);
        Ok(Some(Admission {
            transport,
            request_state,
            user,
            token_ends,
            session,
            fresh: None,
            lasting: true,
            start,
            channels,
            duplex,
            ticket,
        }))
    }
}

impl Admit {
    /// The number of the origin of a page that embeds a stream; none when it is the server's own.
    fn embedder(&self, origin: &str, waiting: &Waiting<'_>) -> Result<Option<u16>, Refusal> {
        if let Some(number) = self.origins.iter().position(|allowed| allowed == origin) {
            return Ok(u16::try_from(number).ok());
        }
        let host = waiting.host.unwrap_or_default();
        if ["http://", "https://"].iter().any(|scheme| origin.strip_prefix(scheme) == Some(host)) {
            return Ok(None);
        }
        Err(Refusal::new(ErrorCode::OriginForbidden, "pages of this origin may not embed the stream"))
    }
}

fn granted<'a>(
    identity: &Identity,
    channels: impl IntoIterator<Item = &'a ChannelName>,
) -> Result<(), Refusal> {
    match channels.into_iter().find(|channel| !identity.may_subscribe(channel)) {
        Some(channel) => Err(Refusal::new(
            ErrorCode::ChannelForbidden,
            format!("the token does not grant the channel {:?}", channel.as_str()),
        )),
        None => Ok(()),
    }
}

fn rejected(rejection: Rejection) -> Refusal {
    let code = if rejection.status() == 426 { ErrorCode::UpgradeRequired } else { ErrorCode::BadRequest };
    Refusal::new(code, rejection.to_string())
}

fn read_cursor(text: &str) -> Result<Cursor, Refusal> {
    Cursor::parse(text).map_err(|error| Refusal::new(ErrorCode::BadCursor, error.to_string()))
}

fn read_start(text: &str) -> Result<Start, Refusal> {
    match text {
        "earliest" => Ok(Start::Earliest),
        text if Cursor::is_none_yet(text) => Ok(Start::Absent),
        text => Ok(Start::Cursor(Cursor { closed: false, ..read_cursor(text)? })),
    }
}

/// The query of a request that waits.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Query<'a> {
    /// Where to go on; `earliest` for the oldest that is kept.
    #[param(rename = "cursor", value_type = Option<String>)]
    start: Start,
    /// What a client that is no browser's EventSource sends in the place of `Last-Event-ID`, unread.
    #[param(rename = "lastEventId", value_type = Option<String>)]
    last_event_id: Cow<'a, str>,
    /// Continue this session.
    #[param(value_type = Option<String>)]
    session: Option<SessionId>,
    /// Subscribe to these too, separated by commas.
    #[param(value_type = Option<String>)]
    channels: Vec<ChannelName>,
    /// A poll waits at most this long, in seconds.
    hold_s: Option<u32>,
    /// From `POST /v1/ticket`.
    ticket: Option<String>,
    /// The origin of the page that embeds the stream, as `iframe`; the server's own when absent.
    #[param(rename = "origin")]
    embedder: Option<String>,
    /// Whether it holds a token, which does not belong there.
    #[param(ignore)]
    token: bool,
}

impl<'a> Query<'a> {
    fn read(text: &'a str) -> Result<Self, Refusal> {
        let bad = |message: String| Refusal::new(ErrorCode::BadRequest, message);
        let mut query = Self {
            start: Start::Absent,
            last_event_id: Cow::Borrowed(""),
            session: None,
            channels: Vec::new(),
            hold_s: None,
            ticket: None,
            embedder: None,
            token: false,
        };
        // A bit for each parameter that says one thing, so that only one of it can be meant.
        let mut seen = 0_u8;
        for (name, value) in pairs(text) {
            let single = match name.as_ref() {
                "cursor" => {
                    query.start = read_start(&value)?;
                    1
                }
                "session" => {
                    // An id of another form is one that the server does not know, like any other.
                    query.session = value.parse().ok();
                    1 << 1
                }
                "hold_s" => {
                    query.hold_s =
                        Some(value.parse().map_err(|_| bad("hold_s is a whole number of seconds".into()))?);
                    1 << 2
                }
                "lastEventId" => {
                    // Libraries put it behind the address once more at each reconnect, so the last one
                    // counts.
                    query.last_event_id = value;
                    0
                }
                "ticket" => {
                    query.ticket = Some(value.into_owned());
                    1 << 3
                }
                "as" => 1 << 4,
                "origin" => {
                    query.embedder = Some(value.into_owned());
                    1 << 5
                }
                "channels" => {
                    read_channels(&value, &mut query.channels)?;
                    0
                }
                "token" | "access_token" | "jwt" => {
                    query.token = true;
                    0
                }
                // A browser's cache is got around by a parameter that changes; some EventSource libraries
                // call it `r`.
                "_" | "r" => 0,
                other => return Err(bad(format!("there is no parameter {other:?} here"))),
            };
            if seen & single != 0 {
                return Err(bad(format!("the parameter {name:?} is there twice")));
            }
            seen |= single;
        }
        Ok(query)
    }
}

/// The parameters of a query, decoded. What is not encoded is not copied, and found the simple way: a poll's
/// are few and short, and come again and again.
fn pairs(text: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches('&');
        let end = rest.bytes().position(|byte| byte == b'&').unwrap_or(rest.len());
        let (pair, more) = rest.split_at(end);
        rest = more;
        if pair.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
            return form_urlencoded::parse(pair.as_bytes()).next();
        }
        let (name, value) = match pair.bytes().position(|byte| byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, ""),
        };
        (!pair.is_empty()).then_some((Cow::Borrowed(name), Cow::Borrowed(value)))
    })
}

/// Reads a list of channels, and adds what is new. Commas part the names, so a name that holds one is
/// percent-encoded in the list, which is percent-encoded again in the query.
fn read_channels(list: &str, channels: &mut Vec<ChannelName>) -> Result<(), Refusal> {
    for name in list.split(',').filter(|name| !name.is_empty()) {
        let decoded = percent_decode_str(name).decode_utf8_lossy();
        let channel = ChannelName::public(&decoded)
            .map_err(|error| Refusal::new(ErrorCode::BadName, error.to_string()))?;
        if !channels.contains(&channel) {
            channels.push(channel);
        }
        if channels.len() > SESSION_MAX_CHANNELS {
            return Err(Refusal::new(
                ErrorCode::TooManyChannels,
                format!("a session may follow at most {SESSION_MAX_CHANNELS} channels"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_parted_by_commas_however_the_query_is_encoded() {
        for text in [
            "channels=a,b%252Cc,a%3Db,,%C3%BC&hold_s=3&_=17",
            "channels=a%2Cb%252Cc%2Ca%3Db%2C%C3%BC&hold_s=3",
        ] {
            let query = Query::read(text).unwrap();
            let names: Vec<&str> = query.channels.iter().map(ChannelName::as_str).collect();
            assert_eq!((names, query.hold_s), (vec!["a", "b,c", "a=b", "ü"], Some(3)));
        }
    }

    #[test]
    fn a_list_may_come_in_parts_and_nothing_else_may_come_twice() {
        let query = Query::read("channels=a&channels=b,c&channels=&channels=a%2Cd&_=1&_=2").unwrap();
        assert_eq!(query.channels.iter().map(ChannelName::as_str).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        for name in ["cursor", "session", "hold_s", "ticket", "as", "origin"] {
            for (first, second) in [("", ""), ("1~0", ""), ("", "1~0"), ("7", "7")] {
                let parts = [format!("{name}={first}"), format!("{name}={second}")].join("&channels=a&");
                // What is wrong by itself is refused for that.
                if Query::read(&format!("{name}={first}")).is_err() {
                    continue;
                }
                let refusal = Query::read(&parts).unwrap_err();
                assert_eq!(refusal.code, ErrorCode::BadRequest, "{parts}");
                assert!(
                    refusal.message.contains(&format!("{name:?} is there twice")),
                    "{parts}: {}",
                    refusal.message
                );
            }
        }
        let many = |from: usize, to: usize| (from..to).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert!(Query::read(&format!("channels={}&channels={}", many(0, 64), many(64, 128))).is_ok());
        let refusal =
            Query::read(&format!("channels={}&channels={}", many(0, 64), many(64, 129))).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::TooManyChannels);
    }

    #[test]
    fn what_scripts_send_that_have_no_cursor_yet_is_none() {
        for text in [
            "cursor=",
            "cursor",
            "cursor=null",
            "cursor=undefined",
            "cursor=0",
            "lastEventId=",
            "lastEventId=0",
            "lastEventId=null",
        ] {
            let query = Query::read(text).unwrap();
            assert!(
                matches!(query.start, Start::Absent) && Cursor::is_none_yet(&query.last_event_id),
                "{text}"
            );
        }
        // Libraries add the id at each reconnect, and `r` against caches.
        let query =
            Query::read("lastEventId=nonsense&r=0.5&cursor=1~k~@a~3&lastEventId=1~k~@a~7~closed&r=0.7")
                .unwrap();
        assert!(query.last_event_id == "1~k~@a~7~closed" && matches!(query.start, Start::Cursor(_)));
        for text in ["cursor=nul", "cursor=00"] {
            assert_eq!(Query::read(text).unwrap_err().code, ErrorCode::BadCursor, "{text}");
        }
    }

    #[test]
    fn parameters_are_what_the_standard_says() {
        for text in
            ["", "a", "=", "&&a=1&", "a=b=c&a&=x", "a+b=c%20d&%C3%BC=+&x=%zz", "ü=ü&a=%26&b", "=&=", "a%3Db"]
        {
            assert_eq!(
                pairs(text).collect::<Vec<_>>(),
                form_urlencoded::parse(text.as_bytes()).collect::<Vec<_>>(),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, code) in [
            ("cursor=nonsense", ErrorCode::BadCursor),
            ("hold_s=-1", ErrorCode::BadRequest),
            ("hold_s=1.5", ErrorCode::BadRequest),
            ("colour=red", ErrorCode::BadRequest),
            ("channels=@bob", ErrorCode::BadName),
            ("channels=a%00", ErrorCode::BadName),
        ] {
            assert_eq!(Query::read(text).unwrap_err().code, code, "{text}");
        }
        let many: Vec<String> = (0..129).map(|n| n.to_string()).collect();
        assert_eq!(
            Query::read(&format!("channels={}", many.join(","))).unwrap_err().code,
            ErrorCode::TooManyChannels
        );
    }
}
