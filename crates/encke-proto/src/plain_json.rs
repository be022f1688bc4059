//! JSON in its plainest form, taken piece by piece from where it stands, without a deserializer: for bodies
//! that come very often. What is not plain is not taken, and left to a reader that knows all of JSON (RFC
//! 8259) and says what is wrong.

use memchr::memchr2;
use serde_json::value::RawValue;

use crate::{
    JsonText,
    json::{PLAIN, is_space, one_value, shared},
    limits::JSON_MAX_DEPTH,
};

/// A text of JSON and how far it was taken. White space before what is taken is passed over. Each function
/// takes nothing where it gives nothing, but for white space.
#[derive(Clone, Copy, Debug)]
pub struct PlainJson<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> PlainJson<'a> {
    /// The beginning of a text.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn next_byte(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(|byte| is_space(*byte)) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Takes a mark: a bracket, a comma or a colon. False when something else comes next.
    pub fn takes(&mut self, mark: u8) -> bool {
        let is_next = self.next_byte() == Some(mark);
        self.at += usize::from(is_next);
        is_next
    }

    /// Takes a string without an escape.
    pub fn string(&mut self) -> Option<&'a str> {
        if self.next_byte()? != b'"' {
            return None;
        }
        let start = self.at + 1;
        let rest = self.text.as_bytes().get(start..)?;
        let length = rest.iter().position(|byte| !PLAIN[usize::from(*byte)] && byte.is_ascii())?;
        if rest[length] != b'"' {
            return None;
        }
        self.at = start + length + 1;
        self.text.get(start..start + length)
    }

    /// Takes a whole number: digits alone, and no zero before others.
    pub fn whole_number(&mut self) -> Option<u64> {
        self.next_byte()?;
        let rest = self.text.get(self.at..)?;
        let length = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, behind) = rest.split_at(length);
        // A fraction or an exponent is of another number.
        if behind.starts_with(['.', 'e', 'E']) || (length > 1 && digits.starts_with('0')) {
            return None;
        }
        let number = digits.parse().ok()?;
        self.at += length;
        Some(number)
    }

    /// Takes a value of any kind, without the white space in it, as [`crate::json::compact`] does. One that
    /// is deeper than [`JSON_MAX_DEPTH`] is not taken.
    pub fn compact(&mut self) -> Option<JsonText> {
        if self.next_byte()? == b'"' {
            return self.any_string();
        }
        let (end, look) = one_value(self.text.as_bytes(), self.at)?;
        if look.deepest > JSON_MAX_DEPTH {
            return None;
        }
        // Whether it is JSON is for the deserializer to say.
        let value = serde_json::from_str::<&RawValue>(self.text.get(self.at..end)?).ok()?;
        self.at = end;
        Some(shared(value, &look))
    }

    /// Takes a string of any kind as a value: there is neither depth nor white space in it to be looked for.
    fn any_string(&mut self) -> Option<JsonText> {
        let rest = self.text.get(self.at..)?;
        if let Some(bytes) = plain_string_bytes(rest) {
            self.at += bytes;
            return Some(JsonText::of_checked(&rest[..bytes]));
        }
        // One with escapes. The deserializer finds its end by itself.
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value.into())
    }

    /// Whether nothing is left.
    pub fn is_at_end(&mut self) -> bool {
        self.next_byte().is_none()
    }
}

/// How many bytes the string has that a text begins with, its quotes included; none when there is an escape
/// in it, or what has to be one.
fn plain_string_bytes(text: &str) -> Option<usize> {
    let content = text.as_bytes().get(1..)?;
    // Many bytes at a time: most of what is published is within strings.
    let length = memchr2(b'"', b'\\', content).filter(|length| content[*length] == b'"')?;
    let has_control = content[..length].iter().fold(false, |has, byte| has | (*byte < b' '));
    (!has_control).then_some(length + 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// What is plain and what is not, nearly right texts among them.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ \\t]{0,1}(0|[1-9][0-9]{0,19}|0[0-9]|-1|1\\.5|1e3|[0-9]{0,22})[ ,x]{0,1}",
            "[ \\t]{0,1}\"[a-zü\\\\\"\u{0}-\u{1f}]{0,4}\"[ ,]{0,1}",
            "[ \\[\\]{}\":,a1\\\\ntrue]{0,16}",
            "\\{\"a\":( \\[1 ,\"b\\\\n \"\\]|null|tru|\\{\\}|[0-9.e]{0,3})\\}",
        ]
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_a_deserializer_would_read(text in text()) {
            let whole = serde_json::from_str::<Value>(&text).ok();
            let taken = |mut plain: PlainJson<'_>, value: Option<Value>| match value {
                Some(value) if plain.is_at_end() => Some(value),
                _ => None,
            };
            let mut plain = PlainJson::of(&text);
            let string = plain.string().map(Value::from);
            if let Some(string) = taken(plain, string) {
                prop_assert_eq!(Some(string), whole.clone());
            }
            let mut plain = PlainJson::of(&text);
            let number = plain.whole_number().map(Value::from);
            if let Some(number) = taken(plain, number) {
                prop_assert_eq!(Some(number), whole.clone());
            }
            let mut plain = PlainJson::of(&text);
            let compact = plain.compact();
            let value = compact.as_ref().and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
            prop_assert_eq!(taken(plain, value), whole.clone());
            if let (Some(compact), Some(_)) = (compact, whole) {
                let raw: &RawValue = serde_json::from_str(&text).unwrap();
                let expected = crate::json::compact(raw).unwrap();
                prop_assert_eq!(compact.get(), expected.get());
            }
        }
    }

    #[test]
    fn a_value_ends_where_the_next_mark_stands() {
        for (text, taken) in [
            ("1,2", "1"),
            ("true}", "true"),
            (" [ 1 , \"]\" ] ]", "[1,\"]\"]"),
            ("\"a,\\\"\",1", "\"a,\\\"\""),
        ] {
            let mut plain = PlainJson::of(text);
            assert_eq!(plain.compact().unwrap().get(), taken);
            assert!(!plain.is_at_end());
        }
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(PlainJson::of(&deep(JSON_MAX_DEPTH)).compact().is_some());
        assert!(PlainJson::of(&deep(JSON_MAX_DEPTH + 1)).compact().is_none());
    }
}
