//! The machine-readable description of what streams and WebSockets carry: events, commands and replies, by
//! AsyncAPI 3. Schemas are made from the types that are written and read. Requests and their answers are in
//! `openapi.rs`.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use encke_proto::{Close, Gap, MessageJson, Open, Unsubscribed};
use http::header;
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, OpenApi};

use crate::{
    commands::{Done, Followed, SessionClosed},
    dialects::native::{
        AckCommand, CloseCommand, PingCommand, PublishCommand, Query, Reply, SubscribeCommand,
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
    Open, MessageJson<'static>, Gap, Unsubscribed, Close, SubscribeCommand, PublishCommand, AckCommand,
    CloseCommand, PingCommand,
    Reply<'static>, Followed, Published, Done, SessionClosed,
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
            summary: "A channel that the session does not follow any more, as its new token does not grant it.",
            example: json!({"event": "unsubscribed", "channel": "news", "reason": "not_granted"}),
        },
        Described {
            name: "close",
            schema: Some("Close"),
            summary: "Last of all: why the session ended, and whether to come back.",
            example: json!({"event": "close", "code": "client", "reason": "signed out", "reconnect": false}),
        },
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
            "ping",
            "PingCommand",
            "Find out whether the server is there; the result is `Done`.",
            json!({"do": "ping", "id": 5}),
        ),
        command(
            "close",
            "CloseCommand",
            "End the session; the result is `SessionClosed`.",
            json!({"do": "close", "reason": "left", "id": 6}),
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
    let of_all: Vec<String> = events.iter().map(|event| event.name.to_owned()).collect();
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
    fn every_event_that_is_written_is_described() {
        let text = include_str!("../../encke-proto/src/event.rs");
        let names =
            text.split("Self::").skip(1).filter_map(|rest| rest.split("=> \"").nth(1)?.split('"').next());
        for name in names {
            assert!(events().iter().any(|event| event.name == name), "{name}");
        }
    }
}
