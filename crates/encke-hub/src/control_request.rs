//! What can be asked of sessions and channels, and what is answered: one pair of types for the hub, for the
//! shards' mailboxes and for the messages between nodes. How the hub answers is in `control.rs`.

use encke_proto::{ChannelName, Close, Cursor, ErrorCode, NameFilter, Position, SessionId, UserId};
use serde::{Deserialize, Serialize};

use crate::{CloseTarget, Following, FreshToken, SessionView};

/// A control request. The caller's right to make it was checked before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlRequest {
    /// Ends sessions on purpose; [`ControlReply::Closed`].
    Close {
        /// Which.
        target: CloseTarget,
        /// What their clients are told.
        close: Close,
    },
    /// Lets a session follow more channels; [`ControlReply::Following`].
    Subscribe {
        /// Which session.
        session: SessionId,
        /// The user whose session it has to be.
        user: UserId,
        /// The channels; those that `from` does not name begin now.
        channels: Vec<ChannelName>,
        /// Where to begin in the channels that it names, also those that the session follows already.
        from: Cursor,
    },
    /// Lets a session follow fewer channels; [`ControlReply::Following`].
    Unsubscribe {
        /// Which session.
        session: SessionId,
        /// The user whose session it has to be.
        user: UserId,
        /// The channels.
        channels: Vec<ChannelName>,
    },
    /// The client says that everything up to a cursor was shown to the person; [`ControlReply::Shown`].
    Ack {
        /// Which session.
        session: SessionId,
        /// The user whose session it has to be.
        user: UserId,
        /// Up to here.
        cursor: Cursor,
    },
    /// Puts a fresh token in the place of the one that a session has; [`ControlReply::Refreshed`].
    Refresh {
        /// Which session.
        session: SessionId,
        /// The user whose session it has to be, and whose token it is.
        user: UserId,
        /// The token.
        token: Box<FreshToken>,
    },
    /// Releases a session to the node that asks; [`ControlReply::Released`].
    Release {
        /// Which session; none to ask only that what the user was handed is written down.
        session: Option<SessionId>,
        /// The user whose session it has to be.
        user: UserId,
    },
    /// How many sessions these users have; [`ControlReply::Users`], without the users who have none.
    CountSessions {
        /// The users.
        users: Vec<UserId>,
    },
    /// The users who are online; a page of [`ControlReply::Users`].
    ListUsers {
        /// Only users who have a session that outlives its connections: whom the other nodes find.
        lasting: bool,
        /// Only those whose ids match.
        filter: NameFilter,
        /// Behind this one.
        after: Option<UserId>,
        /// So many at most.
        limit: usize,
    },
    /// The users who follow a channel; a page of [`ControlReply::Users`].
    ListFollowers {
        /// The channel.
        channel: ChannelName,
        /// Behind this one.
        after: Option<UserId>,
        /// So many at most.
        limit: usize,
    },
    /// The sessions of one user or of all; a page of [`ControlReply::Sessions`].
    ListSessions {
        /// Of this user alone.
        user: Option<UserId>,
        /// Behind this one.
        after: Option<SessionId>,
        /// So many at most.
        limit: usize,
    },
    /// The public channels that are followed; a page of [`ControlReply::Channels`].
    ListFollowed {
        /// Only those whose names begin with this.
        prefix: String,
        /// Behind this one.
        after: Option<ChannelName>,
        /// So many at most.
        limit: usize,
    },
    /// How many sessions follow each of these channels; [`ControlReply::Counts`].
    CountFollowers {
        /// The channels.
        channels: Vec<ChannelName>,
    },
}

/// The answer to a control request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlReply {
    /// So many sessions were ended, and everything of them is freed.
    Closed(usize),
    /// What the session follows now.
    Following(Box<Following>),
    /// Everything in the user's own channel up to here was shown to the person, which is to be written down
    /// before it is answered. Nothing when the cursor does not name that channel.
    Shown(Option<Position>),
    /// The session has the fresh token.
    Refreshed,
    /// What the session followed that was released; none when there was no such session of the user.
    Released(Option<Box<Following>>),
    /// Users, each with a number of sessions.
    Users(Vec<(UserId, usize)>),
    /// Channels, each with the number of sessions that follow it.
    Channels(Vec<(ChannelName, usize)>),
    /// Sessions.
    Sessions(Vec<SessionView>),
    /// A number for each thing that was asked about, in the same order.
    Counts(Vec<usize>),
    /// Refused. Messages between nodes have a field of their own for that.
    #[serde(skip)]
    Refused(ErrorCode),
}

