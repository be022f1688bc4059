//! What is answered over HTTP to a directory that checks a name (HTTP-01).

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use http::{Method, header};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{
    cache::Cache,
    challenges::{Challenges, is_token},
};

/// What is before the token in the path (RFC 8555 section 8.3).
pub const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// How many requests at a time look for another node's answer on the disk, whatever clients ask for.
const READS_MAX: usize = 4;

/// What is answered: by this node, or by another that shares the cache and makes the order.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    challenges: Challenges,
    cache: Cache,
    reads: Arc<Semaphore>,
}

/// Lets a router answer directories before anything else it does: a redirect to https, or a refusal for want
/// of places, would fail the challenge. What is no pending challenge goes the way of any request.
pub(super) fn answer_first(routes: Router, answers: Answers) -> Router {
    routes.layer(from_fn_with_state(answers, answer))
}

async fn answer(State(answers): State<Answers>, request: Request, next: Next) -> Response {
    let token = request.uri().path().strip_prefix(CHALLENGE_PATH).filter(|token| is_token(token));
    if let Some(token) = token.filter(|_| *request.method() == Method::GET)
        && let Some(answer) = answers.of(token).await
    {
        let headers =
            [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "no-store")];
        return (headers, answer).into_response();
    }
    next.run(request).await
}

impl Answers {
    pub(super) fn new(challenges: Challenges, cache: Cache) -> Self {
        Self { challenges, cache, reads: Arc::new(Semaphore::new(READS_MAX)) }
    }

    async fn of(&self, token: &str) -> Option<String> {
        if let Some(answer) = self.challenges.answer_of(token) {
            return Some(answer);
        }
        let permit = Arc::clone(&self.reads).try_acquire_owned().ok()?;
        let (cache, token) = (self.cache.clone(), token.to_owned());
        let read = spawn_blocking(move || {
            let _permit = permit;
            cache.answer(&token)
        });
        read.await.ok()?
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, routing::any};
    use http::StatusCode;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(routes: &Router, method: &str, path: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = routes.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_pending_challenge_is_answered_before_anything_else() {
        let data = tempfile::tempdir().unwrap();
        let cache = Cache::new(data.path(), "https://ca.example/dir");
        let answers = Answers::new(Challenges::default(), cache.clone());
        answers.challenges.answer("here", "here.thumb");
        let _lock = cache.lock().unwrap();
        cache.write_answer("shared", "shared.thumb").unwrap();
        let redirects = async || (StatusCode::PERMANENT_REDIRECT, "elsewhere");
        let routes = Router::new().route("/{*path}", any(redirects)).fallback(redirects);
        let routes = answer_first(routes, answers.clone());
        for (method, path, status, body) in [
            ("GET", "/.well-known/acme-challenge/here", 200, "here.thumb"),
            ("GET", "/.well-known/acme-challenge/shared", 200, "shared.thumb"),
            ("GET", "/.well-known/acme-challenge/other", 308, "elsewhere"),
            ("POST", "/.well-known/acme-challenge/here", 308, "elsewhere"),
            ("GET", "/.well-known/acme-challenge/", 308, "elsewhere"),
            ("GET", "/.well-known/acme-challenge/../acme-challenge/here", 308, "elsewhere"),
            ("GET", "/.well-known/acme-challenge/%2e%2e/lock", 308, "elsewhere"),
            ("GET", "/here", 308, "elsewhere"),
        ] {
            assert_eq!(ask(&routes, method, path).await, (status.try_into().unwrap(), body.into()), "{path}");
        }
        answers.challenges.clear();
        cache.remove_answers();
        for token in ["here", "shared"] {
            let path = format!("/.well-known/acme-challenge/{token}");
            assert_eq!(ask(&routes, "GET", &path).await.0, StatusCode::PERMANENT_REDIRECT);
        }
    }
}
