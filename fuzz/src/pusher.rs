//! What clients of Pusher send: whatever is read is within its bounds, and comes out of a log as JSON with
//! the data that were sent.

use encke_proto::{
    Body, Epoch, Message, MessageId, Position, Time,
    codec::pusher::{
        CHANNEL_MAX_BYTES, Channel, ChannelData, ChannelKind, Incoming, SENT_MAX_FRAMES, SignedIn,
        USER_ID_MAX_BYTES, WATCHLIST_MAX_USERS, cached, fallback_path, frame_text, is_socket_id, line_of,
        log_of, logged, presence_data, quoted, read, read_sent, subscription_error,
    },
};
use serde_json::{Value, value::RawValue};

/// See the module.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    names(text);
    users(text);
    if let Ok(frames) = read_sent(text) {
        assert!(frames.len() <= SENT_MAX_FRAMES);
        frames.iter().for_each(|frame| line(frame));
    }
    match read(text) {
        Ok(Incoming::Subscribe(asked)) => {
            names(&asked.channel);
            asked.channel_data.as_deref().into_iter().for_each(users);
        }
        Ok(Incoming::SignIn(asked)) => users(&asked.user_data),
        Ok(Incoming::Event { event, channel, data }) => {
            assert!(event.starts_with("client-"));
            names(&channel);
            published(&event, &data, Some(text));
        }
        Ok(Incoming::Unsubscribe(channel)) => names(&channel),
        Ok(Incoming::Ping | Incoming::Pong | Incoming::Unknown(_)) | Err(_) => {}
    }
    line(&subscription_error(text, text, text, 401));
}

fn names(text: &str) {
    if let Ok(channel) = Channel::parse(text) {
        let is_users = channel.kind == ChannelKind::User;
        assert!(is_users || text.len() <= CHANNEL_MAX_BYTES && log_of("1", text).is_ok(), "{text}");
        assert_eq!(channel.user().is_some(), is_users, "{text}");
        assert!(!channel.takes_client_events() || channel.is_signed(), "{text}");
    }
    if let Some(path) = fallback_path(text) {
        assert!(path.session.starts_with(path.key) && text.starts_with(path.session), "{text}");
    }
    if is_socket_id(text) {
        assert!(text.len() <= 41 && !text.contains(':'), "{text}");
    }
}

fn users(text: &str) {
    let member = ChannelData::read(text).map(|ChannelData(member)| member);
    let signed_in = SignedIn::read(text);
    if let Some(signed_in) = &signed_in {
        assert!(signed_in.watchlist.len() <= WATCHLIST_MAX_USERS);
    }
    for member in member.into_iter().chain(signed_in.map(|signed_in| signed_in.member)) {
        assert!((1..=USER_ID_MAX_BYTES).contains(&member.user_id.len()));
        let told = presence_data([(member.user_id.as_str(), member.user_info.as_deref())].into_iter());
        // A number that is too large for any type is JSON all the same, and no value.
        if let Ok(told) = serde_json::from_str::<Value>(&told) {
            assert!(told["presence"]["ids"][0] == member.user_id.as_str() && told["presence"]["count"] == 1);
        }
    }
}

fn published(event: &str, data: &RawValue, user_id: Option<&str>) {
    let message = Message {
        id: MessageId::from_bits(1),
        channel: log_of("1", "presence-a").expect("a name"),
        position: Position { epoch: Epoch(1), offset: 1 },
        time: Time(0),
        body: Body::Data(logged(event, data, user_id).expect("JSON").into()),
        from: None,
        expires: None,
        trace: None,
    };
    assert!(cached(&message).is_none(), "what clients send is not kept");
    let frame = frame_text(&message).expect("it is of a channel");
    if let (Ok(told), Ok(data)) =
        (serde_json::from_str::<Value>(&frame), serde_json::from_str::<Value>(data.get()))
    {
        assert!(told["event"] == event && told["channel"] == "presence-a" && told["data"] == data);
    }
    line(&frame);
}

/// Lines hold no line break but their own, whatever stands in them.
fn line(frame: &str) {
    let line = line_of(&quoted(frame));
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "{frame}");
    let frames: Vec<String> = serde_json::from_slice(&line[1..]).expect("JSON");
    assert_eq!(frames, [frame]);
}
