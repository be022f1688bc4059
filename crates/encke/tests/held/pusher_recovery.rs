//! What a client of Pusher has missed comes when it is back, over raw sockets: who is known again, from where
//! on it is sent what there was, and what is not sent again. Its own library is asked in
//! `tests/e2e/pusher-recovery.test.js`.

use encke_engine::{PLACES_MAX, PageLimit, ReadFrom};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    pusher::{enable, frames, signature, socket_id},
    ws::KEY,
    *,
};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const ORIGIN: &str = "https://shop.example";

/// How a client goes.
type Way = fn(Page, &World);

/// A page in a browser that keeps this cookie.
struct Page {
    wire: Wire,
    cookie: Option<String>,
    id: String,
}

impl World {
    /// Opens a WebSocket with these fields; the answer's cookie.
    fn opens(&self, fields: &str) -> Page {
        let mut wire = self.connect();
        let (address, target) = (self.address, "/app/app-key?protocol=7");
        wire.send(&format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n{fields}{KEY}\r\n\r\n"));
        let head = wire.until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).map(str::to_owned);
        let hello = wire.on_bytes();
        Page { wire, cookie, id: socket_id(&hello) }
    }

    /// A page of a browser that was not here before.
    fn page(&self) -> Page {
        let page = self.opens(&format!("Origin: {ORIGIN}\r\n"));
        assert!(page.cookie.is_some());
        page
    }

    /// A page of the same browser.
    fn page_with(&self, cookie: &str) -> Page {
        let cookie = cookie.split(';').next().unwrap();
        let page = self.opens(&format!("Origin: {ORIGIN}\r\nCookie: a=b; {cookie}\r\n"));
        assert_eq!(page.cookie, None);
        page
    }

    fn tells(&mut self, channel: &str, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let event = json!({ "event": "number", "data": number.to_string() });
            self.publish(&format!("pusher:1:{channel}"), &event.to_string());
        }
    }

    /// How many records there were in a log.
    fn records(&self, log: &ChannelName) -> u64 {
        let limit = PageLimit { messages: 1, bytes: 1 };
        self.runtime.block_on(self.app().engine.read(log, ReadFrom::Head, limit)).unwrap().head
    }

    /// Waits until the server knows that a client is gone.
    fn until_gone(&self, id: &str) {
        let user = format!("pusher:1:{id}");
        self.until(|| self.sessions(&user) == 0);
    }
}

impl Page {
    fn subscribes(&mut self, channel: &str) {
        let told = self.subscribes_with(&json!({ "channel": channel }));
        assert_eq!(told["event"], "pusher_internal:subscription_succeeded", "{told}");
    }

    fn subscribes_with(&mut self, data: &Value) -> Value {
        let frame = json!({ "event": "pusher:subscribe", "data": data });
        self.wire.say(TEXT, frame.to_string().as_bytes());
        self.wire.on_bytes()
    }

    /// Subscribes to a presence channel as this user.
    fn joins(&mut self, channel: &str, user: &str) -> Value {
        let data = json!({ "user_id": user }).to_string();
        let auth = format!("app-key:{}", signature(&format!("{}:{channel}:{data}", self.id)));
        self.subscribes_with(&json!({ "channel": channel, "auth": auth, "channel_data": data }))
    }

    /// The numbers that come next, and nothing else.
    fn receives(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let told = self.wire.on_bytes();
            assert_eq!((&told["event"], &told["data"]), (&json!("number"), &json!(number.to_string())));
        }
    }

    /// Nothing else has come before the answer to this.
    fn has_no_more(&mut self) {
        self.wire.say(TEXT, br#"{"event":"pusher:ping","data":{}}"#);
        assert_eq!(self.wire.on_bytes()["event"], "pusher:pong");
    }

    /// The network takes it away.
    fn vanishes(self, world: &World) {
        drop(self.wire);
        world.until_gone(&self.id);
    }

    /// It closes with this status.
    fn closes(mut self, world: &World, status: u16) {
        self.wire.say(CLOSE, &status.to_be_bytes());
        world.until_gone(&self.id);
    }
}