impl ControlRequest {
    /// The user whose sessions alone it is about; none when it may be about any user's.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::Close { target, .. } => target.user(),
            Self::Subscribe { user, .. }
            | Self::Unsubscribe { user, .. }
            | Self::Ack { user, .. }
            | Self::Refresh { user, .. }
            | Self::Release { user, .. } => Some(user),
            Self::ListSessions { user, .. } => user.as_ref(),
            Self::CountSessions { .. }
            | Self::ListUsers { .. }
            | Self::ListFollowers { .. }
            | Self::ListFollowed { .. }
            | Self::CountFollowers { .. } => None,
        }
    }

    /// The one answer that the answers of several hubs make together. Lists are in order, and no longer than
    /// was asked for. It is [`ControlReply::Refused`] only when all are.
    #[must_use]
    pub fn merge(&self, replies: impl IntoIterator<Item = ControlReply>) -> ControlReply {
        let mut merged = replies.into_iter().fold(self.none(), ControlReply::plus);
        let (Self::ListUsers { limit, .. }
        | Self::ListFollowers { limit, .. }
        | Self::ListFollowed { limit, .. }
        | Self::ListSessions { limit, .. }) = self
        else {
            return merged;
        };
        match &mut merged {
            // A user may have sessions on several nodes, and a channel followers.
            ControlReply::Users(users) => {
                add_up(users);
                users.truncate(*limit);
            }
            ControlReply::Channels(channels) => {
                add_up(channels);
                channels.truncate(*limit);
            }
            ControlReply::Sessions(sessions) => {
                sessions.sort_unstable_by_key(|session| session.session);
                sessions.truncate(*limit);
            }
            _ => {}
        }
        merged
    }

    /// The same request for `size` entries at most. What is no list is as it was.
    #[must_use]
    pub fn page(&self, size: usize) -> Self {
        let mut page = self.clone();
        if let Self::ListUsers { limit, .. }
        | Self::ListFollowers { limit, .. }
        | Self::ListFollowed { limit, .. }
        | Self::ListSessions { limit, .. } = &mut page
        {
            *limit = size.min(*limit);
        }
        page
    }

    /// What is left to be asked when `reply` is the answer to [`ControlRequest::page`]; none when nothing is.
    #[must_use]
    pub fn rest(&self, size: usize, reply: &ControlReply) -> Option<Self> {
        let mut rest = self.clone();
        let (limit, count, goes_on) = match (&mut rest, reply) {
            (
                Self::ListUsers { after, limit, .. } | Self::ListFollowers { after, limit, .. },
                ControlReply::Users(users),
            ) => {
                let last = users.last().map(|(user, _)| user.clone());
                let goes_on = last > *after;
                *after = last;
                (limit, users.len(), goes_on)
            }
            (Self::ListFollowed { after, limit, .. }, ControlReply::Channels(channels)) => {
                let last = channels.last().map(|(channel, _)| channel.clone());
                let goes_on = last > *after;
                *after = last;
                (limit, channels.len(), goes_on)
            }
            (Self::ListSessions { after, limit, .. }, ControlReply::Sessions(sessions)) => {
                let last = sessions.last().map(|session| session.session);
                let goes_on = last > *after;
                *after = last;
                (limit, sessions.len(), goes_on)
            }
            _ => return None,
        };
        let is_full = count >= size.min(*limit);
        *limit = limit.saturating_sub(count);
        (goes_on && is_full && *limit > 0).then_some(rest)
    }

    /// The answer of no hub at all.
    fn none(&self) -> ControlReply {
        match self {
            Self::Close { .. } => ControlReply::Closed(0),
            Self::Subscribe { .. } | Self::Unsubscribe { .. } | Self::Ack { .. } | Self::Refresh { .. } => {
                ControlReply::Refused(ErrorCode::SessionUnknown)
            }
            Self::Release { .. } => ControlReply::Released(None),
            Self::CountSessions { .. } | Self::ListUsers { .. } | Self::ListFollowers { .. } => {
                ControlReply::Users(Vec::new())
            }
            Self::ListFollowed { .. } => ControlReply::Channels(Vec::new()),
            Self::ListSessions { .. } => ControlReply::Sessions(Vec::new()),
            Self::CountFollowers { channels } => ControlReply::Counts(vec![0; channels.len()]),
        }
    }
}

