//! Which channels the application takes part in: what it is asked about, and told of. Who may follow them is
//! not known here.

use encke_proto::{ChannelName, UserId, codec::pusher};

/// Whether the application takes part in what `user`, if it is about one, does with this channel: it is a
/// public one, and none of the logs that the server and its dialects keep for themselves.
#[must_use]
pub fn takes_part_in(user: Option<&UserId>, channel: &ChannelName) -> bool {
    let is_internal = || channel.is_internal() || pusher::is_internal(channel, user);
    !channel.is_own() && !is_internal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_no_part_in_what_the_server_keeps_for_itself() {
        let connection = UserId::new("pusher:shop:1.2").unwrap();
        let log = |name: &str| ChannelName::public(name).unwrap();
        for user in [None, Some(&connection)] {
            assert!(takes_part_in(user, &log("room")));
            assert!(takes_part_in(user, &log("pusher:shop:room")));
            assert!(takes_part_in(user, &log("#frames-1.2")));
            assert!(!takes_part_in(user, &log("pusher:shop:#frames-1.2")));
            assert!(!takes_part_in(user, &log("pusher:shop:#online-bob")));
            assert!(!takes_part_in(user, &connection.channel()));
            assert!(!takes_part_in(user, &ChannelName::internal("hooks/facts")));
        }
        // A client that is no connection of this application gets nothing by such a name unasked.
        for other in ["alice", "pusher:shop", "pusher:shopping:1.2"] {
            assert!(takes_part_in(Some(&UserId::new(other).unwrap()), &log("pusher:shop:#frames-1.2")));
        }
    }
}