#[test]
fn what_a_browser_missed_comes_once_in_order_and_before_anything_new() {
    let mut world = World::with(enable);
    let mut page = world.page();
    let cookie = page.cookie.clone().unwrap();
    assert!(cookie.contains("; Path=/app/app-key; HttpOnly; SameSite="), "{cookie}");
    page.subscribes("news");
    world.tells("news", 0..3);
    page.receives(0..3);
    page.vanishes(&world);
    world.tells("news", 3..9);
    let mut page = world.page_with(&cookie);
    page.subscribes("news");
    world.tells("news", 9..12);
    page.receives(3..12);
    page.vanishes(&world);
    world.tells("news", 12..15);
    let mut page = world.page_with(&cookie);
    page.subscribes("news");
    page.receives(12..15);
    page.has_no_more();
    // Another page of the browser has missed nothing.
    let mut other = world.page_with(&cookie);
    other.subscribes("news");
    other.has_no_more();
}

#[test]
fn two_pages_of_a_browser_each_get_what_they_missed_and_one_that_stays_gets_nothing_twice() {
    let mut world = World::with(enable);
    let mut pages = [world.page(), world.page()];
    let cookie = pages[0].cookie.clone().unwrap();
    pages[1] = world.page_with(&cookie);
    let mut stays = world.page_with(&cookie);
    for page in pages.iter_mut().chain([&mut stays]) {
        page.subscribes("a");
        page.subscribes("b");
    }
    world.tells("a", 0..2);
    for page in pages.iter_mut().chain([&mut stays]) {
        page.receives(0..2);
    }
    for page in pages {
        page.vanishes(&world);
    }
    world.tells("a", 2..5);
    let mut pages = [world.page_with(&cookie), world.page_with(&cookie)];
    for page in &mut pages {
        page.subscribes("a");
        page.receives(2..5);
        world.tells("b", 0..1);
    }
    for page in &mut pages {
        page.subscribes("b");
        page.receives(0..1);
        page.receives(0..1);
        page.has_no_more();
    }
    stays.receives(2..5);
    let mut third = world.page_with(&cookie);
    third.subscribes("a");
    third.has_no_more();
}

#[test]
fn of_pages_that_went_at_different_times_none_loses_anything() {
    let mut world = World::with(enable);
    let mut early = world.page();
    let cookie = early.cookie.clone().unwrap();
    let mut late = world.page_with(&cookie);
    for page in [&mut early, &mut late] {
        page.subscribes("a");
        page.subscribes("b");
    }
    world.tells("a", 0..2);
    early.receives(0..2);
    early.vanishes(&world);
    world.tells("a", 2..4);
    late.receives(0..4);
    late.vanishes(&world);
    world.tells("a", 4..6);
    world.tells("b", 0..1);
    // Which of them comes first nothing says.
    let mut pages = [world.page_with(&cookie), world.page_with(&cookie)];
    for page in &mut pages {
        page.subscribes("a");
        page.receives(2..6);
        page.subscribes("b");
        page.receives(0..1);
        page.has_no_more();
    }
    let mut third = world.page_with(&cookie);
    third.subscribes("a");
    third.has_no_more();
}

#[test]
fn one_that_is_not_let_in_leaves_its_place_to_one_that_is() {
    let (mut world, _clock) = World::clocked(|config| {
        enable(config);
        (config.limits.user_requests_per_s, config.limits.burst_s) = (1, 30);
    });
    let mut page = world.page();
    let cookie = page.cookie.clone().unwrap();
    page.subscribes("news");
    page.vanishes(&world);
    world.tells("news", 0..2);
    let mut hasty = world.page_with(&cookie);
    let mut is_refused = |channel: &str| {
        hasty.subscribes_with(&json!({ "channel": channel }))["event"] == "pusher:subscription_error"
    };
    assert!((0..40).any(|number| is_refused(&format!("other-{number}"))));
    assert!(is_refused("news"));
    let mut page = world.page_with(&cookie);
    page.subscribes("news");
    page.receives(0..2);
    page.has_no_more();
}

