//! The claims of a token (RFC 7519 section 4), read by their names, so that one that is wrong is named.

use std::collections::BTreeMap;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::Value;

use super::{Grant, TokenError};

/// The last second that can be written (RFC 3339): the end of the year 9999. A time beyond it is a mistake,
/// and a token that ends there would not end.
const TIME_MAX_S: f64 = 253_402_300_799.0;

/// Claims as they stand in a token, each name once. Two claims of one name would be read as the one here and
/// as the other elsewhere.
pub(super) struct ClaimSet(BTreeMap<String, Value>);

impl ClaimSet {
    /// A claim; `null` is none.
    fn get(&self, claim: &str) -> Option<&Value> {
        self.0.get(claim).filter(|value| !value.is_null())
    }

    /// A text.
    ///
    /// # Errors
    /// [`TokenError::Claim`].
    pub(super) fn text(&self, claim: &str) -> Result<Option<&str>, TokenError> {
        let text = |value: &'_ Value| value.is_string();
        match self.get(claim) {
            Some(value) if !text(value) => Err(wrong(claim, "must be a text")),
            value => Ok(value.and_then(Value::as_str)),
        }
    }

    /// An id: a text, or a number, which some issuers write though the standard has texts alone.
    ///
    /// # Errors
    /// [`TokenError::Claim`].
    pub(super) fn id(&self, claim: &str) -> Result<Option<String>, TokenError> {
        match self.get(claim) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(wrong(claim, "must be a text")),
        }
    }

    /// A `NumericDate` (RFC 7519 section 2) as seconds since 1970, without their fraction; what is before is
    /// 1970.
    ///
    /// # Errors
    /// [`TokenError::Claim`].
    pub(super) fn time_s(&self, claim: &str) -> Result<Option<u64>, TokenError> {
        let Some(value) = self.get(claim) else { return Ok(None) };
        let seconds = value.as_f64().ok_or_else(|| wrong(claim, "must be a number of seconds"))?;
        if seconds > TIME_MAX_S {
            return Err(wrong(claim, "is after the year 9999; it is in seconds since 1970"));
        }
        // A conversion with `as` saturates.
        Ok(Some(seconds as u64))
    }

    /// Patterns of channels.
    ///
    /// # Errors
    /// [`TokenError::Claim`].
    pub(super) fn grant(&self, claim: &str) -> Result<Grant, TokenError> {
        let Some(value) = self.get(claim) else { return Ok(Grant::none()) };
        let patterns = value.as_array().and_then(|list| list.iter().map(|one| one.as_str()).collect());
        let patterns: Vec<&str> = patterns.ok_or_else(|| wrong(claim, "must be a list of patterns"))?;
        Ok(Grant::of(patterns.into_iter().map(str::to_owned).collect()))
    }

    /// Texts: a list of them, or one alone (RFC 7519 section 4.1.3). None when there is no such claim.
    ///
    /// # Errors
    /// [`TokenError::Claim`].
    pub(super) fn texts(&self, claim: &str) -> Result<Option<Vec<&str>>, TokenError> {
        let texts = match self.get(claim) {
            None => return Ok(None),
            Some(Value::Array(list)) => list.iter().map(|one| one.as_str()).collect(),
            Some(one) => one.as_str().map(|one| vec![one]),
        };
        texts.map(Some).ok_or_else(|| wrong(claim, "must be a text or a list of texts"))
    }
}

/// What is wrong with a claim.
pub(super) fn wrong(claim: &str, problem: &'static str) -> TokenError {
    TokenError::Claim { claim: claim.to_owned(), problem }
}

impl<'de> Deserialize<'de> for ClaimSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = ClaimSet;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<ClaimSet, A::Error> {
        let mut claims = BTreeMap::new();
        while let Some((name, value)) = members.next_entry::<String, Value>()? {
            if claims.insert(name, value).is_some() {
                return Err(A::Error::custom("a claim stands twice"));
            }
        }
        Ok(ClaimSet(claims))
    }
}
