//! Sessions whose cursor is too long to go with each event of a stream.

use encke_hub::CloseTarget;
use encke_proto::{Close, CloseCode, limits::CURSOR_INLINE_MAX_BYTES};

use super::*;

/// The channels that a session follows, whose cursor is long by that.
fn channels() -> Vec<String> {
    (0..40).map(|number| format!("a-channel-with-a-long-name-{number:02}")).collect()
}

/// A stream, and its `open` with the id that came with it.
fn stream(world: &World, target: &str, last_event_id: Option<&str>) -> (Wire, Value, String) {
    let mut wire = world.connect();
    let field = last_event_id.map_or(String::new(), |id| format!("\r\nLast-Event-ID: {id}"));
    wire.send(&world.head("alice", target).replace("\r\n\r\n", &format!("{field}\r\n\r\n")));
    wire.until("\r\n\r\n");
    let (name, open, id) = wire.event();
    assert_eq!(name, "opened");
    (wire, open, id)
}

#[test]
fn who_is_cut_off_before_the_first_message_goes_on_from_the_id_of_the_opening() {
    let mut world = World::with(|config| config.heartbeat_s = 1);
    let channels = channels();
    let (wire, open, id) = stream(&world, &format!("/v1/sse?channels={}", channels.join(",")), None);
    assert!(id.len() > CURSOR_INLINE_MAX_BYTES, "{}", id.len());
    assert_eq!(open["cursor"], id.as_str());
    wire.socket.shutdown(Shutdown::Both).unwrap();
    world.until_held("alice", 0);
    world.publish(&channels[39], "1");

    // A browser's EventSource knows nothing but the last id, and the address.
    let (mut wire, open, again) =
        stream(&world, &format!("/v1/sse?channels={}", channels.join(",")), Some(&id));
    assert_eq!(
        (&open["cursor"], again.as_str()),
        (&Value::from(id.as_str()), id.as_str()),
        "each stream begins with one"
    );
    let (_, message, with_it) = wire.event();
    assert_eq!(
        (&message["channel"], &message["offset"]),
        (&Value::from(channels[39].as_str()), &Value::from(1))
    );
    assert_eq!(with_it, "", "it does not go with each event");
    // At rest it is brought up to date, with no event.
    let at_rest = loop {
        let (name, event, id) = wire.event();
        assert_eq!((name.as_str(), &event), ("", &Value::Null));
        if !id.is_empty() {
            break id;
        }
    };
    assert!(at_rest.contains(&format!("~{}~1", channels[39])), "{at_rest}");

    // And with the end, so that a browser knows that it should stay away.
    let close = Close { code: CloseCode::Operator, reason: String::new(), reconnect: false, retry_ms: None };
    let target = CloseTarget::User(UserId::new("alice").unwrap());
    assert_eq!(world.runtime.block_on(world.app().sessions.close(&target, &close)).unwrap(), 2);
    let id = loop {
        let (name, _, id) = wire.event();
        if name == "close" {
            break id;
        }
    };
    assert_eq!(id, format!("{at_rest}~closed"));
}