#[test]
fn no_rate_keeps_a_client_in_a_channel() {
    let (mut world, _clock) = World::clocked(|config| {
        enable(config);
        (config.limits.user_requests_per_s, config.limits.burst_s) = (1, 30);
    });
    let mut page = world.page();
    let cookie = page.cookie.clone().unwrap();
    page.subscribes("news");
    let mut is_refused = |channel: &str| {
        page.subscribes_with(&json!({ "channel": channel }))["event"] == "pusher:subscription_error"
    };
    assert!((0..40).any(|number| is_refused(&format!("other-{number}"))));
    page.wire.say(TEXT, br#"{"event":"pusher:unsubscribe","data":{"channel":"news"}}"#);
    page.has_no_more();
    world.tells("news", 0..1);
    page.has_no_more();
    page.vanishes(&world);
    let mut page = world.page_with(&cookie);
    page.subscribes("news");
    page.has_no_more();
}

#[test]
fn who_has_said_goodbye_or_is_another_has_missed_nothing() {
    let mut world = World::with(enable);
    let ways: [(&str, Way, bool); 5] = [
        ("a page that is left", |page, world| page.closes(world, 1001), false),
        ("a client that has finished", |page, world| page.closes(world, 1000), false),
        (
            "pusher-js after silence",
            |page, world| {
                let Page { mut wire, id, .. } = page;
                wire.say(CLOSE, &[]);
                world.until_gone(&id);
            },
            true,
        ),
        (
            "who unsubscribed",
            |mut page, world| {
                page.wire.say(TEXT, br#"{"event":"pusher:unsubscribe","data":{"channel":"news"}}"#);
                page.has_no_more();
                page.vanishes(world);
            },
            false,
        ),
        ("the network", Page::vanishes, true),
    ];
    for (way, goes, comes_back) in ways {
        let mut page = world.page();
        let cookie = page.cookie.clone().unwrap();
        page.subscribes("news");
        goes(page, &world);
        world.tells("news", 0..2);
        // Neither another browser nor a page of another origin is this one.
        let mut other = world.page();
        other.subscribes("news");
        other.has_no_more();
        let named = cookie.split(';').next().unwrap();
        let mut foreign = world.opens(&format!("Origin: https://evil.example\r\nCookie: {named}\r\n"));
        foreign.subscribes("news");
        foreign.has_no_more();
        let mut page = world.page_with(&cookie);
        page.subscribes("news");
        if comes_back {
            page.receives(0..2);
        }
        page.wire.say(TEXT, br#"{"event":"pusher:ping","data":{}}"#);
        assert_eq!(page.wire.on_bytes()["event"], "pusher:pong", "{way}");
    }
}

#[test]
fn what_clients_and_the_protocol_said_is_not_sent_again_nor_what_it_sent_itself() {
    let mut world = World::with(enable);
    let log = "pusher:1:presence-a";
    let mut page = world.page();
    let (cookie, id) = (page.cookie.clone().unwrap(), page.id.clone());
    page.joins("presence-a", "alice");
    page.vanishes(&world);
    for (event, from) in [
        ("client-typing", None),
        ("pusher_internal:member_added", None),
        ("number", Some(UserId::new(&format!("pusher:1:{id}")).unwrap())),
    ] {
        let targets = Targets::Channels(vec![ChannelName::public(log).unwrap()]);
        world.append_from(targets, &json!({ "event": event, "data": "{}" }).to_string(), from);
    }
    world.tells("presence-a", 0..2);
    let mut page = world.page_with(&cookie);
    let told = page.joins("presence-a", "alice");
    assert!(told["data"].as_str().unwrap().contains("\"count\":1"), "{told}");
    page.receives(0..2);
    world.publish(log, &json!({ "event": "client-typing", "data": "{}" }).to_string());
    assert_eq!(page.wire.on_bytes()["event"], "client-typing", "what is new comes");
}

#[test]
fn a_client_without_cookies_is_the_user_whom_its_backend_signed_for() {
    let mut world = World::with(enable);
    let mut client = world.opens("");
    assert_eq!(client.cookie, None, "it is no browser");
    client.joins("presence-a", "alice");
    client.subscribes("news");
    client.vanishes(&world);
    world.tells("presence-a", 0..2);
    world.tells("news", 0..2);
    let mut bob = world.opens("");
    bob.joins("presence-a", "bob");
    bob.has_no_more();
    let mut client = world.opens("");
    let told = client.joins("presence-a", "alice");
    assert_eq!(told["event"], "pusher_internal:subscription_succeeded", "{told}");
    client.receives(0..2);
    client.subscribes("news");
    client.has_no_more();
}

#[test]
fn a_cache_channel_tells_its_last_event_once() {
    let mut world = World::with(enable);
    let mut page = world.page();
    let cookie = page.cookie.clone().unwrap();
    world.tells("cache-a", 0..1);
    page.subscribes("cache-a");
    page.receives(0..1);
    page.vanishes(&world);
    let mut page = world.page_with(&cookie);
    page.subscribes("cache-a");
    page.has_no_more();
    page.vanishes(&world);
    world.tells("cache-a", 1..3);
    let mut page = world.page_with(&cookie);
    page.subscribes("cache-a");
    page.receives(1..3);
    page.has_no_more();
}

#[test]
fn a_place_is_kept_for_its_time_and_not_at_all_where_that_is_switched_off() {
    let (mut world, clock) = World::clocked(enable);
    let mut page = world.page();
    let cookie = page.cookie.clone().unwrap();
    for channel in ["a", "b"] {
        page.subscribes(channel);
    }
    page.vanishes(&world);
    world.tells("a", 0..1);
    world.tells("b", 0..1);
    clock.advance_ms(120_000);
    let mut in_time = world.page_with(&cookie);
    in_time.subscribes("a");
    in_time.receives(0..1);
    clock.advance_ms(1);
    in_time.subscribes("b");
    in_time.has_no_more();

    let world = World::with(|config| {
        enable(config);
        config.pusher_apps[0].recovery = false;
    });
    assert_eq!(world.opens(&format!("Origin: {ORIGIN}\r\n")).cookie, None);
}

/// A page that reads nothing any more: its kernel has taken what fits, and the rest is under way of so many
/// numbers.
fn stalled(world: &mut World, page: &mut Page, count: u64) {
    page.subscribes("news");
    world.tells("news", 0..2);
    page.receives(0..2);
    let large = "x".repeat(9_000);
    for number in 2..count {
        let event = json!({ "event": "number", "data": format!("{number} {large}") });
        world.publish("pusher:1:news", &event.to_string());
    }
    // How much the kernels take is theirs to say.
    world.until(|| {
        let counts = world.runtime.block_on(world.app().shards.counts()).unwrap();
        counts.slow > 0 || counts.written_bytes > (count - 2) * 9_000
    });
}

impl Page {
    /// What it had not is sent again, in order; the number with which that begins.
    fn receives_the_rest(&mut self, count: u64) -> u64 {
        let number = |told: &Value| -> u64 {
            told["data"].as_str().unwrap().split(' ').next().unwrap().parse().unwrap()
        };
        let first = number(&self.wire.on_bytes());
        assert!(first < count, "{first}");
        for next in first + 1..count {
            assert_eq!(number(&self.wire.on_bytes()), next);
        }
        self.has_no_more();
        first
    }
}

#[test]
fn what_was_sent_to_one_whose_network_was_gone_already_is_sent_again() {
    let mut world = World::with(enable);
    if world.certificate.is_some() {
        // The forwarder takes everything.
        return;
    }
    let mut page = world.page();
    let cookie = page.cookie.clone().unwrap();
    let count = 150;
    stalled(&mut world, &mut page, count);
    page.vanishes(&world);
    let mut page = world.page_with(&cookie);
    page.subscribes("news");
    assert!(page.receives_the_rest(count) > 2, "what its kernel had is not sent again");
}

#[test]
fn one_that_is_back_before_its_old_connection_is_known_to_be_gone_misses_nothing() {
    let mut world = World::with(enable);
    if world.certificate.is_some() {
        return;
    }
    let mut old = world.page();
    let cookie = old.cookie.clone().unwrap();
    let count = 150;
    stalled(&mut world, &mut old, count);
    let mut page = world.page_with(&cookie);
    page.subscribes("news");
    page.receives_the_rest(count);
    // What the old one leaves at last is another's by now.
    old.vanishes(&world);
    let mut other = world.page_with(&cookie);
    other.subscribes("news");
    other.has_no_more();
}

#[test]
fn one_that_acknowledges_late_is_known_to_have_it_also_if_it_is_sent_nothing_more() {
    let mut world = World::with(enable);
    if world.certificate.is_some() {
        return;
    }
    let mut late = world.page();
    let cookie = late.cookie.clone().unwrap();
    // More than its kernel takes, and no more than the server's holds besides: nothing is written later.
    let count = 22;
    stalled(&mut world, &mut late, count);
    // For so long it takes nothing.
    std::thread::sleep(Duration::from_secs(2));
    late.receives_the_rest(count);
    let mut page = world.page_with(&cookie);
    page.subscribes("news");
    page.has_no_more();
    late.vanishes(&world);
    let mut page = world.page_with(&cookie);
    page.subscribes("news");
    world.tells("news", 0..1);
    page.receives(0..1);
    page.has_no_more();
}

#[test]
fn by_http_what_was_missed_comes_behind_the_answer() {
    for action in ["xhr", "xhr_streaming"] {
        let mut world = World::with(enable);
        let mut client = world.opens("");
        client.joins("presence-a", "alice");
        client.vanishes(&world);
        world.tells("presence-a", 0..5);
        let at = |action: &str| format!("/pusher/app/app-key/7/0123abcv/{action}?protocol=7");
        assert_eq!(world.pusher_post(&at("xhr"), "").1, "o\n");
        let id = socket_id(&frames(&world.pusher_post(&at("xhr"), "").1)[0]);
        let data = json!({ "user_id": "alice" }).to_string();
        let auth = format!("app-key:{}", signature(&format!("{id}:presence-a:{data}")));
        let data = json!({ "channel": "presence-a", "auth": auth, "channel_data": data });
        let asks = json!([json!({ "event": "pusher:subscribe", "data": data }).to_string()]).to_string();
        // A request waits for what comes.
        let receive = format!("POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", at(action));
        let mut wire = world.connect();
        wire.send(&receive);
        world.until_held(&format!("pusher:1:{id}"), 1);
        assert_eq!(world.pusher_post(&at("xhr_send"), &asks).0, 200);
        let mut told = Vec::new();
        while told.len() < 6 {
            let line = wire.until("\n");
            if line.starts_with("a[") {
                told.extend(frames(&line));
                if action == "xhr" {
                    wire.send(&receive);
                }
            }
        }
        assert_eq!(told[0]["event"], "pusher_internal:subscription_succeeded", "{action}: {told:?}");
        let numbers: Vec<&str> = told[1..].iter().filter_map(|frame| frame["data"].as_str()).collect();
        assert_eq!(numbers, ["0", "1", "2", "3", "4"], "{action}");
    }
}

#[test]
fn one_that_comes_while_others_of_its_browser_are_there_is_sent_nothing_that_they_have() {
    let mut world = World::with(enable);
    let mut first = world.page();
    let cookie = first.cookie.clone().unwrap();
    first.subscribes("news");
    first.subscribes("cache-a");
    for number in 0..3 {
        world.tells("news", number..number + 1);
        world.tells("cache-a", number..number + 1);
        let mut page = world.page_with(&cookie);
        page.subscribes("news");
        page.has_no_more();
        page.subscribes("cache-a");
        page.receives(number..number + 1);
        page.has_no_more();
        page.closes(&world, 1001);
    }
}

#[test]
fn of_the_records_of_a_browser_the_last_256_count() {
    let mut world = World::with(enable);
    let mut page = world.page();
    let cookie = page.cookie.clone().unwrap();
    let id = cookie.split(';').next().unwrap().strip_prefix("PUSHER_BROWSER=").unwrap().to_owned();
    let mut digest = Sha256::new();
    for part in ["1", "browser", &id, ORIGIN] {
        digest.update(part.len().to_be_bytes());
        digest.update(part.as_bytes());
    }
    let name: String = digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let log = ChannelName::internal(&format!("dialects/places/pusher/{name}"));
    page.subscribes("news");
    for (others, is_known) in [(PLACES_MAX - 1, true), (PLACES_MAX, false)] {
        let before = world.records(&log);
        page.vanishes(&world);
        // Its record is written beside that, and the others' are to be behind it.
        world.until(|| world.records(&log) > before);
        world.tells("news", 0..1);
        for _ in 0..others {
            world.append(Targets::Channels(vec![log.clone()]), "\"another's\"");
        }
        page = world.page_with(&cookie);
        page.subscribes("news");
        if is_known {
            page.receives(0..1);
        }
        page.has_no_more();
    }
}

#[test]
fn of_what_was_missed_the_last_10_000_messages_come() {
    let mut world = World::with(|config| {
        enable(config);
        config.retention_default.max_messages = Some(20_000);
    });
    let mut page = world.page();
    let cookie = page.cookie.clone().unwrap();
    page.subscribes("news");
    page.vanishes(&world);
    world.tells("news", 0..10_010);
    let mut page = world.page_with(&cookie);
    page.subscribes("news");
    page.receives(10..10_010);
    page.has_no_more();
}
