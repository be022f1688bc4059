//! The machine-readable description of the API, made from the types that the handlers use. What streams and
//! WebSockets carry is described in `asyncapi.rs`.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::response::{IntoResponse, Response};
use encke_proto::{Close, ErrorAnswer, ErrorCode, Expiring, Gap, MessageJson, Refusal, Unsubscribed};
use http::{HeaderMap, header};
use serde_json::{Map, Value, json};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use crate::{
    asyncapi, client_api, health,
    http::refusal::{codes, retry_after_s, sentence},
    pages, server_api,
};

/// The member of each operation that lists the codes of its refusals. Each handler gives its own.
const ERROR_CODES: &str = "x-error-codes";

/// The document, made once.
static DOCUMENT: LazyLock<Value> = LazyLock::new(document);
/// Its text, for servers that are reached without a prefix.
static TEXT: LazyLock<String> = LazyLock::new(|| DOCUMENT.to_string());

/// This document.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "operation", security(()),
    responses((status = 200, description = "OpenAPI.", body = serde_json::Value)),
    extensions(("x-error-codes" = json!(codes(&[])))),
)]
pub(crate) async fn openapi(headers: HeaderMap) -> Response {
    let fields = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    let path = client_api::cookie::path(&headers);
    match path.strip_suffix('/') {
        // Behind a proxy that cuts off a prefix, clients find the server under it.
        Some(prefix) if !prefix.is_empty() => {
            let mut document = DOCUMENT.clone();
            document["servers"][0]["url"] = json!(prefix);
            (fields, document.to_string()).into_response()
        }
        _ => (fields, TEXT.as_str()).into_response(),
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Encke",
        description = "A Comet server: push messages and whole web pages to users by id. Every error is `{\"error\":{\"code\",\"message\"}}`, with a code from `ErrorCode`. The events of streams and WebSockets are described in `/api/asyncapi.json`.",
    ),
    servers((url = "/", description = "The server that gave this description.")),
    paths(
        client_api::held::poll, client_api::held::sse, client_api::held::stream, client_api::held::ws,
        client_api::login::login, client_api::logout::logout, client_api::ticket::ticket,
        client_api::refresh::refresh,
        client_api::close::close, client_api::subscribe::subscribe, client_api::subscribe::unsubscribe,
        client_api::publish::publish, client_api::ack::ack,
        client_api::history::history, client_api::presence::presence,
        server_api::push::push, server_api::receipts::receipts, server_api::pushes::pushes,
        server_api::publish::publish,
        server_api::users::users, server_api::users::user, server_api::looking::messages,
        server_api::sessions::sessions,
        server_api::nodes::node, server_api::nodes::nodes, server_api::stats::stats,
        server_api::stats::history, server_api::hooks::hooks,
        server_api::close::close, server_api::revoke::revoke, server_api::channels::channels,
        server_api::history::history,
        server_api::presence::presence, server_api::deletion::user, server_api::deletion::channel,
        server_api::cancellation::cancel, server_api::check_url::check_url,
        openapi, asyncapi::asyncapi, health::metrics, health::healthz, health::readyz,
        pages::demo, pages::console, pages::client, pages::client_classic, pages::client_file, pages::asset,
        pages::console_asset,
    ),
    components(schemas(
        ErrorAnswer<'static>, ErrorCode, MessageJson<'static>, Gap, Unsubscribed, Expiring, Close,
    )),
    modifiers(&Secrets),
)]
struct Document;

/// How requests prove who sends them.
struct Secrets;

impl Modify for Secrets {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = |what| {
            SecurityScheme::Http(
                HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(what)).build(),
            )
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("api_key", bearer("The key of the server API."));
        components.add_security_scheme("token", bearer("A client's token, a JWT."));
        components.add_security_scheme(
            "cookie",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(crate::auth::COOKIE))),
        );
        components
            .add_security_scheme("ticket", SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::new("ticket"))));
    }
}

fn document() -> Value {
    // A value that hyper made is one that serde can write.
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    let rows: Vec<String> = ErrorCode::ALL
        .iter()
        .map(|code| format!("- `{code}` ({}): {}", code.status(), sentence(*code)))
        .collect();
    document["components"]["schemas"]["ErrorCode"]["description"] = json!(rows.join("\n"));
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            // Handlers share names, as nouns do; an address is named once.
            let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
            operation["operationId"] = json!(words.fold(method.clone(), |id, word| id + "_" + word));
            describe_errors(operation);
        }
    }
    document
}

/// Adds an answer for each status that the operation may be refused with.
fn describe_errors(operation: &mut Value) {
    let listed = operation[ERROR_CODES].as_array().cloned().unwrap_or_default();
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in ErrorCode::ALL.iter().filter(|code| listed.iter().any(|listed| listed == code.as_str())) {
        by_status.entry(code.status()).or_default().push(*code);
    }
    for (status, codes) in by_status {
        operation["responses"][status.to_string()] = refusal(status, &codes);
    }
}

