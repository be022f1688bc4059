//! A connect: what a client asks to be told with, and the reply that ends it.

use std::sync::Arc;

use encke_proto::{
    Close, CloseCode, ErrorCode, Expiring, Time,
    codec::bayeux::{Advice, Message, Reconnect, Reply, ReplyExt, TimeSync},
};
use serde_json::value::RawValue;

use super::{server::Server, session::Session, timesync};

pub(super) const CHANNEL: &str = "/meta/connect";
/// The transport whose connects are answered at once, since its events have a stream of their own.
const EVENT_SOURCE: &str = "eventsource";
/// When a client comes back that could not be served now, in milliseconds.
const LATER_MS: u64 = 2_000;

/// In how many milliseconds at most a token ends that ends soon.
const SOON_MS: u64 = 60_000;

/// A connect that is not answered yet.
#[derive(Debug)]
pub(super) struct Connect {
    pub(super) session: Arc<Session>,
    /// The last batch that its client has received.
    pub(super) acknowledged: Option<u64>,
    /// The token that it brings, if it brings one.
    pub(super) token: Option<String>,
    /// Whether it came alone: others want their answers now.
    pub(super) is_alone: bool,
    /// For how long it may be held, if it says so.
    pub(super) timeout_ms: Option<u64>,
    /// Whether events come over a stream of their own.
    pub(super) has_stream: bool,
    pub(super) asked: Asked,
}

/// What its reply repeats, and depends on.
#[derive(Debug)]
pub(super) struct Asked {
    session: Arc<Session>,
    id: Option<Box<RawValue>>,
    timesync: Option<Box<TimeSync>>,
    received: Time,
}

impl Connect {
    pub(super) fn of(message: &Message, session: Arc<Session>, is_alone: bool, received: Time) -> Self {
        let ext = message.ext();
        let asked = Asked {
            session: Arc::clone(&session),
            id: message.id.clone(),
            timesync: ext.timesync.map(Box::new),
            received,
        };
        Self {
            session,
            acknowledged: ext.batch(),
            token: ext.token,
            is_alone,
            timeout_ms: message.timeout_ms(),
            has_stream: message.connection_type.as_deref() == Some(EVENT_SOURCE),
            asked,
        }
    }

    /// For how long it is held, in milliseconds: not at all when others wait with it, or when it is the first
    /// of its session, by whose answer clients know that they are connected.
    pub(super) fn hold_ms(&self, is_first: bool, timeout_ms: u64) -> u64 {
        if !self.is_alone || is_first || self.has_stream {
            return 0;
        }
        self.timeout_ms.unwrap_or(timeout_ms).min(timeout_ms)
    }
}

/// Whether a message is a connect that is answered where it came, and not beside a stream, which may be at
/// another node.
pub(super) fn is_for_here(message: &Message) -> bool {
    message.channel == CHANNEL && message.connection_type.as_deref() != Some(EVENT_SOURCE)
}

/// The reply to a connect beside a stream of events.
pub(super) fn beside_stream(server: &Server, connect: &Connect) -> Reply {
    server.touch(&connect.session);
    connect.session.connect_beside_stream();
    connect.asked.done_by_stream(server.timeout_ms(), server.app.now().wall)
}

impl Asked {
    /// That it is over, with the number of the batch that ends with it. It is to be held for `timeout_ms` the
    /// next time.
    pub(super) fn done(&self, timeout_ms: u64, batch: Option<u64>, now: Time) -> Reply {
        self.advised(Advice::retry(timeout_ms), batch, now)
    }

    /// The same for a client whose events come over a stream: it need not ask again so soon.
    pub(super) fn done_by_stream(&self, timeout_ms: u64, now: Time) -> Reply {
        let advice = Advice { interval: timeout_ms, timeout: 0, ..Advice::retry(timeout_ms) };
        self.advised(advice, None, now)
    }

    /// The same for a connect that was not held, since its browser has others that are.
    pub(super) fn one_of_many(&self, timeout_ms: u64, batch: Option<u64>, now: Time) -> Reply {
        let advice = Advice { interval: LATER_MS, multiple_clients: true, ..Advice::retry(timeout_ms) };
        self.advised(advice, batch, now)
    }

