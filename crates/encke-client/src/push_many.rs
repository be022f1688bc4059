//! Several pushes in one call, and the results of pushes that were sent together.

use encke_proto::ErrorCode;
use serde::{Deserialize, Serialize};

use crate::http::refused;
use crate::{Error, Push};

/// One push of several, taken by the server. Its users are counted, not named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AcceptedOne {
    /// The push's id, for its receipts.
    pub id: String,
    /// What "accepted" means, as in [`crate::Accepted`].
    #[serde(default)]
    pub mode: String,
    /// How many users it is for.
    pub accepted: u64,
    /// How many of them were online.
    #[serde(default)]
    pub online: u64,
    /// How many were not; they get it at their next login.
    #[serde(default)]
    pub offline: u64,
}

/// The body of the call.
#[derive(Serialize)]
pub(crate) struct PushesBody<'a> {
    pub(crate) pushes: &'a [Push],
}

/// The answer to it.
#[derive(Deserialize)]
pub(crate) struct PushesAnswer {
    mode: String,
    results: Vec<PushResult>,
}

/// What became of one push.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum PushResult {
    Accepted(AcceptedOne),
    Refused { error: Words },
}

#[derive(Deserialize)]
pub(crate) struct Words {
    code: String,
    #[serde(default)]
    message: String,
}

impl PushesAnswer {
    /// The results of so many pushes, in their order.
    pub(crate) fn results(self, count: usize) -> Result<Vec<Result<AcceptedOne, Error>>, Error> {
        if self.results.len() != count {
            let words = format!("{} results for {count} pushes", self.results.len());
            return Err(Error::BadAnswer(words));
        }
        let mode = self.mode;
        let results = self.results.into_iter().map(PushResult::into_result);
        Ok(results.map(|result| Ok(AcceptedOne { mode: mode.clone(), ..result? })).collect())
    }
}

impl PushResult {
    pub(crate) fn into_result(self) -> Result<AcceptedOne, Error> {
        match self {
            Self::Accepted(accepted) => Ok(accepted),
            Self::Refused { error: Words { code, message } } => {
                // A code of a newer server is one that would be refused again.
                let row = ErrorCode::ALL.iter().find(|row| row.as_str() == code);
                let status = row.map_or(400, |row| row.status());
                Err(refused(status, code, message, false, None))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn results(json: &str, count: usize) -> Result<Vec<Result<AcceptedOne, Error>>, Error> {
        serde_json::from_str::<PushesAnswer>(json).unwrap().results(count)
    }

    #[test]
    fn each_push_has_a_result_of_its_own() {
        let json = r#"{"mode":"log","results":[{"id":"p","accepted":1,"online":1,"offline":0,"new":1},
            {"error":{"code":"bad_name","message":"it is"}},{"error":{"code":"engine_unavailable"}},
            {"error":{"code":"of_tomorrow"}}]}"#;
        let all = results(json, 4).unwrap();
        let first = all[0].as_ref().unwrap();
        assert_eq!((first.mode.as_str(), first.accepted, first.online, first.offline), ("log", 1, 1, 0));
        let codes: Vec<_> = all[1..].iter().map(|result| result.as_ref().unwrap_err()).collect();
        assert_eq!(
            codes.iter().map(|error| (error.code().unwrap(), error.is_temporary())).collect::<Vec<_>>(),
            [("bad_name", false), ("engine_unavailable", true), ("of_tomorrow", false)]
        );
        assert!(matches!(results(json, 3), Err(Error::BadAnswer(_))));
    }
}
