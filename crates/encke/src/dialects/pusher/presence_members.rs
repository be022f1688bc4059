//! Who is in the presence channels of this node: each user once, with the number of connections.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use encke_proto::{
    ChannelName,
    codec::pusher::{self, Member},
};
use serde_json::value::RawValue;

/// All members, by the log of the channel.
#[derive(Debug, Default)]
pub(super) struct PresenceMembers(Mutex<HashMap<ChannelName, Users>>);

/// There are as many users in the channel as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

type Users = BTreeMap<String, Present>;

#[derive(Debug)]
struct Present {
    info: Option<Arc<RawValue>>,
    connections: usize,
}

impl PresenceMembers {
    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelName, Users>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of a user more. True when it is the first of this user.
    pub(super) fn join(&self, log: &ChannelName, member: &Member, members_max: u64) -> Result<bool, Full> {
        let mut members = self.lock();
        let users = members.entry(log.clone()).or_default();
        if let Some(present) = users.get_mut(&member.user_id) {
            present.connections += 1;
            return Ok(false);
        }
        if users.len() as u64 >= members_max {
            return Err(Full);
        }
        let info = member.user_info.clone().map(Arc::from);
        users.insert(member.user_id.clone(), Present { info, connections: 1 });
        Ok(true)
    }

    /// A connection of a user less. True when it was the last of this user.
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
        true
    }

    /// What a new subscriber is told.
    pub(super) fn data(&self, log: &ChannelName) -> String {
        let members = self.lock();
        let users = members.get(log).into_iter().flatten();
        pusher::presence_data(users.map(|(id, present)| (id.as_str(), present.info.as_deref())))
    }

    /// The ids of the users.
    pub(super) fn users(&self, log: &ChannelName) -> Vec<String> {
        self.lock().get(log).map(|users| users.keys().cloned().collect()).unwrap_or_default()
    }

    /// How many users there are.
    pub(super) fn count(&self, log: &ChannelName) -> usize {
        self.lock().get(log).map_or(0, BTreeMap::len)
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
        assert_eq!(members.join(&log, &member("a"), 2), Ok(true));
        assert_eq!(members.join(&log, &member("a"), 2), Ok(false));
        assert_eq!(members.join(&log, &member("b"), 2), Ok(true));
        assert_eq!(members.join(&log, &member("c"), 2), Err(Full));
        assert_eq!(members.join(&log, &member("b"), 2), Ok(false), "the user is there already");
        assert_eq!((members.users(&log), members.count(&log)), (vec!["a".into(), "b".into()], 2));
        assert!(!members.leave(&log, "a") && members.leave(&log, "a") && !members.leave(&log, "a"));
        assert!(!members.leave(&log, "b") && members.leave(&log, "b"));
        assert!(members.lock().is_empty());
    }
}
