//! What the application is told, in its own form.

use encke_proto::{ChannelName, MessageId, Offset, Time, UserId};
use serde::Serialize;

use super::{
    fact::Fact,
    presence::{Change, Presence},
    subject::Subject,
};
use crate::config::HookEvent;

/// An event, as it is sent.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Event {
    /// The same each time that it is sent.
    id: String,
    r#type: HookEvent,
    time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<ChannelName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    push: Option<MessageId>,
}

/// Where a fact stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The epoch of the log.
    pub epoch: encke_proto::Epoch,
    /// Which message.
    pub offset: Offset,
    /// Which fact of it.
    pub index: usize,
    /// When it was written.
    pub time: Time,
}

impl Event {
    /// What follows from a fact, as far as that is something to tell.
    pub(super) fn of(fact: Fact, place: Place, presence: &mut Presence) -> Vec<Self> {
        let changes = presence.apply(&fact);
        let Place { epoch, offset, index, time } = place;
        let id = format!("{epoch}-{offset}-{index}");
        let of_push = |kind, what: &str, time: Time, user: UserId, push: MessageId| {
            // What a node writes anew, as it does not know whether it had, is the same event.
            let id = format!("{push}-{what}-{user}");
            vec![Self { id, r#type: kind, time, user: Some(user), channel: None, push: Some(push) }]
        };
        match fact {
            Fact::Came { .. } | Fact::Went { .. } => {
                let event = |(channel, change)| Self::of_change(channel, change, id.clone(), time);
                changes.into_iter().map(event).collect()
            }
            Fact::Round { .. } => {
                let event = |(number, (channel, change)): (usize, _)| {
                    Self::of_change(channel, change, format!("{id}-{number}"), time)
                };
                changes.into_iter().enumerate().map(event).collect()
            }
            Fact::Said { .. } => Vec::new(),
            Fact::Subscribed { user, channel } => {
                let (user, channel) = (Some(user), Some(channel));
                vec![Self { id, r#type: HookEvent::Subscribed, time, user, channel, push: None }]
            }
            Fact::Delivered { user, push } => {
                of_push(HookEvent::PushDelivered, "delivered", time, user, push)
            }
            Fact::Shown { user, push } => of_push(HookEvent::PushShown, "shown", time, user, push),
            Fact::Expired { user, push, at } => of_push(HookEvent::PushExpired, "expired", at, user, push),
        }
    }

    fn of_change(subject: Subject, change: Change, id: String, time: Time) -> Self {
        let Subject { channel, .. } = subject;
        let (kind, user, channel) = match (channel.owner(), change) {
            (Some(user), Change::First) => (HookEvent::Connected, Some(user), None),
            (Some(user), Change::Last) => (HookEvent::Disconnected, Some(user), None),
            (None, Change::First) => (HookEvent::ChannelOccupied, None, Some(channel)),
            (None, Change::Last) => (HookEvent::ChannelVacated, None, Some(channel)),
        };
        Self { id, r#type: kind, time, user, channel, push: None }
    }

    pub(super) fn kind(&self) -> HookEvent {
        self.r#type
    }
}
