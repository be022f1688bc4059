//! The parent that a request names for what is done for it. It goes with the request's task, as OpenTelemetry
//! has it: what is done between the router and the append need not know of it.

use encke_proto::TraceContext;
use http::HeaderMap;

/// The header field of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

tokio::task_local! {
    static PARENT: TraceContext;
}

/// The parent that a request names. One that names several, or none that is well-formed, names none, as the
/// specification wants it.
#[must_use]
pub fn traceparent(headers: &HeaderMap) -> Option<TraceContext> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let first = all.next()?;
    if all.next().is_some() {
        return None;
    }
    first.to_str().ok()?.parse().ok()
}

/// Does something for a request that names this parent.
pub async fn within<T>(parent: TraceContext, work: impl Future<Output = T>) -> T {
    PARENT.scope(parent, work).await
}

/// The parent that the present request names, if it names one.
#[must_use]
pub fn current() -> Option<TraceContext> {
    PARENT.try_with(|parent| *parent).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_request_names_one_parent_or_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(traceparent(&headers), None);
        headers.append(TRACEPARENT, EXAMPLE.parse().unwrap());
        assert_eq!(traceparent(&headers).unwrap().to_string(), EXAMPLE);
        headers.append(TRACEPARENT, EXAMPLE.parse().unwrap());
        assert_eq!(traceparent(&headers), None);
        headers.insert(TRACEPARENT, "00-x".parse().unwrap());
        assert_eq!(traceparent(&headers), None);
    }

    #[tokio::test]
    async fn what_is_done_for_a_request_knows_its_parent_and_nothing_else_does() {
        let parent: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!(within(parent, async { current() }).await, Some(parent));
        assert_eq!(current(), None);
    }
}
