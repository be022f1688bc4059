//! What requests with several parts share: their parts begin in their order and go on together, and each has
//! a result of its own.

use std::pin::Pin;

use encke_proto::Refusal;
use futures_util::future::join_all;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::refusal::Refused;

/// A part under way.
pub(crate) type Part<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a part was not accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reason {
    /// For programs.
    #[schema(value_type = String)]
    code: &'static str,
    /// For people.
    message: String,
}

impl From<Refused> for Reason {
    fn from(Refused(Refusal { code, message }): Refused) -> Self {
        Self { code: code.as_str(), message }
    }
}

/// Lets all go on together, and begins them in their order, so that they stand in that order in the engine's
/// queue, and one commit takes all of them.
pub(crate) async fn in_order<'a, T: Send + 'a>(parts: Vec<Part<'a, T>>) -> Vec<T> {
    join_all(parts).await
}

/// Why a whole request is refused: when none of its parts was accepted, and of that the server is the cause.
/// Then it is worth while to send all of it again.
pub(crate) fn refused_whole<T>(results: &[Result<T, Refused>]) -> Option<Refused> {
    let is_servers =
        |result: &Result<T, Refused>| matches!(result, Err(Refused(refusal)) if refusal.code.status() >= 500);
    match results.first() {
        Some(Err(refused)) if results.iter().all(is_servers) => Some(refused.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use encke_proto::ErrorCode;

    use super::*;

    #[tokio::test]
    async fn all_begin_in_their_order_and_each_keeps_its_place_however_they_are_done() {
        for count in [2, 30, 100, 1_000] {
            let begun = Mutex::new(Vec::new());
            let (late, comes) = tokio::sync::oneshot::channel();
            let (mut late, mut comes) = (Some(late), Some(comes));
            let parts = (0..count).map(|number| {
                let (begun, comes) = (&begun, if number == 0 { comes.take() } else { None });
                let late = if number == count - 1 { late.take() } else { None };
                let part: Part<'_, u32> = Box::pin(async move {
                    begun.lock().unwrap().push(number);
                    if let Some(comes) = comes {
                        comes.await.unwrap();
                    }
                    if let Some(late) = late {
                        late.send(()).unwrap();
                    }
                    number
                });
                part
            });
            assert_eq!(in_order(parts.collect()).await, (0..count).collect::<Vec<_>>());
            assert_eq!(*begun.lock().unwrap(), (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_request_is_refused_whole_only_for_what_passes() {
        let refused = |code: ErrorCode| Err(Refused::from(code));
        let of =
            |results: &[Result<(), Refused>]| refused_whole(results).map(|Refused(refusal)| refusal.code);
        let unavailable = ErrorCode::EngineUnavailable;
        assert_eq!(of(&[refused(unavailable), refused(ErrorCode::Internal)]), Some(unavailable));
        assert_eq!(of(&[refused(unavailable), Ok(())]), None);
        assert_eq!(of(&[refused(unavailable), refused(ErrorCode::BadName)]), None);
        assert_eq!(of(&[]), None);
    }
}
