//! The query of a native request that waits: read strictly, so that nothing that is meant is passed over.

use std::borrow::Cow;

use encke_hub::Start;
use encke_proto::{
    ChannelName, Cursor, DeviceName, ErrorCode, Refusal, SessionId, limits::SESSION_MAX_CHANNELS,
};
use percent_encoding::percent_decode_str;
use utoipa::IntoParams;

pub(super) fn read_cursor(text: &str) -> Result<Cursor, Refusal> {
    Cursor::parse(text).map_err(|error| Refusal::new(ErrorCode::BadCursor, error.to_string()))
}

pub(super) fn read_start(text: &str) -> Result<Start, Refusal> {
    match text {
        "earliest" => Ok(Start::Earliest),
        text if Cursor::is_none_yet(text) => Ok(Start::Absent),
        text => Ok(Start::Cursor(Cursor { closed: false, ..read_cursor(text)? })),
    }
}

/// The form of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Long,
    Short,
}

impl Form {
    pub(super) fn read(text: &str) -> Option<Self> {
        match text {
            "long" => Some(Self::Long),
            "short" => Some(Self::Short),
            _ => None,
        }
    }
}

/// The query of a request that waits.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Query<'a> {
    /// Where to go on; `earliest` for the oldest that is kept.
    #[param(rename = "cursor", value_type = Option<String>)]
    pub(super) start: Start,
    /// What a client that is no browser's EventSource sends in the place of `Last-Event-ID`, unread.
    #[param(rename = "lastEventId", value_type = Option<String>)]
    pub(super) last_event_id: Cow<'a, str>,
    /// Continue this session.
    #[param(value_type = Option<String>)]
    pub(super) session: Option<SessionId>,
    /// A name for the device, which then has a place of its own in the user's channel.
    #[param(value_type = Option<String>, min_length = 1, max_length = 64, example = "phone")]
    pub(super) device: Option<DeviceName>,
    /// Subscribe to these too, separated by commas.
    #[param(value_type = Option<String>)]
    pub(super) channels: Vec<ChannelName>,
    /// A poll waits at most this long, in seconds.
    pub(super) hold_s: Option<u32>,
    /// The form of messages: `short` or `long`, which is the default.
    #[param(value_type = Option<String>, pattern = "^(long|short)$", example = "long")]
    pub(super) form: Form,
    /// From `POST /v1/ticket`.
    pub(super) ticket: Option<String>,
    /// The origin of the page that embeds the stream, as `iframe`; the server's own when absent.
    #[param(rename = "origin")]
    pub(super) embedder: Option<String>,
    /// Whether it holds a token, which does not belong there.
    #[param(ignore)]
    pub(super) token: bool,
}

impl<'a> Query<'a> {
    /// What says nothing.
    fn empty() -> Self {
        Self {
            start: Start::Absent,
            last_event_id: Cow::Borrowed(""),
            session: None,
            device: None,
            channels: Vec::new(),
            hold_s: None,
            form: Form::Long,
            ticket: None,
            embedder: None,
            token: false,
        }
    }

    pub(super) fn read(text: &'a str) -> Result<Self, Refusal> {
        let bad = |message: String| Refusal::new(ErrorCode::BadRequest, message);
        let mut query = Self::empty();
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
                "device" => {
                    let name = DeviceName::new(&value);
                    query.device =
                        Some(name.map_err(|error| Refusal::new(ErrorCode::BadName, error.to_string()))?);
                    1 << 7
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
                "form" => {
                    query.form = Form::read(&value).ok_or_else(|| bad("form is long or short".into()))?;
                    1 << 6
                }
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
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    // All bytes are looked at whatever the first of them are, so that many are compared at a time.
    let is_encoded = text.bytes().fold(false, |found, byte| found | matches!(byte, b'%' | b'+'));
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches('&');
        let (pair, more) = rest.split_at(rest.bytes().position(|byte| byte == b'&').unwrap_or(rest.len()));
        rest = more;
        if is_encoded {
            return form_urlencoded::parse(pair.as_bytes()).next();
        }
        let equals = pair.bytes().position(|byte| byte == b'=');
        let (name, value) = equals.map_or((pair, ""), |at| (&pair[..at], &pair[at + 1..]));
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
        for name in ["cursor", "session", "device", "hold_s", "ticket", "as", "origin", "form"] {
            for (first, second) in [("", ""), ("1~0", ""), ("", "1~0"), ("7", "7"), ("short", "long")] {
                let parts = [format!("{name}={first}"), format!("{name}={second}")].join("&channels=a&");
                // What is wrong by itself is refused for that.
                if [first, second].iter().any(|value| Query::read(&format!("{name}={value}")).is_err()) {
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
            ("form=", ErrorCode::BadRequest),
            ("form=Short", ErrorCode::BadRequest),
            ("colour=red", ErrorCode::BadRequest),
            ("device=", ErrorCode::BadName),
            ("device=%20", ErrorCode::BadName),
            ("device=a%00", ErrorCode::BadName),
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
