//! The contract's tests of stop and reopen: refused calls after the stop, and a log that is either whole or
//! of a new epoch. How keys and ages go on after a reopening is in `reopening.rs`.

use std::sync::Arc;

use encke_proto::MessageId;

use super::{
    Bed,
    lab::{ALL, Lab, Listener, NOON, channel, ids, new_id, to_channel, to_users, user},
};
use crate::{Append, Appended, Engine, EngineError, Feed, Key, ReadFrom, ReceiptState, RetentionTable};

fn unavailable<T>(result: Result<T, EngineError>) -> bool {
    matches!(result, Err(EngineError::Unavailable(_)))
}

pub(super) async fn an_engine_is_ready_until_it_stops(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    assert_eq!(lab.engine.ready().await, Ok(()));
    let begun: Vec<_> = (0..20)
        .map(|_| {
            let engine = lab.engine.clone();
            tokio::spawn(async move { engine.append(to_channel("a")).await })
        })
        .collect();
    lab.engine.stop().await;
    for append in begun {
        // What was begun was finished or refused; no caller waits for ever.
        let result = append.await.expect("no task panics");
        assert!(result.is_ok() || unavailable(result));
    }
    let engine: &dyn Engine = &*lab.engine;
    assert!(unavailable(engine.ready().await));
    assert!(unavailable(engine.append(to_channel("a")).await));
    assert!(unavailable(engine.read(&channel("a"), ReadFrom::Head, ALL).await));
    assert!(unavailable(engine.channels(None, 1).await));
    assert!(unavailable(engine.seen(&user("alice"), NOON).await));
    assert!(unavailable(engine.user(&user("alice")).await));
    assert!(unavailable(engine.users(None, 1).await));
    assert!(unavailable(engine.handed(&user("alice")).await));
    assert!(unavailable(engine.mark(Vec::new()).await));
    assert!(unavailable(engine.receipts(&new_id(), None, 1, NOON).await));
    assert!(unavailable(engine.update_log(super::lab::update("a")).await));
    assert!(unavailable(engine.log_status(&channel("a")).await));
    assert!(unavailable(engine.sweep(NOON).await));
    engine.stop().await;
}

/// What a store held before it was closed.
struct Before {
    published: Vec<MessageId>,
    keyed: Appended,
    push: MessageId,
}

pub(super) async fn a_reopened_engine_has_its_log_or_another_epoch(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let published = lab.fill("a", 20).await;
    let keyed = lab.append(Append { key: Some(Key::new("api:1")), ..to_channel("b") }).await;
    let push = lab.append(to_users(&["alice"])).await.id;
    lab.append(to_users(&["alice"])).await;
    lab.mark("alice", 1, ReceiptState::Delivered, NOON).await;
    lab.engine.seen(&user("bob"), NOON).await.expect("a healthy engine sees");
    let old = lab.all(&channel("a")).await.epoch;
    lab.engine.stop().await;

    let feed = Arc::new(Listener::default());
    let engine = bed
        .reopen(Arc::clone(&lab.engine), Arc::clone(&feed) as Arc<dyn Feed>, RetentionTable::default())
        .await;
    let again = Lab { engine, feed };
    let page = again.all(&channel("a")).await;
    if page.epoch == old {
        everything_is_there(&again, &Before { published, keyed, push }).await;
    } else {
        assert_eq!((page.head, page.entries.len()), (0, 0), "a new epoch begins with an empty log");
        let first = again.append(to_channel("a")).await.positions[0].1;
        assert_eq!((first.epoch, first.offset), (page.epoch, 1));
    }
}

async fn everything_is_there(lab: &Lab, before: &Before) {
    let page = lab.all(&channel("a")).await;
    assert_eq!(ids(&page), before.published);
    let repeat = lab.append(Append { key: Some(Key::new("api:1")), ..to_channel("b") }).await;
    assert_eq!(repeat, Appended { repeated: true, ..before.keyed.clone() });
    assert_eq!(lab.receipt(&before.push, NOON).await.0, ReceiptState::Delivered);
    assert_eq!(lab.engine.handed(&user("alice")).await.expect("a healthy engine reads").offset, 1);
    let users = lab.engine.users(None, 10).await.expect("a healthy engine reads");
    assert_eq!(users.iter().map(|record| record.user.as_str()).collect::<Vec<_>>(), ["alice", "bob"]);
    lab.watch([channel("a"), user("alice").channel()]).await;
    assert_eq!(lab.append(to_channel("a")).await.positions[0].1.offset, 21, "offsets go on");
    assert_eq!(lab.append(to_users(&["alice"])).await.positions[0].1.offset, 3);
    assert_eq!(lab.feed.wait_for(2).await.len(), 2, "the feed hears only what is new");
}
