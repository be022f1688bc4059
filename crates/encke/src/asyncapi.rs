//! The machine-readable description of what streams and WebSockets carry: events, commands and replies, by
//! AsyncAPI 3. Schemas are made from the types that are written and read. Requests and their answers are in
//! `openapi.rs`.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use encke_proto::{Close, Expiring, Gap, MessageJson, Open, Unsubscribed};
use http::header;
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, OpenApi};

use crate::{
    commands::{Done, Followed, Refreshed, SessionClosed},
    dialects::native::{
        AckCommand, CloseCommand, PingCommand, PublishCommand, Query, RefreshCommand, Reply, SubscribeCommand,
    },
    http::refusal::codes,
    publishing::Published,
};

/// The document, written once.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());

/// What streams and WebSockets carry.
#[utoipa::path(
    get, path = "/api/asyncapi.json", tag = "operation", security(()),
    responses((status = 200, description = "AsyncAPI 3.", body = serde_json::Value)),
    extensions(("x-error-codes" = json!(codes(&[])))),
)]
pub(crate) async fn asyncapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], DOCUMENT.as_str())
        .into_response()
}

/// The schemas of what is sent and taken.
#[derive(OpenApi)]
#[openapi(components(schemas(
    Open, MessageJson<'static>, Gap, Unsubscribed, Expiring, Close, SubscribeCommand, PublishCommand,
    AckCommand, RefreshCommand, CloseCommand, PingCommand,
    Reply<'static>, Followed, Published, Done, Refreshed, SessionClosed,
)))]
struct Schemas;

/// A message as the document has it.
struct Described {
    /// The value of the member that tells it from others.
    name: &'static str,
    /// The schema of the rest; none for an event that says no more.
    schema: Option<&'static str>,
    summary: &'static str,
    example: Value,
}

impl Described {
    /// The message, told from others by `member`.
    fn message(&self, member: &str) -> Value {
        let name = json!({
            "type": "object",
            "required": [member],
            "properties": {member: {"type": "string", "const": self.name}}
        });
        let payload = match self.schema {
            Some(schema) => json!({"allOf": [name, {"$ref": format!("#/components/schemas/{schema}")}]}),
            None => name,
        };
        json!({
            "name": self.name, "title": self.name, "summary": self.summary,
            "contentType": "application/json", "payload": payload, "examples": [{"payload": self.example}],
        })
    }
}

/// The events of every stream, in the order in which they may come.
fn events() -> Vec<Described> {
    vec![
        Described {
            name: "open",
            schema: Some("Open"),
            summary: "First of all: the session, and where it goes on.",
            example: json!({
                "event": "open", "session": "3q2-7wABCDEFGHIJKLMNOQ", "cursor": "1~k3x9~@alice~7",
                "heartbeat_s": 20, "close_key": "2k3j4h5g6f7d8s9a0qwert"
            }),
        },
        Described {
            name: "message",
            schema: Some("Message"),
            summary: "A message or a page.",
            example: json!({
                "event": "message", "id": "AZ6dZ2hUJq0b3m5k7n9pRQ", "channel": "news", "offset": 8,
                "epoch": "k3x9",
                "time": "2026-01-02T03:04:05.678Z", "type": "message", "data": {"text": "hello"},
                "from": "bob",
            }),
        },
        Described {
            name: "gap",
            schema: Some("Gap"),
            summary: "Messages that will not come.",
            example: json!({"event": "gap", "channel": "news", "from": 8, "to": 12, "reason": "trimmed"}),
        },
        Described {
            name: "unsubscribed",
            schema: Some("Unsubscribed"),
            summary: "A channel that the session does not follow any more: its new token does not grant it, or a rule that has changed.",
            example: json!({"event": "unsubscribed", "channel": "news", "reason": "not_granted"}),
        },
        Described {
            name: "expiring",
            schema: Some("Expiring"),
            summary: "The token ends soon, and the session with it, unless it is refreshed.",
            example: json!({"event": "expiring", "in_s": 60}),
        },
        Described {
            name: "close",
            schema: Some("Close"),
            summary: "Last of all: why the session ended, and whether to come back.",
            example: json!({"event": "close", "code": "client", "reason": "signed out", "reconnect": false}),
        },
    ]
}

