//! What a client has missed in a channel while it was away: from where on it is sent what there is, if it is
//! known again.

use encke_proto::{
    ChannelName, Offset, Position, UserId,
    codec::pusher::{Channel, Member},
};

use super::{
    connection::{Connection, socket_id},
    followed::Follows,
    place_records::{self, What, write},
    places::{Coming, Taken},
};
use crate::http::refusal::Refused;

/// The most messages that are sent again, the newest.
const MISSED_MAX: u64 = 10_000;

/// By what a client of a channel is known again.
#[derive(Debug, Default)]
pub(super) struct Recognition {
    /// Where the place may be that it left.
    left_in: Option<ChannelName>,
    /// Where its place is kept when it goes.
    pub(super) kept_in: Vec<ChannelName>,
}

/// What it missed.
#[derive(Debug)]
pub(super) struct Missed {
    /// Behind which message it begins.
    pub(super) from: Position,
    /// Its last message.
    pub(super) until: Offset,
    /// What its client was called before, if that is known for certain.
    pub(super) former: Option<UserId>,
    /// Whether it was here before, as far as is known. Else it may be that it was.
    pub(super) was_here: bool,
    /// Whether its client leaves the place again when its connection is over. Else that was over before.
    pub(super) is_left: bool,
}

impl Missed {
    fn of(taken: &Taken) -> Self {
        let Taken { at, head, client, is_sure } = taken;
        let offset = at.offset.max(head.saturating_sub(MISSED_MAX));
        Self {
            from: Position { offset, ..*at },
            until: *head,
            former: client.clone().filter(|_| *is_sure),
            was_here: client.is_some(),
            is_left: true,
        }
    }
}

impl Recognition {
    /// A browser is known by its cookie; what has none by the user whom the backend has signed for.
    pub(super) fn of(connection: &Connection, channel: &Channel<'_>, member: Option<&Member>) -> Self {
        if !connection.recovers {
            return Self::default();
        }
        let user = match channel.user() {
            Some(user) => Some(user),
            None => member.filter(|_| channel.is_signed()).map(|member| member.user_id.as_str()),
        };
        let user = user.map(|user| place_records::log(&connection.application, &["user", user]));
        match &connection.browser {
            Some(browser) if browser.cookie.is_none() => {
                Self { left_in: Some(browser.log.clone()), kept_in: vec![browser.log.clone()] }
            }
            // It may be that it keeps no cookies.
            Some(browser) => Self {
                left_in: user.clone(),
                kept_in: user.into_iter().chain([browser.log.clone()]).collect(),
            },
            None => Self { left_in: user.clone(), kept_in: user.into_iter().collect() },
        }
    }

    /// What the client missed in a channel; none if it was not here, or if that is not known any more. If it
    /// was, it follows the channel from there on as far as others see.
    pub(super) async fn missed(
        &self,
        connection: &Connection,
        channel: &ChannelName,
    ) -> Result<Option<Missed>, Refused> {
        let Some(left_in) = &self.left_in else { return Ok(None) };
        let (app, application) = (&connection.app, &connection.application);
        let coming = Coming { application, log: left_in, channel, deadlines: &connection.deadlines };
        let mut is_left = true;
        let enter = |taken: &Taken| {
            let missed = Missed::of(taken);
            is_left = connection.follow(self.follows(Some(&missed), channel, missed.from));
        };
        let taken = connection.server.places.take(app, &coming, enter).await?;
        Ok(taken.map(|taken| Missed { is_left, ..Missed::of(&taken) }))
    }

    /// What is known from now on of a channel that a client follows.
    pub(super) fn follows(&self, missed: Option<&Missed>, log: &ChannelName, at: Position) -> Follows {
        let (until, former) = missed.map_or((0, None), |missed| (missed.until, missed.former.clone()));
        Follows { log: log.clone(), kept_in: self.kept_in.clone(), at, until, former }
    }

    /// Leaves a place that was taken in vain to one that comes later. It is as of another client: whose place
    /// was taken once, of that client nothing counts any more.
    pub(super) async fn give_back(&self, connection: &Connection, missed: &Missed, channel: &ChannelName) {
        let Some(left_in) = self.left_in.as_ref().filter(|_| missed.was_here) else { return };
        let (app, application) = (&connection.app, &connection.application);
        let given_back = async {
            let other = application.user(&socket_id()?)?;
            let left = What::Left(other, vec![(channel.clone(), missed.from)]);
            write(app, application, left_in, left).await
        };
        if let Err(Refused(refusal)) = given_back.await {
            tracing::warn!(error = %refusal.message, "what a client misses will not be sent to it");
        }
    }
}
