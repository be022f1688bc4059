//! Devices of a user: each goes on where it was, whatever others were given.

use encke::devices;
use encke_proto::DeviceName;

use super::{receipts::TARGETS, *};

impl World {
    /// How far a device has got, as it is written down.
    fn place(&self, user: &str, device: &str) -> Option<u64> {
        let (user, device) = (UserId::new(user).unwrap(), DeviceName::new(device).unwrap());
        let places = self.runtime.block_on(devices::read(&*self.app().engine, &user)).unwrap();
        places.of(&device).map(|position| position.offset)
    }

    fn until_place(&self, user: &str, device: &str, offset: u64) {
        self.until(|| self.place(user, device) == Some(offset));
    }

    /// A connection of a device, which has neither a cursor nor a session.
    fn device(&self, user: &str, target: &str, device: &str) -> Wire {
        let mut wire = self.connect();
        let joint = if target.contains('?') { '&' } else { '?' };
        wire.send(&self.ask(user, &format!("{target}{joint}device={device}")));
        wire
    }
}

/// What comes up to and with a push, which is named by this text.
fn came(wire: &mut Wire, push: &str) -> String {
    loop {
        let text = String::from_utf8_lossy(&wire.seen).into_owned();
        if text.contains(push) {
            return text;
        }
        let mut buffer = [0; 4096];
        let count = wire.socket.read(&mut buffer).unwrap();
        assert!(count > 0, "the server closed: {text}");
        wire.seen.extend_from_slice(&buffer[..count]);
    }
}

#[test]
fn each_device_is_given_each_push_once_over_every_transport() {
    let mut world = World::new();
    for (number, target) in TARGETS.into_iter().enumerate() {
        let user = format!("user {number}");
        world.push(&user, "\"push-1\"");
        world.push(&user, "\"push-2\"");
        for device in ["laptop", "phone"] {
            let text = came(&mut world.device(&user, target, device), "push-2");
            assert!(text.contains("push-1"), "{target}, {device}: {text}");
            world.until_place(&user, device, 2);
        }
        world.until_held(&user, 0);
        world.push(&user, "\"push-3\"");
        for device in ["laptop", "phone"] {
            let text = came(&mut world.device(&user, target, device), "push-3");
            assert!(!text.contains("push-1") && !text.contains("push-2"), "{target}, {device}: {text}");
            world.until_place(&user, device, 3);
        }
        let text = came(&mut world.device(&user, target, "tablet"), "push-3");
        assert!(text.contains("push-1") && text.contains("push-2"), "{target}: {text}");
        assert_eq!(world.next_session(&user), 0, "{target}: of no device, behind what was handed to any");
    }
}

#[test]
fn a_device_that_polls_without_a_cursor_goes_through_its_pushes() {
    let mut world = World::new();
    let mut wire = world.connect();
    for number in 1..4 {
        world.push("alice", &number.to_string());
        wire.send(&world.head("alice", "/v1/poll?device=phone&hold_s=0"));
        // It is the same connection, so what was answered before is acknowledged.
        assert_eq!(data(&wire.response().1), [number]);
    }
    world.until_place("alice", "phone", 3);
    let (_, answer) = world.poll("alice", "device=phone&cursor=earliest&hold_s=0");
    assert_eq!(data(&answer), [1, 2, 3], "a cursor wins");
    let (_, answer) = world.poll("alice", "device=phone&hold_s=0");
    assert_eq!(data(&answer), [0; 0], "and moves no place back");
    for (name, status) in [("%20", 400), ("a%00", 400), (&*"x".repeat(65), 400), (&"x".repeat(64), 200)] {
        assert_eq!(world.poll("alice", &format!("device={name}&hold_s=0")).0, status, "{name}");
    }
}

#[test]
fn a_receipt_tells_which_devices_have_got_a_push() {
    let mut world = World::new();
    world.push("alice", "\"push-1\"");
    for device in ["laptop", "phone"] {
        came(&mut world.device("alice", "/v1/poll", device), "push-1");
        world.until_place("alice", device, 1);
    }
    let id = MessageId::from_bits(world.next_id);
    world.push("alice", "\"push-2\"");
    came(&mut world.device("alice", "/v1/poll", "phone"), "push-2");
    world.until_place("alice", "phone", 2);
    let receipts = |query: &str| {
        let (key, mut wire) = ("k".repeat(32), world.connect());
        wire.send(&format!(
            "GET /api/push/{id}{query} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n"
        ));
        let (status, answer) = wire.response();
        assert_eq!(status, 200, "{answer}");
        answer["receipts"].clone()
    };
    let alice = receipts("?devices=true")[0].clone();
    assert_eq!((&alice["user"], &alice["state"]), (&"alice".into(), &"delivered".into()));
    let mut devices = alice["devices"].as_array().unwrap().clone();
    devices.sort_by_key(|one| one["device"].to_string());
    let expected = [("laptop", "queued"), ("phone", "delivered")];
    assert_eq!(
        devices,
        expected.map(|(device, state)| serde_json::json!({"device": device, "state": state}))
    );
    assert!(receipts("")[0].get("devices").is_none());
}

#[test]
fn a_user_who_is_deleted_leaves_no_place() {
    let mut world = World::new();
    world.push("alice", "1");
    assert_eq!(data(&world.poll("alice", "device=phone&hold_s=0").1), [1]);
    world.until_place("alice", "phone", 1);
    let mut wire = world.connect();
    let (address, key) = (world.address, "k".repeat(32));
    wire.send(&format!(
        "DELETE /api/users/alice HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n\r\n"
    ));
    assert_eq!(wire.response().0, 200);
    assert_eq!(world.place("alice", "phone"), None);
    world.push("alice", "2");
    assert_eq!(data(&world.poll("alice", "device=phone&hold_s=0").1), [2]);
}

#[test]
fn users_without_devices_have_no_log_of_places() {
    let mut world = World::new();
    world.push("alice", "1");
    assert_eq!(data(&world.poll("alice", "hold_s=0").1), [1]);
    world.until_delivered();
    let alice = UserId::new("alice").unwrap();
    world.runtime.block_on(world.app().shards.settle(&alice)).unwrap();
    let after = ChannelName::internal(encke_engine::DEVICE_LOGS);
    let logs = world.runtime.block_on(world.app().engine.channels(Some(&after), 9)).unwrap();
    assert!(!logs.iter().any(|log| log.channel == devices::log_of(&alice)), "{logs:?}");
}
