//! A text of JSON that is shared: what messages carry.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer, ser};
use serde_json::value::RawValue;

/// Valid JSON as it was written, in one allocation that all who hold it share. Cheap to clone.
// [`RawValue`] says the same of a text, but can be made of one that is known to be JSON only by having it
// parsed, and shared only by copying it twice: both would be done for every message.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonText(Arc<str>);

impl JsonText {
    /// A copy of a text that was found to be JSON.
    pub(crate) fn of_checked(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn get(&self) -> &str {
        &self.0
    }
}

impl From<&RawValue> for JsonText {
    fn from(json: &RawValue) -> Self {
        Self(json.get().into())
    }
}

impl From<Box<RawValue>> for JsonText {
    fn from(json: Box<RawValue>) -> Self {
        Self::from(&*json)
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JsonText").field(&self.get()).finish()
    }
}

impl fmt::Display for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

/// As the value that it is, not as a string. Messages are written without this.
impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.get()).map_err(ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_the_value_that_it_is() {
        let text = "{\"a\":[1.50,\"x\"]}";
        let json = JsonText::from(RawValue::from_string(text.to_owned()).unwrap());
        assert_eq!((json.get(), json.to_string().as_str()), (text, text));
        assert_eq!(serde_json::to_string(&[json]).unwrap(), format!("[{text}]"));
    }
}
