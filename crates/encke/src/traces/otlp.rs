//! Spans as a collector reads them: `ExportTraceServiceRequest` of OTLP 1, in its JSON encoding. Ids are
//! hexadecimal there, and numbers of 64 bits are text.

use serde::{Serialize, Serializer};

use super::{Span, Value};

/// The status of a span that failed (`Status.StatusCode`).
const STATUS_ERROR: u8 = 2;

/// A batch of spans of one server.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Export<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: ResourceJson<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct ResourceJson<'a> {
    attributes: Vec<Attribute<'a>>,
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<SpanJson<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanJson<'a> {
    #[serde(serialize_with = "hex")]
    trace_id: &'a [u8],
    #[serde(serialize_with = "hex")]
    span_id: &'a [u8],
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_hex")]
    parent_span_id: Option<&'a [u8]>,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<Attribute<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
}

#[derive(Serialize)]
struct Status<'a> {
    code: u8,
    message: &'a str,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'a str,
    value: AnyValue<'a>,
}

#[derive(Serialize)]
enum AnyValue<'a> {
    #[serde(rename = "stringValue")]
    String(&'a str),
    #[serde(rename = "intValue")]
    Int(String),
    #[serde(rename = "boolValue")]
    Bool(bool),
}

/// Who sends the spans.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    /// `service.name`.
    pub(super) service: String,
    /// `service.instance.id`.
    pub(super) node: String,
}

/// A batch as the body of a request.
pub(super) fn export(resource: &Resource, spans: &[Span]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let named = |key, value| Attribute { key, value: AnyValue::String(value) };
    let attributes = vec![
        named("service.name", &resource.service),
        named("service.version", version),
        named("service.instance.id", &resource.node),
    ];
    let scope_spans =
        ScopeSpans { scope: Scope { name: "encke", version }, spans: spans.iter().map(span).collect() };
    let resource = ResourceJson { attributes };
    let export = Export { resource_spans: [ResourceSpans { resource, scope_spans: [scope_spans] }] };
    // Of texts and numbers alone, which can be written.
    serde_json::to_vec(&export).unwrap_or_default()
}

fn span(span: &Span) -> SpanJson<'_> {
    let value = |value| match value {
        &Value::Number(number) => AnyValue::Int(number.to_string()),
        &Value::Flag(flag) => AnyValue::Bool(flag),
        Value::Text(text) => AnyValue::String(text),
    };
    SpanJson {
        trace_id: &span.trace_id,
        span_id: &span.span_id,
        parent_span_id: span.parent.as_ref().map(|id| &id[..]),
        name: span.name,
        kind: span.kind as u8,
        start_time_unix_nano: span.start_ns.to_string(),
        end_time_unix_nano: span.end_ns.to_string(),
        attributes: span.attributes.iter().map(|(key, it)| Attribute { key, value: value(it) }).collect(),
        status: span.error.as_deref().map(|message| Status { code: STATUS_ERROR, message }),
    }
}

fn hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    serializer.serialize_str(&digits)
}

fn optional_hex<S: Serializer>(bytes: &Option<&[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    hex(bytes.unwrap_or_default(), serializer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::traces::Kind;

    #[test]
    fn a_batch_is_written_as_the_specification_has_it() {
        let span = Span {
            name: "push",
            kind: Kind::Server,
            trace_id: [0xa7; 16],
            span_id: [0, 1, 2, 3, 4, 5, 6, 7],
            parent: None,
            start_ns: u64::MAX - 1,
            end_ns: u64::MAX,
            attributes: vec![
                ("encke.targets", Value::Number(u64::MAX)),
                ("encke.repeated", Value::Flag(false)),
                ("messaging.system", Value::Text("encke".into())),
            ],
            error: None,
        };
        let failed = Span { parent: Some([9; 8]), error: Some("no \"disk\"".into()), ..span.clone() };
        let resource = Resource { service: "push".into(), node: "node-1".into() };
        let written = export(&resource, &[span, failed]);
        let read: serde_json::Value = serde_json::from_slice(&written).unwrap();
        let of = &read["resourceSpans"][0];
        assert_eq!(
            of["resource"]["attributes"][0],
            json!({"key": "service.name", "value": {"stringValue": "push"}})
        );
        let spans = of["scopeSpans"][0]["spans"].as_array().unwrap();
        assert_eq!(
            spans[0],
            json!({
                "traceId": "a7".repeat(16), "spanId": "0001020304050607", "name": "push", "kind": 2,
                "startTimeUnixNano": "18446744073709551614", "endTimeUnixNano": "18446744073709551615",
                "attributes": [
                    {"key": "encke.targets", "value": {"intValue": "18446744073709551615"}},
                    {"key": "encke.repeated", "value": {"boolValue": false}},
                    {"key": "messaging.system", "value": {"stringValue": "encke"}},
                ],
            })
        );
        assert_eq!(spans[1]["parentSpanId"], "0909090909090909");
        assert_eq!(spans[1]["status"], json!({"code": 2, "message": "no \"disk\""}));
    }
}
