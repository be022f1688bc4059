//! What was cancelled or deleted is not delivered from memory: not from the window, not from pages that were
//! read ahead, and not from those that are on their way.

use encke_hub::{Attach, ConnKey, HubConfig, Pulled, Start};
use encke_proto::{ChannelName, Cursor, Epoch, Position};

use crate::{
    support::channel,
    world::{Engine, World, attach, attach_to},
};

fn news() -> ChannelName {
    channel("news")
}

fn after(offset: u64) -> Start {
    let mut cursor = Cursor::default();
    cursor.set(&news(), Position { epoch: Epoch(7), offset });
    Start::Cursor(cursor)
}

fn offsets(offsets: impl IntoIterator<Item = u64>) -> Vec<String> {
    offsets.into_iter().map(|offset| format!("news {offset}")).collect()
}

/// One message, which the client takes.
fn take(world: &mut World, conn: u64) -> u64 {
    match world.hub.pull(ConnKey(conn), world.now) {
        Pulled::Message(entry) => entry.message().position.offset,
        other => panic!("no message: {other:?}"),
    }
}

fn cancel(world: &mut World, offset: u64) {
    assert!(world.logs.cancel(&news(), offset).is_some());
    world.hub.retracted(&news());
    world.settle();
}

fn delete(world: &mut World) {
    world.logs.delete(&news());
    world.hub.retracted(&news());
    world.settle();
}

#[test]
fn what_is_cancelled_does_not_come_from_the_window() {
    let mut world = World::default();
    world.come(attach_to(1, "alice", &["news"]));
    world.publish_many("news", 6);
    assert_eq!([take(&mut world, 1), take(&mut world, 1)], [1, 2]);
    cancel(&mut world, 4);
    assert_eq!(world.pull(1), offsets([3, 5, 6]));
    world.publish("news");
    assert_eq!(world.pull(1), offsets([7]), "and then it goes on");
}

#[test]
fn what_is_cancelled_does_not_come_from_what_was_read_ahead() {
    let mut world = World::new(HubConfig { window_messages: 2, ..HubConfig::default() });
    world.publish_many("news", 20);
    world.come(Attach { start: after(3), ..attach(1, "alice") });
    assert_eq!([take(&mut world, 1), take(&mut world, 1)], [4, 5]);
    for offset in [6, 9, 20] {
        cancel(&mut world, offset);
    }
    assert_eq!(world.pull(1), offsets([7, 8].into_iter().chain(10..=19)));
}

#[test]
fn what_is_cancelled_while_it_is_on_its_way_does_not_come() {
    let mut world = World::new(HubConfig { window_messages: 2, ..HubConfig::default() });
    world.publish_many("news", 9);
    world.engine(Engine::Waits);
    world.come(Attach { start: after(0), ..attach(1, "alice") });
    // Both answers may be of before: where the log ends, and then the page.
    for cancelled in [Some(2), None, Some(3), Some(4)] {
        let late = world.answers_on_their_way();
        assert!(!late.is_empty());
        if let Some(offset) = cancelled {
            cancel(&mut world, offset);
        }
        world.arrive(late);
        world.publish("news");
    }
    cancel(&mut world, 9);
    world.engine(Engine::Answers);
    let got = world.pull(1);
    let cancelled = [2, 3, 4, 9].map(|offset| format!("news {offset}"));
    assert!(cancelled.iter().all(|gone| !got.contains(gone)), "{got:?}");
    assert_eq!(got, offsets([1, 5, 6, 7, 8, 10, 11, 12, 13]), "and nothing else is missing");
}

#[test]
fn a_deleted_log_is_a_gap_wherever_its_messages_were() {
    for (first, ahead) in [(0, true), (17, false)] {
        let mut world = World::new(HubConfig { window_messages: 4, ..HubConfig::default() });
        world.publish_many("news", 20);
        world.come(Attach { start: after(first), ..attach(1, "alice") });
        assert_eq!(take(&mut world, 1), first + 1, "read ahead: {ahead}");
        delete(&mut world);
        assert_eq!(world.pull(1), [format!("gap news {}-21", first + 2)]);
        world.publish("news");
        assert_eq!(world.pull(1), offsets([22]));
    }
}

