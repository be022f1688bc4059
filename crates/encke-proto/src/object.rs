//! A value that has to come as an object, by the names of its fields.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A `T` that is read from an object and from nothing else. What serde derives for a struct takes a list too,
/// whose values are the fields in the order of the source. What comes from outside must not depend on that
/// order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// For a field: a list of objects, or `null`.
///
/// # Errors
/// Those of the deserializer, when it is something else.
pub fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let list = Option::<Vec<Object<T>>>::deserialize(deserializer)?;
    Ok(list.map(|list| list.into_iter().map(|Object(value)| value).collect()))
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        data: Box<RawValue>,
        id: Option<String>,
        #[serde(default, deserialize_with = "objects")]
        more: Option<Vec<Example>>,
    }

    #[test]
    fn fields_are_read_by_their_names_and_in_no_other_way() {
        let Object(read) =
            serde_json::from_str::<Object<Example>>(r#"{"id":"a","data": [ 1.50],"more":[{"data":{}}]}"#)
                .unwrap();
        assert_eq!(
            (read.id.as_deref(), read.data.get(), read.more.map(|more| more.len())),
            (Some("a"), "[ 1.50]", Some(1))
        );
        for text in [
            "[]",
            "[1,null,null]",
            "null",
            "\"x\"",
            "1",
            "true",
            r#"{"data":1,"more":[[1,null,null]]}"#,
            r#"{"data":1,"more":[null]}"#,
        ] {
            let error = serde_json::from_str::<Object<Example>>(text).unwrap_err().to_string();
            assert!(error.contains("expected an object"), "{text}: {error}");
        }
        for (text, word) in [
            (r#"{"data":1,"data":2}"#, "duplicate field `data`"),
            (r#"{"data":1,"colour":2}"#, "unknown field `colour`"),
            ("{}", "missing field `data`"),
            (r#"{"data":1"#, "EOF"),
            (r#"{"data":1} 2"#, "trailing"),
            ("", "EOF"),
        ] {
            let error = serde_json::from_str::<Object<Example>>(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