/// What takes the place of `message` with `form=short`: lists, of which what says nothing is left out at the
/// end and `0` in between. By their names in the document.
fn short_messages() -> [(&'static str, Value); 2] {
    let number = json!({"type": "integer", "minimum": 0});
    let text = json!({"type": "string"});
    let kind = json!({"type": "integer", "minimum": 0, "description": "0: data; 1: the address of a page."});
    let text_or_none = json!({"anyOf": [{"type": "string"}, {"const": 0}]});
    let list = |name, summary, elements: Vec<&Value>, needed: usize, examples: [Value; 2]| {
        // A tuple as AsyncAPI has it, whose schemas are of JSON Schema's draft 7.
        let payload = json!({
            "type": "array", "items": elements, "additionalItems": false,
            "minItems": needed, "maxItems": elements.len(),
        });
        let examples = examples.map(|example| json!({"payload": example}));
        let message = json!({
            "name": name, "title": name, "summary": summary,
            "contentType": "application/json", "payload": payload, "examples": examples,
        });
        (name, message)
    };
    let any = json!({});
    let traced = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    [
        list(
            "shortOwn",
            "With `form=short`, in the user's own channel: offset, id, body, kind, from, epoch, time, \
             traceparent.",
            vec![&number, &text, &any, &kind, &text_or_none, &text_or_none, &number, &text],
            3,
            [
                json!([12, "AZ6dZ2hUJq0b3m5k7n9pRQ", {"text": "hello"}]),
                json!([13, "AZ6dZ2hUJq0b3m5k7n9pRQ", "hi", 0, 0, 0, 0, traced]),
            ],
        ),
        list(
            "shortPublic",
            "With `form=short`, in a public channel: channel, offset, time, body, kind, from, epoch, \
             traceparent.",
            vec![&text, &number, &number, &any, &kind, &text_or_none, &text_or_none, &text],
            4,
            [
                json!(["news", 8, 1_781_234_567_990_u64, "hi", 0, "bob"]),
                json!(["news", 9, 1_781_234_567_990_u64, "hi", 0, "bob", 0, traced]),
            ],
        ),
    ]
}

/// What a page in a frame is sent instead of a comment.
fn heartbeat() -> Described {
    let summary = "Breaks a silence; of the form `iframe` alone.";
    Described { name: "heartbeat", schema: None, summary, example: json!({"event": "heartbeat"}) }
}

/// The answer to a command.
fn reply() -> Described {
    Described {
        name: "reply",
        schema: Some("Reply"),
        summary: "The answer to a command: `result` as the same request by POST would be answered with, or `error`.",
        example: json!({
            "event": "reply",
            "id": 1,
            "result": {"channels": ["news"], "cursor": "1~k3x9~news~7"}
        }),
    }
}

/// What a client may ask over its WebSocket.
fn commands() -> Vec<Described> {
    let command = |name, schema, summary, example| Described { name, schema: Some(schema), summary, example };
    vec![
        command(
            "subscribe",
            "SubscribeCommand",
            "Follow more channels; the result is `Followed`.",
            json!({"do": "subscribe", "channels": ["news"], "id": 1}),
        ),
        command(
            "unsubscribe",
            "SubscribeCommand",
            "Follow fewer channels; the result is `Followed`.",
            json!({"do": "unsubscribe", "channels": ["news"], "id": 2}),
        ),
        command(
            "publish",
            "PublishCommand",
            "Publish, if the token grants it; the result is `Published`.",
            json!({
                "do": "publish", "channel": "room:7", "data": {"text": "hello"}, "key": "line-12", "id": 3
            }),
        ),
        command(
            "ack",
            "AckCommand",
            "Say what was shown to the person; the result is `Done`.",
            json!({"do": "ack", "cursor": "1~k3x9~@alice~7", "id": 4}),
        ),
        command(
            "refresh",
            "RefreshCommand",
            "Go on with a fresh token of the same user; the result is `Refreshed`.",
            json!({
                "do": "refresh", "token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl", "id": 5
            }),
        ),
        command(
            "ping",
            "PingCommand",
            "Find out whether the server is there; the result is `Done`.",
            json!({"do": "ping", "id": 6}),
        ),
        command(
            "close",
            "CloseCommand",
            "End the session; the result is `SessionClosed`.",
            json!({"do": "close", "reason": "left", "id": 7}),
        ),
    ]
}

fn document() -> Value {
    // A value that hyper made is one that serde can write.
    let schemas = serde_json::to_value(Schemas::openapi()).unwrap_or_default();
    let (events, commands) = (events(), commands());
    let mut messages: Map<String, Value> = Map::new();
    for event in events.iter().chain([&heartbeat(), &reply()]) {
        messages.insert(event.name.to_owned(), event.message("event"));
    }
    for command in &commands {
        messages.insert(command_key(command), command.message("do"));
    }
    let short = short_messages();
    let events = events.iter().map(|event| event.name);
    let of_all: Vec<String> = events.chain(short.iter().map(|(name, _)| *name)).map(str::to_owned).collect();
    messages.extend(short.map(|(name, message)| (name.to_owned(), message)));
    let with = |more: Vec<String>| [of_all.clone(), more].concat();
    let asked: Vec<String> = commands.iter().map(command_key).collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Encke", "version": env!("CARGO_PKG_VERSION"),
            "description": "What streams and WebSockets carry. Requests and their answers are in `/api/openapi.json`.",
        },
        "defaultContentType": "application/json",
        "servers": {"http": server("http"), "ws": server("ws")},
        "channels": {
            "sse": channel(
                "/v1/sse",
                "http",
                "Server-sent events: the payload is the `data` of each.",
                &of_all
            ),
            "stream": channel(
                "/v1/stream", "http",
                "A line of JSON each with `as=ndjson`, a call of `postMessage` each with `as=iframe`.",
                &with(vec!["heartbeat".into()]),
            ),
            "looking": channel(
                "/api/users/{user}/messages",
                "http",
                "What an operator sees who looks on: as in `sse`, or as in `stream` with `as=ndjson`.",
                &with(vec!["heartbeat".into()])
            ),
            "ws": channel(
                "/v1/ws",
                "ws",
                "A text message each, in both directions.",
                &with([vec!["reply".into()], asked.clone()].concat())
            ),
        },
        "operations": {
            "sendSse": operation("send", "sse", &of_all),
            "sendStream": operation("send", "stream", &with(vec!["heartbeat".into()])),
            "sendLooking": operation("send", "looking", &with(vec!["heartbeat".into()])),
            "sendWs": operation("send", "ws", &with(vec!["reply".into()])),
            "receiveWs": receive(&asked),
        },
        "components": {"messages": messages, "schemas": schemas["components"]["schemas"]},
    })
}