    /// Why the service of its session has ended.
    pub(super) fn closed(&self, close: &Close, timeout_ms: u64, now: Time) -> Reply {
        let failed = |error: String, reconnect| {
            Reply::failed(CHANNEL, self.id.clone(), error).advised(Advice::to(reconnect, timeout_ms))
        };
        match close.code {
            CloseCode::Client => self.advised(Advice::to(Reconnect::None, timeout_ms), None, now),
            // The session goes on; only this server does not.
            CloseCode::Shutdown | CloseCode::Recycle | CloseCode::Slow => {
                let interval = close.retry_ms.unwrap_or(LATER_MS);
                self.advised(Advice { interval, ..Advice::retry(timeout_ms) }, None, now)
            }
            CloseCode::TokenExpired => failed("401::token_expired".into(), Reconnect::Handshake),
            // Its client may have another token by now. With this one its handshake is refused for good.
            CloseCode::Revoked => failed("401::revoked".into(), Reconnect::Handshake),
            CloseCode::Banned => failed("403::banned".into(), Reconnect::Handshake),
            _ if close.reconnect => failed("402::session_unknown".into(), Reconnect::Handshake),
            _ => failed(format!("403:{}:session_closed", argument(&close.reason)), Reconnect::None),
        }
    }

    /// What becomes of a connect that the hub does not serve. One whose session has no place in a channel is
    /// over, and the session goes on without that; its reply says so. One that is over for good takes the
    /// session with it. None is said of what passes soon.
    pub(super) fn unserved(&self, code: ErrorCode, server: &Arc<Server>, now: Time) -> Option<Reply> {
        let timeout_ms = server.timeout_ms();
        if code == ErrorCode::ChannelFull && server.leave_bounded(&self.session) {
            let batch = self.session.sent_nothing();
            return Some(self.done(timeout_ms, self.session.acks.then_some(batch), now));
        }
        if is_over(code) {
            server.forget(&self.session);
        }
        self.refused(code, timeout_ms)
    }

    /// Why the hub does not serve its session; none for what passes soon, which is a failure of the transport
    /// that clients slow down after. What lasts would be a failure without an end, so they begin anew without
    /// what they may not have: their subscription to that is refused then.
    fn refused(&self, code: ErrorCode, timeout_ms: u64) -> Option<Reply> {
        let reconnect = match code {
            ErrorCode::SessionUnknown | ErrorCode::SessionClosed => return Some(self.unknown(timeout_ms)),
            ErrorCode::RateLimited => Reconnect::Retry,
            _ if code.status() >= 500 => return None,
            _ => Reconnect::Handshake,
        };
        let advice = Advice { interval: LATER_MS, ..Advice::to(reconnect, timeout_ms) };
        let error = format!("{}::{}", code.status(), code.as_str());
        Some(Reply::failed(CHANNEL, self.id.clone(), error).advised(advice))
    }

    /// That its session is not there any more.
    pub(super) fn unknown(&self, timeout_ms: u64) -> Reply {
        Reply::failed(CHANNEL, self.id.clone(), "402::session_unknown")
            .advised(Advice::to(Reconnect::Handshake, timeout_ms))
    }

    /// That the token of the session ends soon, if it does: in each reply, since one may be lost.
    fn expiring(&self, now: Time) -> Option<Expiring> {
        let left_ms = self.session.owner().identity.expires.0.checked_sub(now.0)?;
        (left_ms <= SOON_MS).then_some(Expiring { in_s: left_ms / 1000 })
    }

    fn advised(&self, advice: Advice, batch: Option<u64>, now: Time) -> Reply {
        let timesync = self.timesync.as_deref().map(|asked| timesync::reply(*asked, self.received, now));
        let (expiring, unsubscribed) = (self.expiring(now), self.session.tell_lost(batch));
        let ext = ReplyExt { ack: batch.map(Into::into), timesync, expiring, unsubscribed };
        Reply::done(CHANNEL, self.id.clone()).advised(advice).extended(ext)
    }
}

/// The reply to a connect whose client has to come back later, since something here is not at work.
pub(super) fn later(message: &Message, code: ErrorCode, timeout_ms: u64) -> Reply {
    let advice = Advice { interval: LATER_MS, ..Advice::retry(timeout_ms) };
    Reply::failed(CHANNEL, message.id.clone(), format!("{}::{}", code.status(), code.as_str()))
        .advised(advice)
}

/// Whether a session that the hub does not serve for this reason is over.
pub(super) fn is_over(code: ErrorCode) -> bool {
    code.status() < 500 && code != ErrorCode::RateLimited
}

/// A text as an argument of an error, which is parted from others by colons and commas.
fn argument(text: &str) -> String {
    text.replace([':', ','], " ")
}

#[cfg(test)]
mod tests {
    use encke_proto::{SessionId, TokenInfo, UserId, codec::bayeux::read};
    use serde_json::{Value, json};

    use super::*;
    use crate::auth::{Authenticated, Grants, Identity};

    fn connect(text: &str, is_alone: bool) -> Connect {
        connect_until(text, is_alone, Time(0))
    }

