//! The contract's tests of internal channels: logs like others that no client can name.

use std::sync::Arc;

use encke_proto::ChannelName;

use super::{
    Bed,
    lab::{ALL, Lab, Listener, NOON, channel, everywhere, ids, message, to_channel},
};
use crate::{Append, Feed, ReadFrom, Retention, RetentionTable, Targets};

fn news() -> ChannelName {
    ChannelName::internal("news")
}

fn own(number: usize) -> ChannelName {
    ChannelName::internal(&format!("own/{number:02}"))
}

fn to_both(number: usize) -> Append {
    let targets = Targets::Channels(vec![news(), own(number)]);
    Append { expires: Some(NOON.plus_seconds(3600)), ..message(targets) }
}

pub(super) async fn an_internal_channel_is_a_log_like_others(bed: &dyn Bed) {
    // What is said of the retention of channels is not said of these.
    let one = Retention { max_messages: 1, max_bytes: 1, max_age_s: 1 };
    let lab = Lab::with(bed, everywhere(one)).await;
    lab.watch([news()]).await;
    let mut written = Vec::new();
    for number in 0..20 {
        let appended = lab.append(to_both(number)).await;
        let places = appended.positions.iter().map(|(name, at)| (name.clone(), at.offset));
        let expected = [(news(), number as u64 + 1), (own(number), 1)];
        assert_eq!(places.collect::<Vec<_>>(), expected);
        written.push(appended.id);
    }
    // An engine of one node tells of the others as well.
    let (mut heard, mut told) = (0, 0);
    while told < 20 {
        let entries = lab.feed.wait_for(heard + 1).await;
        heard = entries.len();
        told = entries.iter().filter(|entry| entry.message().channel == news()).count();
    }
    assert_eq!(told, 20, "the feed is told");
    lab.sweep(NOON.plus_seconds(60)).await;
    assert_eq!(ids(&lab.all(&news()).await), written);
    assert_eq!(ids(&lab.all(&own(7)).await), written[7..8]);

    // They stand before all others in the list.
    lab.append(to_channel("!")).await;
    let names = |after: Option<ChannelName>, limit| {
        let engine = Arc::clone(&lab.engine);
        async move {
            let listed = engine.channels(after.as_ref(), limit).await.expect("a healthy engine reads");
            listed.into_iter().map(|summary| summary.channel).collect::<Vec<_>>()
        }
    };
    assert_eq!(names(Some(ChannelName::last_internal()), 9).await, [channel("!")]);
    assert_eq!(names(Some(own(17)), 9).await, [own(18), own(19), channel("!")]);
    assert_eq!(names(Some(ChannelName::internal("own/")), 2).await, [own(0), own(1)]);

    assert_eq!(lab.engine.delete(&own(3)).await, Ok(true));
    assert_eq!(names(Some(own(2)), 1).await, [own(4)]);
    assert_eq!(ids(&lab.all(&own(3)).await), []);
}

pub(super) async fn an_internal_channel_is_there_after_a_reopening(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let written = lab.append(to_both(1)).await.id;
    let before = lab.read(&news(), ReadFrom::Head, ALL).await.epoch;
    lab.engine.stop().await;
    let feed = Arc::new(Listener::default());
    let told = Arc::clone(&feed) as Arc<dyn Feed>;
    let engine = bed.reopen(Arc::clone(&lab.engine), told, RetentionTable::default()).await;
    let again = Lab { engine, feed };
    let page = again.all(&news()).await;
    if page.epoch == before {
        assert_eq!(ids(&page), ids(&again.all(&own(1)).await));
        assert_eq!(ids(&page), [written]);
    }
}