impl ControlReply {
    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Closed(a), Self::Closed(b)) => Self::Closed(a + b),
            (Self::Users(a), Self::Users(b)) if a.is_empty() => Self::Users(b),
            (Self::Users(mut a), Self::Users(b)) => {
                a.extend(b);
                Self::Users(a)
            }
            (Self::Channels(mut a), Self::Channels(b)) => {
                a.extend(b);
                Self::Channels(a)
            }
            (Self::Sessions(mut a), Self::Sessions(b)) => {
                a.extend(b);
                Self::Sessions(a)
            }
            (Self::Counts(mut a), Self::Counts(b)) => {
                a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                Self::Counts(a)
            }
            (Self::Released(None), released @ Self::Released(_)) => released,
            (released @ Self::Released(_), Self::Released(_)) => released,
            (Self::Refused(_), other) => other,
            (reply, Self::Refused(_)) => reply,
            _ => Self::Refused(ErrorCode::Internal),
        }
    }
}

/// Puts names in order, each once with the sum of its numbers.
fn add_up<K: Ord>(counted: &mut Vec<(K, usize)>) {
    counted.sort_unstable();
    counted.dedup_by(|next, first| {
        next.0 == first.0 && {
            first.1 += next.1;
            true
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(names: &[(&str, usize)]) -> ControlReply {
        ControlReply::Users(names.iter().map(|(name, count)| (UserId::new(name).unwrap(), *count)).collect())
    }

    fn list(after: Option<&str>, limit: usize) -> ControlRequest {
        ControlRequest::ListUsers {
            lasting: false,
            filter: NameFilter::default(),
            after: after.map(|name| UserId::new(name).unwrap()),
            limit,
        }
    }

    #[test]
    fn answers_are_added_up_in_order_and_within_the_limit() {
        let (here, there) = (users(&[("carol", 1), ("alice", 2)]), users(&[("bob", 1), ("alice", 3)]));
        assert_eq!(
            list(None, 9).merge([here.clone(), there.clone()]),
            users(&[("alice", 5), ("bob", 1), ("carol", 1)])
        );
        assert_eq!(list(None, 2).merge([here, there]), users(&[("alice", 5), ("bob", 1)]));
        let count = ControlRequest::CountFollowers { channels: vec![ChannelName::public("a").unwrap(); 2] };
        assert_eq!(count.merge([]), ControlReply::Counts(vec![0, 0]));
        assert_eq!(
            count.merge([vec![1, 2], vec![3, 4]].map(ControlReply::Counts)),
            ControlReply::Counts(vec![4, 6])
        );
        assert_eq!(count.merge([ControlReply::Closed(1)]), ControlReply::Refused(ErrorCode::Internal));
    }

    #[test]
    fn a_refusal_stands_when_all_refuse() {
        let user = UserId::new("alice").unwrap();
        let ack = ControlRequest::Ack { session: SessionId::from_bits(1), user, cursor: Cursor::default() };
        let refused = ControlReply::Refused;
        assert_eq!(ack.merge([]), refused(ErrorCode::SessionUnknown));
        assert_eq!(ack.merge([refused(ErrorCode::SessionClosed)]), refused(ErrorCode::SessionClosed));
        assert_eq!(
            ack.merge([refused(ErrorCode::SessionUnknown), ControlReply::Shown(None)]),
            ControlReply::Shown(None)
        );
    }

    #[test]
    fn pages_follow_each_other_until_one_is_short_or_the_limit_is_reached() {
        assert_eq!(list(None, 9).page(2), list(None, 2));
        assert_eq!(list(None, 1).page(2), list(None, 1));
        let full = users(&[("alice", 1), ("bob", 1)]);
        assert_eq!(list(None, 9).rest(2, &full), Some(list(Some("bob"), 7)));
        assert_eq!(list(None, 2).rest(2, &full), None);
        assert_eq!(list(None, 9).rest(3, &full), None);
        assert_eq!(list(None, 9).rest(2, &users(&[])), None);
        assert_eq!(list(Some("bob"), 9).rest(2, &full), None, "a page that leads back is the last");
        assert_eq!(ControlRequest::CountFollowers { channels: Vec::new() }.rest(2, &full), None);
    }
}