    /// One of a session whose token ends then.
    fn connect_until(text: &str, is_alone: bool, expires: Time) -> Connect {
        let identity = Identity {
            user: UserId::new("alice").unwrap(),
            grants: Grants::default().into(),
            expires,
            by_cookie: false,
        };
        let owner = Authenticated { identity, token: TokenInfo::default() };
        let session = Session::new(SessionId::from_bits(1), owner, true, false);
        Connect::of(&read(text).unwrap()[0], Arc::new(session), is_alone, Time(1_000))
    }

    fn value(reply: &Reply) -> Value {
        serde_json::from_str(&reply.json()).unwrap()
    }

    #[test]
    fn only_a_connect_that_is_alone_and_not_the_first_is_held() {
        let plain = "{\"channel\":\"/meta/connect\",\"connectionType\":\"long-polling\"}";
        let at_once = "{\"channel\":\"/meta/connect\",\"advice\":{\"timeout\":0}}";
        let short = "{\"channel\":\"/meta/connect\",\"advice\":{\"timeout\":700}}";
        let stream = "{\"channel\":\"/meta/connect\",\"connectionType\":\"eventsource\"}";
        for (text, is_alone, is_first, hold_ms) in [
            (plain, true, false, 25_000),
            (plain, true, true, 0),
            (plain, false, false, 0),
            (at_once, true, false, 0),
            (short, true, false, 700),
            (stream, true, false, 0),
        ] {
            assert_eq!(connect(text, is_alone).hold_ms(is_first, 25_000), hold_ms, "{text}");
        }
    }

    #[test]
    fn a_client_is_told_that_the_token_ends_soon() {
        let told = |expires, now| {
            let asked = connect_until("{}", true, Time(expires)).asked;
            value(&asked.done(25_000, None, Time(now)))["ext"]["expiring"].clone()
        };
        assert_eq!(told(100_000, 39_999), Value::Null);
        assert_eq!(told(100_000, 40_000), json!({"in_s": 60}));
        assert_eq!(told(100_000, 98_001), json!({"in_s": 1}));
        assert_eq!(told(0, 98_001), Value::Null, "it never ends");
    }

    #[test]
    fn advice_is_whole_and_only_an_end_on_purpose_keeps_a_client_away() {
        let asked = connect("{\"id\":\"7\",\"ext\":{\"ack\":3,\"timesync\":{\"tc\":1}}}", true).asked;
        let done = value(&asked.done(25_000, Some(4), Time(1_500)));
        assert_eq!(
            done,
            json!({
                "channel": CHANNEL, "id": "7", "successful": true,
                "advice": { "reconnect": "retry", "interval": 0, "timeout": 25_000 },
                "ext": { "ack": 4, "timesync": { "tc": 1, "ts": 1_000, "p": 500, "a": -999 } },
            })
        );
        let closed = |code, reconnect| {
            let close = Close { code, reason: "a:b".into(), reconnect, retry_ms: None };
            value(&asked.closed(&close, 25_000, Time(1_500)))
        };
        for (code, reconnect, successful, advice) in [
            (CloseCode::Client, false, true, "none"),
            (CloseCode::Operator, false, false, "none"),
            (CloseCode::Operator, true, false, "handshake"),
            (CloseCode::Deleted, false, false, "none"),
            (CloseCode::Shutdown, true, true, "retry"),
            (CloseCode::TokenExpired, true, false, "handshake"),
            (CloseCode::Revoked, false, false, "handshake"),
            (CloseCode::Banned, false, false, "handshake"),
        ] {
            let told = closed(code, reconnect);
            assert_eq!(
                (&told["successful"], &told["advice"]["reconnect"]),
                (&json!(successful), &json!(advice))
            );
            assert!(told["advice"]["timeout"].is_number() && told["advice"]["interval"].is_number());
        }
        assert_eq!(closed(CloseCode::Operator, false)["error"], "403:a b:session_closed");
        assert_eq!(value(&asked.unknown(1))["advice"]["reconnect"], "handshake");
        for (code, error, reconnect, interval) in [
            (ErrorCode::SessionClosed, "402::session_unknown", "handshake", 0),
            (ErrorCode::ChannelFull, "422::channel_full", "handshake", LATER_MS),
            (ErrorCode::TooManyChannels, "422::too_many_channels", "handshake", LATER_MS),
            (ErrorCode::Revoked, "401::revoked", "handshake", LATER_MS),
            (ErrorCode::RateLimited, "429::rate_limited", "retry", LATER_MS),
        ] {
            let told = value(&asked.refused(code, 25_000).unwrap());
            let advice = json!({ "reconnect": reconnect, "interval": interval, "timeout": 25_000 });
            assert_eq!((&told["error"], &told["advice"]), (&json!(error), &advice));
        }
        assert!(asked.refused(ErrorCode::EngineUnavailable, 25_000).is_none(), "it passes");
    }
}