/// The key of a command among the messages: an event may have its name.
fn command_key(command: &Described) -> String {
    format!("{}Command", command.name)
}

fn server(protocol: &str) -> Value {
    let host = json!({
        "default": "127.0.0.1:8080",
        "description": "Where the server listens, or the proxy before it."
    });
    json!({"host": "{host}", "protocol": protocol, "variables": {"host": host}})
}

/// References to messages of a channel.
fn in_channel(channel: &str, names: &[String]) -> Vec<Value> {
    names.iter().map(|name| json!({"$ref": format!("#/channels/{channel}/messages/{name}")})).collect()
}

fn channel(address: &str, server: &str, description: &str, names: &[String]) -> Value {
    let messages: Map<String, Value> = names
        .iter()
        .map(|name| (name.clone(), json!({"$ref": format!("#/components/messages/{name}")})))
        .collect();
    let mut channel = json!({
        "address": address, "description": description, "messages": messages,
        "servers": [{"$ref": format!("#/servers/{server}")}],
    });
    if address.contains("{user}") {
        channel["parameters"] = json!({"user": {"description": "The user, percent-encoded."}});
    }
    if server == "ws" {
        channel["bindings"] = json!({"ws": {"method": "GET", "query": query(), "bindingVersion": "0.1.0"}});
    }
    channel
}

/// The query of a data connection, as a schema.
fn query() -> Value {
    let parameters = Query::into_params(|| None).into_iter();
    let properties: Map<String, Value> = parameters
        .map(|parameter| {
            let described = serde_json::to_value(&parameter).unwrap_or_default();
            let mut schema = described["schema"].clone();
            schema["description"] = described["description"].clone();
            (parameter.name, schema)
        })
        .collect();
    json!({"type": "object", "properties": properties})
}

fn operation(action: &str, channel: &str, names: &[String]) -> Value {
    json!({
        "action": action,
        "channel": {"$ref": format!("#/channels/{channel}")},
        "messages": in_channel(channel, names)
    })
}

fn receive(names: &[String]) -> Value {
    let mut operation = operation("receive", "ws", names);
    operation["reply"] =
        json!({"channel": {"$ref": "#/channels/ws"}, "messages": in_channel("ws", &["reply".to_owned()])});
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        assert!(text.contains("\"$ref\""));
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }

    #[test]
    fn the_short_form_has_room_for_all_elements_that_are_written() {
        let vectors: Vec<Value> =
            serde_json::from_str(include_str!("../../../tests/vectors/short.json")).unwrap();
        let lists = vectors
            .iter()
            .map(|vector| serde_json::from_str::<Vec<Value>>(vector["short"].as_str().unwrap()).unwrap());
        let (public, own): (Vec<_>, Vec<_>) = lists.partition(|list| list[0].is_string());
        for ((name, message), lists) in short_messages().into_iter().zip([own, public]) {
            let longest = lists.iter().map(Vec::len).max().unwrap();
            assert_eq!(message["payload"]["items"].as_array().unwrap().len(), longest, "{name}");
        }
    }

    #[test]
    fn every_event_that_is_written_is_described() {
        let text = include_str!("../../encke-proto/src/event.rs");
        let (_, text) = text.split_once("impl Event {").unwrap();
        let names =
            text.split("Self::").skip(1).filter_map(|rest| rest.split("=> \"").nth(1)?.split('"').next());
        let mut seen = 0;
        for name in names {
            seen += 1;
            assert!(events().iter().any(|event| event.name == name), "{name}");
        }
        assert!(seen > 3, "{seen}");
    }
}
