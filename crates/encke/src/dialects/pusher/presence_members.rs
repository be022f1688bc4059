//! Who is in the presence channels by connections to this node: each user once, with the number of
//! connections. Who is there by others, `members_elsewhere` asks.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use encke_proto::{ChannelName, UserId, codec::pusher::Member};
use serde_json::value::RawValue;

use super::webhooks::Webhooks;

/// All members, by the log of the channel.
#[derive(Debug, Default)]
pub(super) struct PresenceMembers {
    users: Mutex<HashMap<ChannelName, Users>>,
    /// Is told who comes and goes, in the order in which it happens here.
    webhooks: Arc<Webhooks>,
}

/// There are as many users in the channel as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// What a connection of a user more is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Joined {
    /// Whether its user had none to this node before.
    pub(super) is_first: bool,
    /// Whether that is to be told by this node.
    pub(super) is_told: bool,
}

type Users = BTreeMap<String, Present>;

#[derive(Debug)]
struct Present {
    info: Option<Arc<RawValue>>,
    connections: usize,
}

impl PresenceMembers {
    /// None yet.
    pub(super) fn new(webhooks: Arc<Webhooks>) -> Self {
        Self { users: Mutex::default(), webhooks }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelName, Users>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of a user more, which is `from`.
    pub(super) fn join(
        &self,
        log: &ChannelName,
        member: &Member,
        from: &UserId,
        members_max: u64,
    ) -> Result<Joined, Full> {
        let mut members = self.lock();
        let users = members.entry(log.clone()).or_default();
        if let Some(present) = users.get_mut(&member.user_id) {
            present.connections += 1;
            return Ok(Joined { is_first: false, is_told: false });
        }
        if users.len() as u64 >= members_max {
            return Err(Full);
        }
        let info = member.user_info.clone().map(Arc::from);
        users.insert(member.user_id.clone(), Present { info, connections: 1 });
        self.webhooks.member_came(log, member, from);
        Ok(Joined { is_first: true, is_told: !self.webhooks.announces() })
    }

    /// Whether a user is in the channel by a connection to this node.
    pub(super) fn has(&self, log: &ChannelName, user_id: &str) -> bool {
        self.lock().get(log).is_some_and(|users| users.contains_key(user_id))
    }

    /// A connection of a user less. True when it was the last of this user, and is to be told by this node.
    pub(super) fn leave(&self, log: &ChannelName, user_id: &str) -> bool {
        let mut members = self.lock();
        let Some(users) = members.get_mut(log) else { return false };
        let Some(present) = users.get_mut(user_id) else { return false };
        present.connections = present.connections.saturating_sub(1);
        if present.connections > 0 {
            return false;
        }
        users.remove(user_id);
        if users.is_empty() {
            members.remove(log);
        }
        self.webhooks.member_went(log, user_id);
        !self.webhooks.announces()
    }

    /// The users by their ids, with what is said of each.
    pub(super) fn all(&self, log: &ChannelName) -> BTreeMap<String, Option<Arc<RawValue>>> {
        let members = self.lock();
        let users = members.get(log).into_iter().flatten();
        users.map(|(id, present)| (id.clone(), present.info.clone())).collect()
    }

    /// The first `limit` of them behind an id.
    pub(super) fn page(
        &self,
        log: &ChannelName,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<(String, Option<Arc<RawValue>>)> {
        let members = self.lock();
        let Some(users) = members.get(log) else { return Vec::new() };
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = users.range::<str, _>((behind, Bound::Unbounded)).take(limit);
        page.map(|(id, present)| (id.clone(), present.info.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_comes_with_the_first_connection_and_goes_with_the_last() {
        let (members, log) =
            (PresenceMembers::default(), ChannelName::public("pusher:1:presence-a").unwrap());
        let member = |id: &str| Member { user_id: id.into(), user_info: None };
        let from = UserId::new("pusher:1:1.2").unwrap();
        let join = |id: &str| members.join(&log, &member(id), &from, 2);
        let (first, another) =
            (Joined { is_first: true, is_told: true }, Joined { is_first: false, is_told: false });
        assert_eq!((join("a"), join("a"), join("b")), (Ok(first), Ok(another), Ok(first)));
        assert_eq!(join("c"), Err(Full));
        assert_eq!(join("b"), Ok(another), "the user is there already");
        let ids = |after| members.page(&log, after, 1).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!((ids(None), ids(Some("a")), ids(Some("b"))), (vec!["a".into()], vec!["b".into()], vec![]));
        assert_eq!(members.all(&log).into_keys().collect::<Vec<_>>(), ["a", "b"]);
        assert!(!members.leave(&log, "a") && members.leave(&log, "a") && !members.leave(&log, "a"));
        assert!(!members.leave(&log, "b") && members.leave(&log, "b"));
        assert!(members.lock().is_empty());
    }

    #[test]
    fn a_user_is_new_at_a_node_also_where_another_tells_that() {
        let members = PresenceMembers::new(Arc::new(Webhooks::among_nodes()));
        let log = ChannelName::public("pusher:1:presence-a").unwrap();
        let (member, from) =
            (Member { user_id: "a".into(), user_info: None }, UserId::new("pusher:1:1.2").unwrap());
        let join = || members.join(&log, &member, &from, 2);
        assert_eq!(join(), Ok(Joined { is_first: true, is_told: false }));
        assert_eq!(join(), Ok(Joined { is_first: false, is_told: false }));
    }
}
