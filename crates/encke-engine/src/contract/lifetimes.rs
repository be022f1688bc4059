//! The contract's tests of logs that end by themselves.

use encke_proto::Time;

use super::{
    Bed,
    closing::with_message,
    lab::{Lab, NOON, channel, ids, message, to_channel, update},
};
use crate::{
    Append, Configure, EngineError, Lifetime, LogConfig, LogRefusal, LogStatus, LogUpdate, ReadFrom, Targets,
};

fn at(second: u64) -> Time {
    NOON.plus_seconds(second)
}

pub(super) fn lasts(lifetime: Lifetime) -> LogConfig {
    LogConfig::new(None, Some(lifetime)).expect("this has no content type")
}

fn create(name: &str, lifetime: Lifetime) -> LogUpdate {
    LogUpdate { configure: Configure::Create(lasts(lifetime)), ..update(name) }
}

impl Lab {
    async fn status(&self, name: &str) -> Option<LogStatus> {
        self.engine.log_status(&channel(name)).await.expect("a healthy engine reads")
    }
}

pub(super) async fn a_log_ends_at_its_time_as_if_it_was_deleted(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.watch([channel("a")]).await;
    let (made, _) = with_message(create("a", Lifetime::Until(at(100))));
    lab.update(made).await;
    lab.fill("a", 2).await;
    lab.fill("b", 2).await;
    assert_eq!(lab.status("a").await.and_then(|status| status.ends), Some(at(100)));
    lab.append(Append { time: at(99), ..to_channel("a") }).await;
    lab.sweep(Time(at(100).0 - 1)).await;
    let before = lab.all(&channel("a")).await;
    assert_eq!((before.head, before.entries.len()), (4, 4), "not before its time");
    lab.sweep(at(100)).await;
    lab.feed.wait_for_behind(&channel("a")).await;
    assert_eq!(lab.status("a").await, None);
    let gone = lab.all(&channel("a")).await;
    assert!(gone.entries.is_empty() && gone.head > before.head && gone.tail == gone.head + 1);
    let listed = lab.engine.channels(None, 10).await.expect("a healthy engine reads");
    assert_eq!(listed.iter().map(|summary| summary.channel.as_str()).collect::<Vec<_>>(), ["b"]);
    let anew = lab.append(Append { time: at(200), ..to_channel("a") }).await;
    assert!(anew.positions[0].1.offset > gone.head);
    lab.sweep(at(1000)).await;
    assert_eq!(ids(&lab.all(&channel("a")).await), [anew.id], "the new one is not set to anything");
}

pub(super) async fn an_idle_log_ends_and_one_that_is_used_does_not(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    for name in ["idle", "appended", "updated", "touched", "asked"] {
        lab.update(create(name, Lifetime::Idle { seconds: 60 })).await;
    }
    for second in [50, 100, 150] {
        lab.append(Append { time: at(second), ..to_channel("appended") }).await;
        let (change, _) = with_message(LogUpdate { time: at(second), ..update("updated") });
        lab.update(change).await;
        lab.update(LogUpdate { time: at(second), ..update("touched") }).await;
        lab.status("asked").await;
        lab.read(&channel("asked"), ReadFrom::Head, super::lab::ALL).await;
        // A use in the past moves nothing back.
        lab.append(Append { time: at(1), ..to_channel("appended") }).await;
        lab.sweep(at(second + 9)).await;
        let are_there = if second == 50 { 1 } else { 0 };
        for name in ["idle", "asked"] {
            assert_eq!(usize::from(lab.status(name).await.is_some()), are_there, "{name} at {second}");
        }
        for name in ["appended", "updated", "touched"] {
            let ends = lab.status(name).await.and_then(|status| status.ends);
            assert_eq!(ends, Some(at(second + 60)), "{name}");
        }
    }
    lab.sweep(at(209)).await;
    assert!(lab.status("touched").await.is_some());
    lab.sweep(at(210)).await;
    for name in ["appended", "updated", "touched"] {
        assert_eq!(lab.status(name).await, None, "{name}");
    }
}

pub(super) async fn a_lifetime_can_be_set_later_and_taken_away(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let set =
        |name: &str, config: LogConfig| LogUpdate { configure: Configure::Replace(config), ..update(name) };
    for name in ["a", "b", "c"] {
        lab.fill(name, 2).await;
        lab.update(set(name, lasts(Lifetime::Until(at(10))))).await;
    }
    lab.update(set("b", LogConfig::default())).await;
    lab.update(set("c", lasts(Lifetime::Until(at(30))))).await;
    for (second, left) in [(9, 3), (10, 2), (29, 2), (30, 1), (3000, 1)] {
        lab.sweep(at(second)).await;
        let mut there = Vec::new();
        for name in ["a", "b", "c"] {
            there.extend(lab.status(name).await.map(|_| name));
        }
        assert_eq!(there.len(), left, "{there:?} after {second} s");
    }
    assert_eq!(lab.all(&channel("b")).await.entries.len(), 2);
}

pub(super) async fn a_log_that_has_ended_takes_no_appends(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.update(create("until", Lifetime::Until(at(10)))).await;
    lab.update(create("idle", Lifetime::Idle { seconds: 7 })).await;
    let others: Vec<String> = (0..20).map(|number| format!("other-{number}")).collect();
    for name in ["until", "idle"] {
        let many = [&name.to_owned()].into_iter().chain(&others).map(|name| channel(name)).collect();
        let many = message(Targets::Channels(many));
        lab.append(Append { time: at(3), ..to_channel(name) }).await;
        for append in [to_channel(name), many] {
            for second in [10, 60] {
                let append = Append { time: at(second), ..append.clone() };
                let ended = Err(EngineError::Refused(LogRefusal::Ended));
                assert_eq!(lab.engine.append(append).await, ended, "{name} at {second}");
            }
        }
        assert_eq!(lab.all(&channel(name)).await.head, 1, "{name}");
    }
    for other in &others {
        assert_eq!(lab.all(&channel(other)).await.head, 0, "an append is refused whole");
    }
    lab.sweep(at(60)).await;
    let anew = lab.append(Append { time: at(61), ..to_channel("until") }).await;
    assert_eq!(ids(&lab.all(&channel("until")).await), [anew.id], "what is made anew takes appends");
}

pub(super) async fn a_log_that_has_ended_is_not_changed_any_more(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.update(create("a", Lifetime::Until(at(10)))).await;
    let change = |second: u64| with_message(LogUpdate { time: at(second), ..update("a") }).0;
    lab.update(change(9)).await;
    let ended = Err(EngineError::Refused(LogRefusal::Ended));
    assert_eq!(lab.engine.update_log(change(10)).await, ended);
    let again = LogUpdate { time: at(11), ..create("a", Lifetime::Until(at(100))) };
    assert_eq!(lab.engine.update_log(again.clone()).await, ended);
    assert!(lab.delete("a").await, "it can be deleted at once");
    assert!(lab.update(again).await.created);
    lab.sweep(at(20)).await;
    assert!(lab.status("a").await.is_some());
}
