//! The end of the token that a session came with: when its client is told that it comes near, and what
//! becomes of the session when a fresh token takes its place. That a session ends with its token is in
//! `presence.rs`.

use encke_proto::{Expiring, Grant, SessionId, Time, TokenInfo, UserId};
use serde::{Deserialize, Serialize};

use crate::{
    ControlReply, Hub, Key, Now,
    session::{Notice, Served, Session},
};

/// A client is told when this part is left of the time that its token had when it came, …
const LEAD_SHARE: u64 = 4;
/// … and at most so many seconds before the end.
const LEAD_MAX_S: u64 = 60;

/// A token of the same user that takes the place of the one that a session has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreshToken {
    /// When it ends; 0 when it does not.
    pub ends: Time,
    /// When it was issued, in seconds since 1970, if it says so; for revocations.
    pub info: TokenInfo,
    /// The public channels that it grants to follow.
    #[serde(default, skip_serializing_if = "Grant::is_unsaid")]
    pub channels: Grant,
    /// The public channels that it grants to publish to, for what the client asks over its connection; the
    /// hub has no use for it.
    #[serde(default, skip_serializing_if = "Grant::is_unsaid")]
    pub publish: Grant,
}

/// When the client of a session is told, in whole seconds before the end of its token. One that goes on with
/// the same token is told again when half of that is left, so that an answer that was lost does not keep it
/// from knowing, and one that cannot do better is not told in each of its polls.
pub(crate) fn lead_s(ends: Time, now: Time) -> u8 {
    let left_s = ends.0.saturating_sub(now.0) / 1000;
    u8::try_from((left_s / LEAD_SHARE).clamp(1, LEAD_MAX_S)).unwrap_or(u8::MAX)
}

impl Session {
    /// Takes note that its client is to be told now, if it is; when the end of its token is to be looked at
    /// next, on the clock that never goes back.
    pub(crate) fn note_notice(&mut self, now: Now) -> Option<u64> {
        let ends = self.token_ends;
        if ends.0 == 0 {
            return None;
        }
        let is_ahead =
            self.notice == Notice::Ahead && self.lead_s > 0 && matches!(self.served, Served::By(_));
        let notice_at = ends.0.saturating_sub(u64::from(self.lead_s) * 1000);
        let next = if !is_ahead {
            ends.0
        } else if notice_at > now.wall.0 {
            notice_at
        } else {
            self.notice = Notice::Due;
            ends.0
        };
        Some(now.mono_ms.saturating_add(next.saturating_sub(now.wall.0)))
    }
}

impl Hub {
    /// A connection has come to a session, with a token that ends then (0: never).
    pub(crate) fn note_token_end(&mut self, key: Key, ends: Time, now: Now) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.token_ends != ends {
            (session.token_ends, session.lead_s) = (ends, lead_s(ends, now.wall));
        }
        session.notice = Notice::Ahead;
        if let Some(due_ms) = session.note_notice(now)
            && due_ms < session.look_ms
        {
            session.look_ms = self.wheel.insert(due_ms, key.index);
        }
    }

    /// Whether the client of a session is to be told now.
    pub(crate) fn has_notice(&self, key: Key) -> bool {
        self.sessions.get(key).is_some_and(|session| session.notice == Notice::Due)
    }

    /// What the client of a session is told of the end of its token, once.
    pub(crate) fn next_notice(&mut self, key: Key, now: Now) -> Option<Expiring> {
        let session = self.sessions.get_mut(key).filter(|session| session.notice == Notice::Due)?;
        session.notice = Notice::Told;
        session.lead_s /= 2;
        Some(Expiring { in_s: session.token_ends.0.saturating_sub(now.wall.0) / 1000 })
    }

    /// Puts a fresh token of its user in the place of the one that a session has. What it does not grant is
    /// dropped and told.
    pub(crate) fn refresh(
        &mut self,
        ticket: u64,
        session: SessionId,
        user: &UserId,
        token: &FreshToken,
        now: Now,
    ) {
        let key = match self.session_for(session, user) {
            Ok(key) => key,
            Err(code) => return self.replied(ticket, ControlReply::Refused(code)),
        };
        self.note_token(key, Some(&token.info));
        self.note_token_end(key, token.ends, now);
        self.drop_ungranted(key, user, &token.channels);
        // A connection may have waited for its place in a channel that it does not follow any more.
        self.settle(key);
        if self.has_more(key) {
            self.make_ready(key, false);
        }
        self.replied(ticket, ControlReply::Refreshed);
    }
}