#[test]
fn a_page_of_a_deleted_log_that_is_on_its_way_does_not_come() {
    let mut world = World::new(HubConfig { window_messages: 2, ..HubConfig::default() });
    world.publish_many("news", 9);
    world.engine(Engine::Waits);
    world.come(Attach { start: after(3), ..attach(1, "alice") });
    for _ in 0..2 {
        let late = world.answers_on_their_way();
        delete(&mut world);
        world.arrive(late);
    }
    world.engine(Engine::Answers);
    assert_eq!(world.pull(1), ["gap news 4-11"]);
}

/// The feed may miss that; who looks at the log finds out.
#[test]
fn what_was_retracted_in_silence_is_found_when_the_log_is_looked_at() {
    for look in [|world: &mut World| world.hub.stale(), |world: &mut World| world.hub.behind(&news())] {
        let mut world = World::new(HubConfig { window_messages: 4, ..HubConfig::default() });
        world.publish_many("news", 12);
        world.come(Attach { start: after(9), ..attach(1, "alice") });
        world.come(Attach { start: after(2), ..attach(2, "bob") });
        assert_eq!((take(&mut world, 1), take(&mut world, 2)), (10, 3));
        assert!(world.logs.cancel(&news(), 11).is_some());
        look(&mut world);
        world.settle();
        assert_eq!(world.pull(1), offsets([12]));
        world.logs.delete(&news());
        look(&mut world);
        world.settle();
        assert_eq!(world.pull(2), ["gap news 4-13"], "what was read ahead is not delivered");
        assert_eq!(world.pull(1), ["gap news 13-13"]);
    }
}

/// What was read is delivered though the log does not keep it any more, by a look as without one.
#[test]
fn what_was_read_before_it_was_trimmed_is_delivered() {
    for keep in [4, 1, 0] {
        let mut world = World::new(HubConfig { window_messages: 4, ..HubConfig::default() });
        world.publish_many("news", 12);
        world.come(Attach { start: after(2), ..attach(1, "alice") });
        assert_eq!(take(&mut world, 1), 3);
        world.logs.trim(&news(), keep);
        world.hub.behind(&news());
        world.settle();
        assert_eq!(world.pull(1), offsets(4..=12), "{keep} are kept");
        world.publish("news");
        assert_eq!(world.pull(1), offsets([13]));
    }
}

/// While a log is opened in another epoch, what comes meanwhile waits for the answer and is not let go of.
#[test]
fn what_comes_while_a_trimmed_log_is_opened_is_not_lost() {
    let mut world = World::new(HubConfig { window_messages: 4, ..HubConfig::default() });
    world.publish_many("news", 30);
    world.come(Attach { start: after(2), ..attach(1, "alice") });
    for offset in 3..=12 {
        assert_eq!(take(&mut world, 1), offset);
    }
    world.logs.lose(&news(), 0, 8);
    world.engine(Engine::Waits);
    assert_eq!(world.pull(1), [""; 0], "the next page is on its way");
    let page = world.answers_on_their_way();
    world.publish("news");
    world.arrive(page);
    world.logs.trim(&news(), 4);
    let opening = world.answers_on_their_way();
    world.publish("news");
    world.arrive(opening);
    world.engine(Engine::Answers);
    let told = [offsets(13..=22), vec!["gap news 23-27".to_owned()], offsets(28..=32)].concat();
    assert_eq!(world.pull(1), told);
}

#[test]
fn what_is_retracted_where_no_session_follows_says_nothing() {
    let mut world = World::default();
    world.publish_many("news", 2);
    world.hub.retracted(&news());
    world.settle();
    assert!(world.said().is_empty() && world.questions() == 0);
    world.come(attach(1, "alice"));
    world.hub.retracted(&channel("@alice"));
    world.settle();
    assert_eq!(world.pull(1), [""; 0]);
    world.publish("@alice");
    assert_eq!(world.pull(1), ["@alice 1"]);
}
