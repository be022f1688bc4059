//! Queries, read as strictly as bodies, and the paging that lists share.

use axum::extract::FromRequestParts;
use encke_proto::{ErrorCode, NameFilter, limits::NAME_MAX_BYTES};
use http::request::Parts;
use serde::{Serialize, de::DeserializeOwned};

use crate::http::{body::quoted, refusal::Refused};

/// What a request may be refused with for its query.
pub(crate) const ERRORS: &[ErrorCode] = &[ErrorCode::BadRequest];
/// How many entries a list has when the request does not say.
const LIMIT_DEFAULT: usize = 100;
/// How many it has at most; who asks for more gets these, and where to go on.
const LIMIT_MAX: usize = 1000;

/// A query that is a `T` and nothing more.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        query.map(|query| Self(query.0)).map_err(|error| Refused::bad(quoted(&error.body_text())))
    }
}

/// How many entries to give.
pub(crate) fn limit(asked: Option<u32>) -> Result<usize, Refused> {
    match asked {
        Some(0) => Err(Refused::bad("`limit` must be at least 1")),
        Some(asked) => Ok(usize::try_from(asked).unwrap_or(LIMIT_MAX).min(LIMIT_MAX)),
        None => Ok(LIMIT_DEFAULT),
    }
}

/// Which names of a list are wanted: that contain `q` and begin with `prefix`.
pub(crate) fn filter(q: Option<&str>, prefix: Option<&str>) -> Result<NameFilter, Refused> {
    let [contains, prefix] = [q, prefix].map(Option::unwrap_or_default);
    if contains.len().max(prefix.len()) > NAME_MAX_BYTES {
        return Err(Refused::bad(format!("`q` and `prefix` have at most {NAME_MAX_BYTES} bytes")));
    }
    Ok(NameFilter { prefix: prefix.to_owned(), contains: contains.to_owned() })
}

/// Cuts a list that has one entry more than asked for, and tells where the next page begins: behind the last
/// entry of this one.
pub(crate) fn cut<T, K: Serialize>(list: &mut Vec<T>, limit: usize, key: impl Fn(&T) -> K) -> Option<K> {
    let more = list.len() > limit;
    list.truncate(limit);
    list.last().filter(|_| more).map(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_bounds() {
        assert_eq!(limit(None), Ok(100));
        assert_eq!(limit(Some(7)), Ok(7));
        assert_eq!(limit(Some(5000)), Ok(1000));
        assert!(limit(Some(0)).is_err());
    }

    #[test]
    fn a_page_says_where_the_next_begins() {
        let mut list = vec![1, 2, 3];
        assert_eq!(cut(&mut list, 2, |n| *n), Some(2));
        assert_eq!(list, [1, 2]);
        assert_eq!(cut(&mut list, 2, |n| *n), None);
    }
}
