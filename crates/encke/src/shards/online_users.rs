//! Who has a session on this node, for every thread to read without asking a shard.
//!
//! A shard enters a user with the first session and takes the user out with the last, before the client reads
//! that either has happened. A session outlives its polls, so a user who polls is in here between them too.

use encke_proto::{NameFilter, UserId};

use super::parted_map::PartedMap;

/// The users who are online on this node. Bounded by the users of all hubs, which enter them.
#[derive(Debug, Default)]
pub struct OnlineUsers(PartedMap<UserId, ()>);

impl OnlineUsers {
    /// Whether a user has a session here.
    #[must_use]
    pub fn contains(&self, user: &UserId) -> bool {
        self.0.get(user).is_some()
    }

    /// The users whose ids match, behind `after`, in no order. Shards that enter a user meanwhile wait for a
    /// part of the map at most.
    #[must_use]
    pub fn matching(&self, filter: &NameFilter, after: Option<&UserId>) -> Vec<UserId> {
        self.0.keys(|user| after.is_none_or(|after| user > after) && filter.matches(user.as_str()))
    }

    /// A user has the first session.
    pub fn insert(&self, user: UserId) {
        self.0.change(&user.clone(), |part| part.insert(user, ()));
    }

    /// A user's last session is gone.
    pub fn remove(&self, user: &UserId) {
        self.0.change(user, |part| part.remove(user));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: usize) -> UserId {
        UserId::new(&format!("user{number}")).unwrap()
    }

    #[test]
    fn those_who_match_are_found_behind_a_name() {
        let online = OnlineUsers::default();
        (0..1_000).for_each(|number| online.insert(user(number)));
        let filter = NameFilter { prefix: "user9".into(), contains: "7".into() };
        let mut found = online.matching(&filter, Some(&user(970)));
        found.sort_unstable();
        assert_eq!(found, [971, 972, 973, 974, 975, 976, 977, 978, 979, 987, 997].map(user));
    }

    #[test]
    fn it_holds_those_who_came_and_have_not_gone() {
        let online = OnlineUsers::default();
        (0..1_000).for_each(|number| online.insert(user(number)));
        (0..1_000).step_by(2).for_each(|number| online.remove(&user(number)));
        assert!(
            (0..1_001).all(|number| online.contains(&user(number)) == (number % 2 == 1 && number < 1_000))
        );
    }
}