/// The answer of a status, with one of these codes.
fn refusal(status: u16, codes: &[ErrorCode]) -> Value {
    let rows: Vec<String> = codes.iter().map(|code| format!("`{code}`: {}", sentence(*code))).collect();
    let examples: Map<String, Value> = codes.iter().map(|code| (code.to_string(), example(*code))).collect();
    let one_of_these = json!({"type": "object", "properties": {
        "error": {"type": "object", "properties": {"code": {"type": "string", "enum": codes}}},
    }});
    let mut headers = Map::new();
    if codes.iter().any(|code| retry_after_s(*code).is_some()) {
        let words = "After how many seconds to come back.";
        headers.insert(
            "Retry-After".into(),
            json!({"description": words, "schema": {"type": "integer", "minimum": 0}}),
        );
    }
    if status == 401 {
        headers.insert(
            "WWW-Authenticate".into(),
            json!({"description": "`Bearer`.", "schema": {"type": "string"}}),
        );
    }
    let mut response = json!({
        "description": rows.join("\n\n"),
        "content": {"application/json": {
            "schema": {"allOf": [{"$ref": "#/components/schemas/ErrorAnswer"}, one_of_these]},
            "examples": examples,
        }},
    });
    if !headers.is_empty() {
        response["headers"] = Value::Object(headers);
    }
    response
}

/// What the server writes for a code when there is nothing to add.
fn example(code: ErrorCode) -> Value {
    let json = Refusal::new(code, sentence(code)).json();
    json!({"value": serde_json::from_str::<Value>(&json).unwrap_or_default()})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::router::routes;

    /// Every operation with its method and path.
    fn operations() -> impl Iterator<Item = (&'static String, &'static String, &'static Value)> {
        let items = DOCUMENT["paths"].as_object().unwrap().iter();
        items.flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(move |(method, operation)| (method, path, operation))
        })
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let described: BTreeSet<_> =
            operations().map(|(method, path, _)| (method.to_uppercase(), path.clone())).collect();
        let routed: BTreeSet<_> =
            routes().iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn every_operation_has_an_answer_for_each_of_its_codes_and_for_no_other() {
        for (method, path, operation) in operations() {
            assert!(operation["security"].is_array(), "{method} {path}");
            assert!(operation["responses"]["default"].is_null(), "{method} {path}");
            let listed = operation[ERROR_CODES].as_array().unwrap();
            let answers = operation["responses"].as_object().unwrap().iter();
            let examples = answers.flat_map(|(status, answer)| {
                let examples =
                    answer["content"]["application/json"]["examples"].as_object().into_iter().flatten();
                examples.map(move |(code, example)| (status, code, example))
            });
            let refusals: Vec<_> =
                examples.filter(|(_, _, example)| example["value"]["error"].is_object()).collect();
            assert_eq!(refusals.len(), listed.len(), "{method} {path}");
            for (status, code, example) in refusals {
                let row = ErrorCode::ALL.iter().find(|row| row.as_str() == code).unwrap();
                assert_eq!(
                    (row.status().to_string(), &example["value"]["error"]["code"]),
                    (status.clone(), &json!(code))
                );
                assert!(listed.contains(&json!(code)), "{method} {path} {code}");
            }
        }
    }

    #[test]
    fn every_code_of_the_table_is_described_and_some_operation_may_give_it() {
        let described = DOCUMENT["components"]["schemas"]["ErrorCode"]["enum"].as_array().unwrap();
        assert_eq!(described.len(), ErrorCode::ALL.len());
        let given: BTreeSet<&str> = operations()
            .flat_map(|(_, _, operation)| operation[ERROR_CODES].as_array().unwrap())
            .filter_map(Value::as_str)
            .collect();
        for code in ErrorCode::ALL {
            // This one is about methods that have no operation.
            assert_eq!(given.contains(code.as_str()), *code != ErrorCode::MethodNotAllowed, "{code}");
        }
    }

    #[test]
    fn requests_and_answers_have_examples() {
        for (method, path, operation) in operations() {
            let answers =
                operation["responses"].as_object().unwrap().values().map(|answer| &answer["content"]);
            for content in answers.chain([&operation["requestBody"]["content"]]) {
                for (kind, content) in
                    content.as_object().into_iter().flatten().filter(|(kind, _)| *kind == "application/json")
                {
                    // A description of its own is example enough.
                    let is_document = path.ends_with("api.json");
                    assert!(
                        is_document || !content["example"].is_null() || content["examples"].is_object(),
                        "{method} {path} {kind}"
                    );
                }
            }
        }
    }

    #[test]
    fn no_two_operations_have_one_id() {
        let ids: BTreeSet<&str> =
            operations().filter_map(|(_, _, operation)| operation["operationId"].as_str()).collect();
        assert_eq!(ids.len(), routes().len(), "{ids:?}");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = DOCUMENT.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(DOCUMENT.pointer(reference).is_some(), "{reference}");
        }
    }
}
