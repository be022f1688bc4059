//! The contract's tests of bodies that are bytes with a content type.

use std::sync::Arc;

use encke_proto::{Body, TypedBytes};

use super::{
    Bed,
    lab::{Lab, channel, everywhere, message, offsets, to_channel},
};
use crate::{Append, Retention, Targets};

fn typed(content_type: &str, bytes: &[u8]) -> Arc<TypedBytes> {
    Arc::new(TypedBytes::new(content_type, bytes).expect("the suite's content types are content types"))
}

fn bytes_of(body: &Body) -> &TypedBytes {
    match body {
        Body::Bytes(typed) => typed,
        other => panic!("bytes became {other:?}"),
    }
}

pub(super) async fn bytes_are_kept_as_they_are_with_their_content_type(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.watch([channel("a")]).await;
    let all: Vec<u8> = (0..=255).chain(*b"\n\n\r\n\0\0 \n").collect();
    let kept = [
        typed("application/octet-stream", &all),
        typed("text/plain; charset=\"utf 8\"", "Grüße\n".as_bytes()),
        typed("a", b""),
        typed("a/b", b"\n"),
        typed("image/png", &all.repeat(100)),
    ];
    for body in &kept {
        lab.append(Append { body: Body::Bytes(Arc::clone(body)), ..to_channel("a") }).await;
    }
    let page = lab.all(&channel("a")).await;
    let heard = lab.feed.wait_for(kept.len()).await;
    assert_eq!(page.entries.len(), kept.len());
    for entries in [&page.entries, &heard] {
        for (entry, kept) in entries.iter().zip(&kept) {
            assert_eq!(bytes_of(&entry.message().body), &**kept);
        }
    }
    // Many logs lie in many places of an engine that has several.
    let names: Vec<_> = (0..40).map(|number| channel(&format!("many-{number}"))).collect();
    let body = Body::Bytes(Arc::clone(&kept[0]));
    lab.append(Append { body, ..message(Targets::Channels(names.clone())) }).await;
    for name in &names {
        let page = lab.all(name).await;
        assert_eq!(bytes_of(&page.entries[0].message().body), &*kept[0], "{name}");
    }
}

pub(super) async fn bytes_are_counted_without_their_content_type(bed: &dyn Bed) {
    let rules = everywhere(Retention { max_messages: 100, max_bytes: 300, max_age_s: 3600 });
    let lab = Lab::with(bed, rules).await;
    for length in [100, 100, 100] {
        let body = Body::Bytes(typed(&"x".repeat(200), &vec![0xff; length]));
        lab.append(Append { body, ..to_channel("a") }).await;
    }
    assert_eq!(offsets(&lab.all(&channel("a")).await), [1, 2, 3]);
    lab.append(Append { body: Body::Bytes(typed("a/b", b"\n")), ..to_channel("a") }).await;
    assert_eq!(offsets(&lab.all(&channel("a")).await), [2, 3, 4]);
}
