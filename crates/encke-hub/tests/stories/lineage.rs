//! A log that may have lost its end goes on in a new epoch: a session that stood before the end need not hear
//! of it, and one that stood behind it does.

use encke_hub::{Attach, HubConfig, Start};
use encke_proto::{Cursor, Epoch, Position};

use crate::{
    support::channel,
    world::{World, attach},
};

fn at(epoch: u64, offset: u64) -> Start {
    let mut cursor = Cursor::default();
    cursor.set(&channel("news"), Position { epoch: Epoch(epoch), offset });
    Start::Cursor(cursor)
}

/// Six messages in epoch 7, read up to the third.
fn world() -> World {
    let mut world = World::new(HubConfig { window_messages: 2, ..HubConfig::default() });
    world.publish_many("news", 6);
    world
}

#[test]
fn who_stands_at_the_end_of_what_was_kept_hears_nothing_of_it() {
    let mut world = world();
    world.come(Attach { start: at(7, 3), ..attach(1, "alice") });
    assert_eq!(world.pull(1), ["news 4", "news 5", "news 6"]);
    world.logs.lose(&channel("news"), 0, 8);
    world.publish("news");
    assert_eq!(world.pull(1), ["news 7"]);
    assert_eq!(world.cursor(1).position(&channel("news")), Some(Position { epoch: Epoch(8), offset: 7 }));
}

#[test]
fn a_cursor_from_before_goes_on_where_it_was() {
    for window in [2, 100] {
        let mut world = World::new(HubConfig { window_messages: window, ..HubConfig::default() });
        world.publish_many("news", 6);
        world.logs.lose(&channel("news"), 2, 8);
        world.come(Attach { start: at(7, 3), ..attach(1, "alice") });
        assert_eq!(world.pull(1), ["news 4"]);
        world.publish("news");
        assert_eq!(world.pull(1), ["news 5"]);
    }
}

#[test]
fn who_stood_behind_what_was_kept_is_told_and_nothing_comes_twice() {
    let mut world = world();
    world.come(Attach { start: at(7, 3), ..attach(1, "alice") });
    assert_eq!(world.pull(1).len(), 3);
    world.logs.lose(&channel("news"), 2, 8);
    world.publish("news");
    world.publish("news");
    assert_eq!(world.pull(1), ["gap news 7-", "news 5", "news 6"]);
}

#[test]
fn a_cursor_from_behind_what_was_kept_is_told_too() {
    let mut world = world();
    world.logs.lose(&channel("news"), 2, 8);
    world.publish_many("news", 5);
    world.come(Attach { start: at(7, 6), ..attach(1, "alice") });
    assert_eq!(world.pull(1), ["gap news 7-", "news 5", "news 6", "news 7", "news 8", "news 9"]);
}

#[test]
fn it_holds_over_many_losses() {
    let mut world = world();
    world.logs.lose(&channel("news"), 1, 8);
    world.publish_many("news", 3);
    world.logs.lose(&channel("news"), 4, 9);
    world.publish("news");
    world.come(Attach { start: at(7, 4), ..attach(1, "alice") });
    assert_eq!(world.pull(1), ["news 5"], "the fourth outlived both");
    world.come(Attach { start: at(7, 5), ..attach(2, "bob") });
    assert_eq!(world.pull(2), ["gap news 6-", "news 5"], "the fifth outlived the first loss only");
    world.come(Attach { start: at(3, 1), ..attach(3, "carol") });
    assert_eq!(world.pull(3)[0], "gap news 2-", "of an unknown epoch nothing is kept");
}
