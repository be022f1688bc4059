//! The contract's tests of read: exact pages in both directions, limits, and no holes.

use encke_proto::Time;

use super::{
    Bed,
    lab::{ALL, Lab, NOON, channel, data, everywhere, ids, offsets, to_channel},
};
use crate::{Append, PageLimit, ReadFrom, Retention};

/// A log of the offsets 4 to 10.
async fn trimmed_log(bed: &dyn Bed) -> Lab {
    let lab =
        Lab::with(bed, everywhere(Retention { max_messages: 7, max_bytes: 1 << 20, max_age_s: 3600 })).await;
    lab.fill("other", 3).await;
    lab.fill("a", 10).await;
    lab.fill("other", 3).await;
    lab
}

pub(super) async fn forwards_is_exact_from_every_position(bed: &dyn Bed) {
    let lab = trimmed_log(bed).await;
    for after in [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 1000, u64::MAX - 1, u64::MAX] {
        let page = lab.read(&channel("a"), ReadFrom::After(after), ALL).await;
        assert_eq!((page.tail, page.head), (4, 10), "after {after}");
        let expected: Vec<u64> = (4..=10).filter(|offset| *offset > after).collect();
        assert_eq!(offsets(&page), expected, "after {after}");
        assert!(page.entries.iter().all(|entry| entry.message().position.epoch == page.epoch));
    }
}

pub(super) async fn backwards_is_exact_from_every_position(bed: &dyn Bed) {
    let lab = trimmed_log(bed).await;
    for before in [0, 1, 4, 5, 6, 9, 10, 11, 12, 1000, u64::MAX] {
        for messages in [1, 2, 3, 100] {
            let limit = PageLimit { messages, ..ALL };
            let page = lab.read(&channel("a"), ReadFrom::Before(before), limit).await;
            assert_eq!((page.tail, page.head), (4, 10), "before {before}");
            let below: Vec<u64> = (4..=10).filter(|offset| *offset < before).collect();
            let expected = &below[below.len().saturating_sub(messages)..];
            assert_eq!(offsets(&page), expected, "the last {messages} before {before}, in rising order");
        }
    }
}

pub(super) async fn the_head_alone_brings_no_messages(bed: &dyn Bed) {
    let lab = trimmed_log(bed).await;
    let page = lab.read(&channel("a"), ReadFrom::Head, ALL).await;
    assert_eq!((page.tail, page.head, page.entries.len()), (4, 10, 0));
    assert_eq!(page.epoch, lab.all(&channel("a")).await.epoch);
}

pub(super) async fn limits_hold_but_one_message_always_comes(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    for length in [100, 100, 5000, 100, 100] {
        let body = data(&format!("\"{}\"", "x".repeat(length - 2)));
        lab.append(Append { body, ..to_channel("a") }).await;
    }
    for (from, messages, bytes, expected) in [
        (ReadFrom::After(0), 2, 1 << 20, vec![1, 2]),
        (ReadFrom::After(0), 0, 1 << 20, vec![1]),
        (ReadFrom::After(0), 100, 250, vec![1, 2]),
        (ReadFrom::After(0), 100, 200, vec![1, 2]),
        (ReadFrom::After(2), 100, 200, vec![3]),
        (ReadFrom::After(2), 100, 0, vec![3]),
        (ReadFrom::After(3), usize::MAX, usize::MAX, vec![4, 5]),
        (ReadFrom::Before(6), 100, 250, vec![4, 5]),
        (ReadFrom::Before(4), 100, 200, vec![3]),
        (ReadFrom::Before(4), 0, 0, vec![3]),
        (ReadFrom::Before(3), usize::MAX, usize::MAX, vec![1, 2]),
    ] {
        let page = lab.read(&channel("a"), from, PageLimit { messages, bytes }).await;
        assert_eq!(offsets(&page), expected, "{from:?}, {messages} messages, {bytes} bytes");
        assert_eq!((page.tail, page.head), (1, 5));
    }
}

pub(super) async fn pages_put_together_are_the_log(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let written = lab.fill("a", 100).await;
    for messages in [1, 7, 33, 100] {
        let limit = PageLimit { messages, ..ALL };
        let (mut after, mut forwards) = (0, Vec::new());
        // An engine that does not get on must not keep the suite from saying so.
        for _ in 0..100_usize.div_ceil(messages) {
            let page = lab.read(&channel("a"), ReadFrom::After(after), limit).await;
            after = *offsets(&page).last().expect("there is more");
            forwards.extend(ids(&page));
        }
        assert_eq!(forwards, written);
        let (mut before, mut backwards) = (101, Vec::new());
        for _ in 0..100_usize.div_ceil(messages) {
            let page = lab.read(&channel("a"), ReadFrom::Before(before), limit).await;
            before = *offsets(&page).first().expect("there is more");
            backwards.splice(0..0, ids(&page));
        }
        assert_eq!(backwards, written);
    }
}

pub(super) async fn a_channel_without_messages_is_an_empty_log(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let epoch = lab.append(to_channel("other")).await.positions[0].1.epoch;
    for from in [
        ReadFrom::After(0),
        ReadFrom::After(5),
        ReadFrom::Before(0),
        ReadFrom::Before(u64::MAX),
        ReadFrom::Head,
    ] {
        let page = lab.read(&channel("a"), from, ALL).await;
        assert_eq!((page.tail, page.head, page.entries.len()), (1, 0, 0), "{from:?}");
    }
    let before = lab.read(&channel("a"), ReadFrom::Head, ALL).await.epoch;
    let first = lab.append(to_channel("a")).await.positions[0].1;
    assert_eq!((first.epoch, first.offset), (before, 1), "a cursor into the empty log stays good");
    assert_eq!(lab.all(&channel("other")).await.epoch, epoch);
}

pub(super) async fn expired_messages_leave_no_hole(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    for index in 0..6 {
        let expires = (index % 2 == 1).then_some(Time(NOON.0 + 10));
        lab.append(Append { expires, ..to_channel("a") }).await;
    }
    lab.sweep(NOON.plus_seconds(60)).await;
    let page = lab.all(&channel("a")).await;
    let kept = offsets(&page);
    assert_eq!(kept, (page.tail..=6).collect::<Vec<_>>(), "consecutive up to the head");
    assert!(page.tail <= 1, "the oldest has no expiry, so nothing before or behind it was trimmed");
}
