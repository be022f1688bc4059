//! The extension `timesync`: what time it is here, for clients that reckon by how much theirs is off.

use encke_proto::{
    Time,
    codec::bayeux::{TimeSync, TimeSyncReply},
};

/// The answer to a message that came at `received` and is answered at `now`.
pub(super) fn reply(asked: TimeSync, received: Time, now: Time) -> TimeSyncReply {
    let ts = i64::try_from(received.0).unwrap_or(i64::MAX);
    let p = i64::try_from(now.0.saturating_sub(received.0)).unwrap_or(i64::MAX);
    let a = asked.tc.saturating_add(asked.o).saturating_add(asked.l).saturating_sub(ts);
    TimeSyncReply { tc: asked.tc, ts, p, a }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_told_by_how_much_it_is_off() {
        let asked = TimeSync { tc: 1_000, l: 20, o: 5 };
        assert_eq!(
            reply(asked, Time(1_100), Time(1_400)),
            TimeSyncReply { tc: 1_000, ts: 1_100, p: 300, a: -75 }
        );
        let far = TimeSync { tc: i64::MAX, l: i64::MAX, o: i64::MAX };
        assert_eq!(reply(far, Time(u64::MAX), Time(0)).p, 0, "whatever a client says");
    }
}
