//! The JSON of a message, as a type: for what is written seldom, and for the description of the API. Streams
//! and polls write the same from [`crate::Entry`], which encodes a message once for all who receive it; a
//! test compares the two.

use serde::Serialize;

use crate::{
    Body, ChannelName, Epoch, JsonText, Message, MessageId, Offset, Show, Time, TraceContext, UserId,
};

/// A message, as its receivers read it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Message))]
pub struct MessageJson<'a> {
    /// The same for every channel that one push or publish reached.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: &'a MessageId,
    /// The channel whose log it is in.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub channel: &'a ChannelName,
    /// Its place in that log, from 1.
    pub offset: Offset,
    /// The epoch of that log.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub epoch: Epoch,
    /// When the server accepted it.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub time: Time,
    /// Whether it is a page or data.
    pub r#type: MessageType,
    /// The page to show: http or https. Only of type `page`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, required = false))]
    pub url: Option<&'a str>,
    /// In what to show it, if that is no frame. Only of type `page`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub show: Option<Show>,
    /// Any JSON. Only of type `message`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value, required = false))]
    pub data: Option<&'a JsonText>,
    /// The user who published it, when a client did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, required = false))]
    pub from: Option<&'a UserId>,
    /// The place in a trace (W3C Trace Context) that it belongs to, if it belongs to one: the parent of what
    /// its receiver does with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, required = false))]
    pub traceparent: Option<&'a TraceContext>,
}

/// What a message asks of its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum MessageType {
    /// Show the page at `url`.
    Page,
    /// Take `data`.
    Message,
}

impl<'a> From<&'a Message> for MessageJson<'a> {
    fn from(message: &'a Message) -> Self {
        let (r#type, page, data) = match &message.body {
            Body::Page(page) => (MessageType::Page, Some(page), None),
            Body::Data(data) => (MessageType::Message, None, Some(data)),
            Body::Bytes(typed) => (MessageType::Message, None, Some(typed.json())),
        };
        Self {
            id: &message.id,
            channel: &message.channel,
            offset: message.position.offset,
            epoch: message.position.epoch,
            time: message.time,
            r#type,
            url: page.map(|page| &*page.url),
            show: page.map(|page| page.show).filter(|show| *show != Show::Frame),
            data,
            from: message.from.as_ref(),
            traceparent: message.trace.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::value::RawValue;

    use super::*;
    use crate::{
        Close, CloseCode, CloseKey, Cursor, Entry, Expiring, Gap, GapReason, Position, SessionId, TypedBytes,
        Unsubscribed, UnsubscribedReason, WebPage, codec::poll, json,
    };

    fn message(body: Body, from: Option<&str>) -> Message {
        Message {
            id: MessageId::from_bits(7),
            channel: ChannelName::public("a \"b\" \u{e4}").unwrap(),
            position: Position { epoch: Epoch(5), offset: 7 },
            time: Time(1_700_000_000_123),
            body,
            from: from.map(|user| UserId::new(user).unwrap()),
            expires: None,
            trace: None,
        }
    }

    /// Messages of each kind.
    fn messages() -> Vec<Message> {
        let data = |text: &str| Body::Data(RawValue::from_string(text.to_owned()).unwrap().into());
        let trace = TraceContext { trace_id: [0xa7; 16], span_id: [3; 8], is_sampled: true };
        vec![
            message(data("null"), None),
            Message { trace: Some(Box::new(trace)), ..message(data("7"), Some("bob")) },
            message(data("{\"x\":[1,2.50,\"\u{2029}\"]}"), Some("bob")),
            message(Body::Page("https://x.example/?a=\"b\"".into()), None),
            message(Body::Page(WebPage { url: "https://x.example/".into(), show: Show::Window }), None),
            message(Body::Bytes(Arc::new(TypedBytes::new("a/b; c=\"d\"", *b"\0\n\xff").unwrap())), None),
        ]
    }

    #[test]
    fn an_event_of_a_stream_has_the_members_that_are_described() {
        for message in messages() {
            let written = json::write(&MessageJson::from(&message));
            let entry = Entry::new(message);
            assert_eq!(format!("{{{}", entry.members_json()), written);
            assert_eq!(entry.event_json(), format!("{{\"event\":\"message\",{}", &written[1..]));
        }
    }

    #[test]
    fn the_answer_to_a_poll_has_the_members_that_are_described() {
        let messages = messages();
        let gap =
            Gap { channel: ChannelName::public("c").unwrap(), from: 1, to: None, reason: GapReason::Epoch };
        let close =
            Close { code: CloseCode::Client, reason: "x".into(), reconnect: false, retry_ms: Some(5) };
        let lost = |name: &str| Unsubscribed {
            channel: ChannelName::public(name).unwrap(),
            reason: UnsubscribedReason::NotGranted,
        };
        let unsubscribed = [vec![], vec![lost("a")], vec![lost("a"), lost("b")]];
        let keys = [None, None, Some(CloseKey::from_bits(8))];
        for ((close, unsubscribed), close_key) in
            [None, Some(close), None].into_iter().zip(unsubscribed).zip(keys)
        {
            let cursor = Cursor::default();
            let session = SessionId::from_bits(9);
            let described = poll::PollAnswer {
                session,
                cursor: cursor.clone(),
                messages: messages.iter().map(MessageJson::from).collect(),
                gaps: vec![gap.clone()],
                unsubscribed: unsubscribed.clone(),
                close: close.clone(),
                close_key,
                expiring: close_key.map(|_| Expiring { in_s: 7 }),
            };
            let mut answer = poll::Answer::default();
            messages.iter().for_each(|message| answer.message(&Entry::new(message.clone())));
            answer.gap(&gap);
            unsubscribed.iter().for_each(|told| answer.unsubscribed(told));
            described.expiring.into_iter().for_each(|told| answer.expiring(told));
            let goes_on = || close_key.map_or(poll::GOES_ON.to_owned(), poll::begins);
            let end = close.map_or_else(goes_on, |close| json::write(&close));
            let mut written = Vec::new();
            answer.finish(&session.text(), &cursor.to_string(), &end).write(&mut written);
            assert_eq!(String::from_utf8(written).unwrap(), json::write(&described));
        }
    }
}
