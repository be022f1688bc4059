//! The contract's tests of logs that are closed for good, and of what is created, configured and told of a
//! log. Producers are in `producing.rs`, lifetimes in `lifetimes.rs`.

use encke_proto::MessageId;

use super::{
    Bed,
    lab::{ALL, Lab, NOON, channel, everywhere, ids, message, new_id, offsets, to_channel, update, user},
};
use crate::{
    Configure, EngineError, LogConfig, LogRefusal, LogUpdate, NewMessage, ReadFrom, Retention, Targets,
};

const CLOSED: EngineError = EngineError::Refused(LogRefusal::Closed);

pub(super) fn close(name: &str) -> LogUpdate {
    LogUpdate { close: true, ..update(name) }
}

/// A change with a message, and the message's id.
pub(super) fn with_message(update: LogUpdate) -> (LogUpdate, MessageId) {
    let id = new_id();
    let new = NewMessage { id: id.clone(), body: super::lab::data("1"), from: None, expires: None };
    (LogUpdate { message: Some(new), ..update }, id)
}

pub(super) async fn a_closed_log_takes_nothing_more(bed: &dyn Bed) {
    let rules = everywhere(Retention { max_messages: 100, max_bytes: 1 << 20, max_age_s: 10 });
    let lab = Lab::with(bed, rules).await;
    let written = lab.fill("a", 3).await;
    assert!(!lab.all(&channel("a")).await.closed);
    let closed = lab.update(close("a")).await;
    assert_eq!(
        (closed.created, closed.repeated, closed.message.clone(), closed.closed),
        (false, false, None, true)
    );
    assert_eq!(closed.head.offset, 3);
    let refused = async |when: &str| {
        assert_eq!(lab.engine.append(to_channel("a")).await, Err(CLOSED), "{when}");
        let both = message(Targets::Channels(vec![channel("b"), channel("a")]));
        assert_eq!(lab.engine.append(both).await, Err(CLOSED), "{when}");
        let (update, _) = with_message(update("a"));
        assert_eq!(lab.engine.update_log(update).await, Err(CLOSED), "{when}");
        let again = lab.update(close("a")).await;
        assert_eq!((again.head, again.closed, again.created), (closed.head, true, false), "{when}");
        for from in [ReadFrom::Head, ReadFrom::After(0), ReadFrom::After(2), ReadFrom::Before(2)] {
            let page = lab.read(&channel("a"), from, ALL).await;
            assert!(page.closed && page.head == 3, "{when}, {from:?}");
        }
        let status = lab.engine.log_status(&channel("a")).await.expect("a healthy engine reads");
        assert!(status.is_some_and(|status| status.closed && status.head == closed.head), "{when}");
    };
    refused("at once").await;
    assert_eq!(ids(&lab.all(&channel("a")).await), written, "what was there stays");
    let other = lab.all(&channel("b")).await;
    assert_eq!((other.head, other.closed), (0, false), "the other target got nothing");
    assert_eq!(lab.append(to_channel("b")).await.positions[0].1.offset, 1, "it is open");
    lab.sweep(NOON.plus_seconds(60)).await;
    assert_eq!(lab.all(&channel("a")).await.tail, 4, "its messages grow old");
    refused("after all was trimmed").await;
}

pub(super) async fn one_closed_log_of_very_many_refuses_an_append_whole(bed: &dyn Bed) {
    const LOGS: usize = 1_200;
    let lab = Lab::open(bed).await;
    let names: Vec<_> = (0..LOGS).map(|number| channel(&format!("many-{number:04}"))).collect();
    lab.update(close("many-0700")).await;
    let append = message(Targets::Channels(names.clone()));
    assert_eq!(lab.engine.append(append.clone()).await, Err(CLOSED));
    for name in names.iter().step_by(97).chain(names.last()) {
        assert_eq!(lab.all(name).await.head, 0, "{name}");
    }
    assert!(lab.delete("many-0700").await);
    assert_eq!(lab.append(append).await.positions.len(), LOGS);
}

