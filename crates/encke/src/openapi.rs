//! The machine-readable description of the API, made from the types that the handlers use.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use encke_proto::ErrorCode;
use http::header;
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::{
        Content, ObjectBuilder, Ref, RefOr, ResponseBuilder, Type,
        schema::Schema,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::{
    client_api, health,
    http::refusal,
    pages,
    schemas::{CloseEvent, Gap, Message},
    server_api,
};

/// The document, written once.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| Document::openapi().to_json().unwrap_or_default());

/// This document.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "operation", security(()),
    responses((status = 200, description = "OpenAPI.", body = serde_json::Value)),
)]
pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], DOCUMENT.as_str())
        .into_response()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Encke",
        description = "A Comet server: push messages and whole web pages to users by id. Every error is `{\"error\":{\"code\",\"message\"}}`, with a code from `ErrorCode`.",
    ),
    paths(
        client_api::held::poll, client_api::held::sse, client_api::held::stream, client_api::held::ws, client_api::login::login, client_api::logout::logout, client_api::ticket::ticket,
        client_api::close::close, client_api::subscribe::subscribe, client_api::subscribe::unsubscribe, client_api::publish::publish, client_api::ack::ack,
        server_api::push::push, server_api::receipts::receipts, server_api::publish::publish, server_api::users::users, server_api::users::user, server_api::sessions::sessions,
        server_api::close::close, server_api::channels::channels, server_api::history::history, server_api::presence::presence,
        openapi, health::metrics, health::healthz, health::readyz,
        pages::demo, pages::console, pages::client, pages::client_module, pages::asset,
    ),
    components(schemas(ErrorAnswer, Message, Gap, CloseEvent)),
    modifiers(&Secrets, &Errors),
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

/// What all operations have in common: the table of errors, any of which may be the answer, and ids that are
/// made of the address.
struct Errors;

impl Modify for Errors {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let rows: Vec<String> = ErrorCode::ALL
            .iter()
            .map(|code| format!("- `{code}` ({}): {}", code.status(), refusal::sentence(*code)))
            .collect();
        let codes = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(ErrorCode::ALL.iter().map(|code| code.as_str())));
        let schema: RefOr<Schema> = codes.description(Some(rows.join("\n"))).build().into();
        let components = document.components.get_or_insert_default();
        components.schemas.insert("ErrorCode".to_owned(), schema);
        let content = Content::new(Some(Ref::from_schema_name("ErrorAnswer")));
        let error =
            ResponseBuilder::new().description("Refused.").content("application/json", content).build();
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in [("get", &mut item.get), ("post", &mut item.post)] {
                let Some(operation) = operation else { continue };
                // Handlers share names, as nouns do; an address is named once.
                let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
                operation.operation_id = Some(words.fold(method.to_owned(), |id, word| id + "_" + word));
                operation.responses.responses.insert("default".to_owned(), error.clone().into());
            }
        }
    }
}

/// An error.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `Refusal` writes")]
pub(crate) struct ErrorAnswer {
    error: ErrorDetail,
    /// False when a client must not come back by itself.
    #[schema(required = false)]
    reconnect: Option<bool>,
}

/// What is wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `Refusal` writes")]
pub(crate) struct ErrorDetail {
    /// For programs.
    #[schema(schema_with = error_code)]
    code: String,
    /// For people.
    message: String,
}

fn error_code() -> Ref {
    Ref::from_schema_name("ErrorCode")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::router::routes;

    fn document() -> Value {
        serde_json::from_str(&DOCUMENT).unwrap()
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document = document();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                described.insert((method.to_uppercase(), path.clone()));
            }
        }
        let routed: BTreeSet<_> =
            routes().iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn every_error_code_is_in_the_document_and_every_request_may_be_refused() {
        let document = document();
        let codes = document["components"]["schemas"]["ErrorCode"]["enum"].as_array().unwrap().len();
        assert_eq!(codes, ErrorCode::ALL.len());
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                assert!(operation["responses"]["default"].is_object(), "{method} {path}");
                assert!(operation["security"].is_array(), "{method} {path}");
            }
        }
    }

    #[test]
    fn no_two_operations_have_one_id() {
        let text = document().to_string();
        let ids: Vec<&str> =
            text.split("\"operationId\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let each: BTreeSet<&&str> = ids.iter().collect();
        assert_eq!((ids.len(), each.len()), (routes().len(), routes().len()), "{ids:?}");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
