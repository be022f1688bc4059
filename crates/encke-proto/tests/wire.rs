//! What clients see of a message, in each wire format.
#![allow(clippy::unwrap_used)]

use encke_proto::{
    Body, ChannelName, Close, CloseCode, CloseKey, Cursor, Entry, Epoch, Event, Gap, GapReason, Message,
    MessageId, Open, Position, SessionId, Time, UserId, codec, json,
};
use serde_json::{Value, json, value::RawValue};

fn entry(body: Body, from: Option<&str>) -> Entry {
    Entry::new(Message {
        id: MessageId::from_bits(1),
        channel: ChannelName::any("new\"s").unwrap(),
        position: Position { epoch: Epoch(36), offset: 7 },
        time: Time(0),
        body,
        from: from.map(|user| UserId::new(user).unwrap()),
        expires: None,
        trace: None,
    })
}

fn data(text: &str) -> Body {
    Body::Data(json::compact(serde_json::from_str::<&RawValue>(text).unwrap()).unwrap())
}

#[test]
fn a_message_is_one_line_of_json_with_all_its_members() {
    let entry = entry(data("{\n \"n\": 1.50,\n \"t\": \"a\\nb\"\n}"), Some("bob"));
    let line = entry.event_json();
    assert!(!line.contains('\n'));
    assert!(line.contains("\"data\":{\"n\":1.50,"), "the number is as it was sent: {line}");
    let value: Value = serde_json::from_str(line).unwrap();
    assert_eq!(value["event"], "message");
    assert_eq!(value["channel"], "new\"s");
    assert_eq!(value["offset"], 7);
    assert_eq!(value["epoch"], "10");
    assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
    assert_eq!(value["type"], "message");
    assert_eq!(value["data"]["t"], "a\nb");
    assert_eq!(value["from"], "bob");
}

#[test]
fn a_page_has_a_url_and_no_data() {
    let value: Value =
        serde_json::from_str(entry(Body::Page("http://example.com/?a=\"".into()), None).event_json())
            .unwrap();
    assert_eq!((&value["type"], &value["url"]), (&json!("page"), &json!("http://example.com/?a=\"")));
    assert!(value.get("data").is_none() && value.get("from").is_none());
}

#[test]
fn a_poll_answers_one_object() {
    let session = SessionId::from_bits(5);
    let read = |answer: &codec::poll::Answer, close: &str| -> Value {
        let (text, mut out) = (session.text(), Vec::new());
        let pieces = answer.finish(&text, "1~0", close);
        pieces.write(&mut out);
        assert_eq!(pieces.len(), out.len());
        serde_json::from_slice(&out).unwrap()
    };
    let empty = read(&codec::poll::Answer::default(), codec::poll::GOES_ON);
    assert_eq!(
        empty,
        json!({"session": session.to_string(), "cursor": "1~0", "messages": [], "gaps": [], "close": null})
    );

    let mut answer = codec::poll::Answer::default();
    answer.message(&entry(data("1"), None));
    answer.message(&entry(data("2"), None));
    answer.gap(&Gap { channel: ChannelName::any("c").unwrap(), from: 3, to: None, reason: GapReason::Epoch });
    let close = Close { code: CloseCode::Client, reason: String::new(), reconnect: false, retry_ms: None };
    let value = read(&answer, &serde_json::to_string(&close).unwrap());
    assert_eq!(value["messages"].as_array().unwrap().len(), 2);
    assert!(value["messages"][0].get("event").is_none());
    assert_eq!(value["gaps"][0], json!({"channel": "c", "from": 3, "to": null, "reason": "epoch"}));
    assert_eq!(value["close"], json!({"code": "client", "reason": "", "reconnect": false}));
}

#[test]
fn sse_writes_one_event_each_with_its_cursor() {
    let mut out = Vec::new();
    let open = Open {
        session: SessionId::from_bits(5),
        cursor: Cursor::default(),
        heartbeat_s: 20,
        close_key: CloseKey::from_bits(6),
        user: None,
        epoch: None,
    };
    codec::sse::event(&mut out, &Event::Open(open));
    codec::sse::id(&mut out, "1~0");
    codec::sse::message(&mut out, &entry(data("1"), None), codec::MessageForm::Long);
    codec::sse::end(&mut out);
    let text = String::from_utf8(out).unwrap();
    let events: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(events.len(), 2);
    assert!(
        events[0].starts_with("event: opened\ndata: {\"event\":\"open\",\"session\":\"")
            && events[0].ends_with("\nretry: 3000\nid: 1~0")
    );
    assert!(events[1].starts_with("data: {\"event\":\"message\","));
}

#[test]
fn a_message_is_framed_once_for_every_websocket() {
    let entry = entry(data(&format!("\"{}\"", "long ".repeat(100))), None);
    let (json, frame) = (entry.event_json(), entry.ws_frame());
    assert_eq!(
        (&frame[..2], usize::from(frame[2]) << 8 | usize::from(frame[3])),
        (&[0x81, 126][..], json.len())
    );
    assert_eq!(&frame[4..], json.as_bytes());
    assert!(std::ptr::eq(frame, entry.ws_frame()), "the same bytes for all");
    let compressed = entry.ws_frame_compressed().unwrap();
    assert!(compressed[0] == 0xc1 && compressed.len() < frame.len() / 2);
}

#[test]
fn a_close_says_when_to_come_back_if_the_server_spreads_that() {
    let close =
        Close { code: CloseCode::Shutdown, reason: String::new(), reconnect: true, retry_ms: Some(1_234) };
    let event =
        json!({"event": "close", "code": "shutdown", "reason": "", "reconnect": true, "retry_ms": 1_234});
    assert_eq!(serde_json::from_str::<Value>(&Event::Close(close.clone()).json()).unwrap(), event);
    let mut out = Vec::new();
    codec::sse::event(&mut out, &Event::Close(close.clone()));
    assert!(out.ends_with(b"}\nretry: 1234\n"), "an EventSource is told in its own way");
    out.clear();
    codec::sse::event(&mut out, &Event::Close(Close { retry_ms: None, ..close }));
    assert!(out.ends_with(b"}\n") && !String::from_utf8(out).unwrap().contains("retry"));
}