pub(super) async fn a_message_and_the_end_come_as_one(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.watch([channel("a")]).await;
    lab.fill("a", 1).await;
    lab.feed.wait_for(1).await;
    let (last, id) = with_message(close("a"));
    let updated = lab.update(last).await;
    let (told, position) = updated.message.expect("it has a message");
    assert_eq!((&told, position.offset, updated.closed), (&id, 2, true));
    let page = lab.all(&channel("a")).await;
    assert_eq!((ids(&page).last(), page.closed, page.epoch), (Some(&id), true, position.epoch));
    assert_eq!(lab.feed.wait_for(2).await[1].message().position, position);
    lab.feed.wait_for_behind(&channel("a")).await;
}

pub(super) async fn an_empty_log_can_be_made_and_closed(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    assert_eq!(lab.engine.log_status(&channel("a")).await, Ok(None));
    let touched = lab.update(update("a")).await;
    assert_eq!((touched.created, touched.head.offset), (false, 0));
    assert_eq!(lab.engine.log_status(&channel("a")).await, Ok(None), "a use of no log makes none");
    let closed = lab.update(close("a")).await;
    assert_eq!((closed.created, closed.closed, closed.head.offset), (true, true, 0));
    let page = lab.all(&channel("a")).await;
    assert_eq!((page.tail, page.head, page.closed), (1, 0, true));
    assert_eq!(lab.engine.append(to_channel("a")).await, Err(CLOSED));
}

pub(super) async fn a_closed_log_that_is_deleted_can_be_made_anew(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.fill("a", 2).await;
    lab.update(close("a")).await;
    assert!(lab.delete("a").await);
    let gone = lab.all(&channel("a")).await;
    assert_eq!((gone.closed, gone.tail), (false, gone.head + 1));
    assert_eq!(lab.engine.log_status(&channel("a")).await, Ok(None));
    let anew = lab.append(to_channel("a")).await.positions[0].1;
    assert!(anew.offset > 3, "the offset of the deletion is not given");
    assert!(!lab.all(&channel("a")).await.closed);
}

pub(super) async fn a_log_is_created_once_and_tells_what_it_is_set_to(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let config = |text: &str| LogConfig::new(Some(text), None).expect("this is a content type");
    let create =
        |name: &str, text: &str| LogUpdate { configure: Configure::Create(config(text)), ..update(name) };
    let (first, id) = with_message(create("a", "a/b; c=\"d e\""));
    let made = lab.update(first).await;
    assert!(made.created && !made.closed && made.head.offset == 1);
    let (again, _) = with_message(LogUpdate { close: true, ..create("a", "x/y") });
    let there = lab.update(again).await;
    assert_eq!((there.created, there.message, there.head, there.closed), (false, None, made.head, false));
    let status = async |name: &str| {
        lab.engine.log_status(&channel(name)).await.expect("a healthy engine reads").expect("it is there")
    };
    assert_eq!(status("a").await.config, config("a/b; c=\"d e\""));
    assert_eq!(ids(&lab.all(&channel("a")).await), [id], "nothing of the second change was done");
    lab.fill("b", 2).await;
    assert!(!lab.update(create("b", "x/y")).await.created, "a log that an append made is there as well");
    assert_eq!((status("b").await.config, status("b").await.head.offset), (LogConfig::default(), 2));
    lab.update(LogUpdate { configure: Configure::Replace(config("x/y")), ..update("b") }).await;
    assert_eq!((status("b").await.config, status("b").await.ends), (config("x/y"), None));
    assert_eq!(offsets(&lab.all(&channel("b")).await), [1, 2]);
    lab.update(LogUpdate { configure: Configure::Replace(LogConfig::default()), ..update("b") }).await;
    assert_eq!(status("b").await.config, LogConfig::default());
}

pub(super) async fn the_log_of_a_user_cannot_be_changed(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let own = LogUpdate { channel: user("alice").channel(), ..close("a") };
    assert!(matches!(lab.engine.update_log(own).await, Err(EngineError::Unsupported(_))));
    assert!(!lab.all(&user("alice").channel()).await.closed);
}
