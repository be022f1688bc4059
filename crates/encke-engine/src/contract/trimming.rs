//! The contract's tests of retention: by count, bytes and age, which rule applies, and what expired at the
//! tail.

use encke_proto::Time;

use super::{
    Bed,
    lab::{Lab, NOON, channel, data, everywhere, ids, message, offsets, to_channel},
};
use crate::{Append, Retention, RetentionTable, Targets};

const WIDE: Retention = Retention { max_messages: 1000, max_bytes: 1 << 20, max_age_s: 3600 };

pub(super) async fn retention_by_count_keeps_the_newest(bed: &dyn Bed) {
    let lab = Lab::with(bed, everywhere(Retention { max_messages: 5, ..WIDE })).await;
    let mut written = Vec::new();
    for count in 1..=12_usize {
        written.extend(lab.fill("a", 1).await);
        let page = lab.all(&channel("a")).await;
        assert_eq!(
            ids(&page),
            written[count.saturating_sub(5)..],
            "never less than the rule allows, and never more"
        );
        assert_eq!((page.tail, page.head), (count.saturating_sub(5) as u64 + 1, count as u64));
    }
    let one = Lab::with(bed, everywhere(Retention { max_messages: 1, ..WIDE })).await;
    let written = one.fill("a", 3).await;
    assert_eq!(ids(&one.all(&channel("a")).await), written[2..]);
}

pub(super) async fn retention_by_bytes_keeps_the_newest(bed: &dyn Bed) {
    let lab = Lab::with(bed, everywhere(Retention { max_bytes: 1000, ..WIDE })).await;
    let of =
        |length: usize| Append { body: data(&format!("\"{}\"", "x".repeat(length - 2))), ..to_channel("a") };
    for (length, kept) in
        [(300, 1..=1), (300, 1..=2), (400, 1..=3), (2, 2..=4), (2000, 5..=5), (500, 6..=6), (500, 6..=7)]
    {
        lab.append(of(length)).await;
        let page = lab.all(&channel("a")).await;
        assert_eq!(offsets(&page), kept.collect::<Vec<_>>(), "after {length} bytes at {}", page.head);
    }
}

pub(super) async fn retention_by_age_trims_in_the_sweep(bed: &dyn Bed) {
    let lab = Lab::with(bed, everywhere(Retention { max_age_s: 10, ..WIDE })).await;
    for second in 0..5 {
        lab.append(Append { time: NOON.plus_seconds(second), ..to_channel("a") }).await;
    }
    for (now, tail) in [(0, 1), (10, 1), (11, 2), (12, 3), (13, 4), (100, 6)] {
        lab.sweep(NOON.plus_seconds(now)).await;
        let page = lab.all(&channel("a")).await;
        assert_eq!((page.tail, page.head), (tail, 5), "{now} s later");
        assert_eq!(offsets(&page), (tail..=5).collect::<Vec<_>>());
    }
}

pub(super) async fn the_first_rule_that_fits_wins(bed: &dyn Bed) {
    let of = |max_messages| Retention { max_messages, ..WIDE };
    let rules =
        vec![("news:*".to_owned(), of(2)), ("news:big".to_owned(), of(9)), ("*:log".to_owned(), of(3))];
    let lab = Lab::with(bed, RetentionTable { rules, public: of(4), own: of(5) }).await;
    for (name, kept) in [("news:big", 2), ("x:log", 3), ("plain", 4)] {
        lab.fill(name, 9).await;
        assert_eq!(lab.all(&channel(name)).await.entries.len(), kept, "{name}");
    }
    for _ in 0..9 {
        lab.append(super::lab::to_users(&["alice"])).await;
    }
    assert_eq!(lab.all(&super::lab::user("alice").channel()).await.entries.len(), 5, "a user's own channel");
    for _ in 0..9 {
        lab.append(message(Targets::AllUsers)).await;
    }
    assert_eq!(offsets(&lab.all(&super::lab::user("alice").channel()).await), [14, 15, 16, 17, 18]);
}

pub(super) async fn the_sweep_trims_what_expired_at_the_tail(bed: &dyn Bed) {
    let lab = Lab::with(bed, everywhere(WIDE)).await;
    for expires in [Some(5), Some(3), None, Some(1)] {
        let expires = expires.map(|seconds: u64| NOON.plus_seconds(seconds));
        lab.append(Append { expires, ..to_channel("a") }).await;
    }
    for (now, tail) in [(Time(NOON.0 + 4999), 1), (NOON.plus_seconds(5), 3), (NOON.plus_seconds(60), 3)] {
        lab.sweep(now).await;
        let page = lab.all(&channel("a")).await;
        assert_eq!(offsets(&page), (tail..=4).collect::<Vec<_>>());
    }
}

pub(super) async fn a_shared_body_lives_as_long_as_one_log_holds_it(bed: &dyn Bed) {
    let lab = Lab::with(bed, everywhere(Retention { max_messages: 2, ..WIDE })).await;
    let all = || Targets::Channels(["a", "b", "c"].map(channel).into());
    let shared = lab.append(Append { body: data("\"shared\""), ..message(all()) }).await.id;
    for gone in ["a", "b"] {
        lab.fill(gone, 2).await;
        assert!(!ids(&lab.all(&channel(gone)).await).contains(&shared));
    }
    assert_eq!(ids(&lab.all(&channel("c")).await), [shared]);
    lab.fill("c", 2).await;
    let next = lab.append(message(all())).await.id;
    for name in ["a", "b", "c"] {
        assert_eq!(ids(&lab.all(&channel(name)).await).last(), Some(&next));
    }
}
