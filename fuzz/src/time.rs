//! Times: every time that can be written comes back from its text, and texts sort as times do.

use arbitrary::Arbitrary;
use encke_proto::Time;
use serde_json::Value;

use crate::input::typed;

/// The last millisecond of the year 9999: RFC 3339 has no later one.
const LAST_MS: u64 = 253_402_300_799_999;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Text(&'a str),
    Times(u64, u64),
}

/// See the module.
pub fn run(bytes: &[u8]) {
    match typed::<Input<'_>>(bytes) {
        Some(Input::Text(text)) => {
            if let Some(time) = read(text) {
                assert!(time.0 <= LAST_MS, "{text}");
                assert_eq!(read(&time.to_string()), Some(time), "{text}");
            }
        }
        Some(Input::Times(one, other)) => {
            for ms in [one, other] {
                let text = Time(ms).to_string();
                assert_eq!(text.len(), "0000-00-00T00:00:00.000Z".len());
                assert_eq!(read(&text), Some(Time(ms.min(LAST_MS))), "{ms}");
                assert_eq!(read(&text.replace('Z', "+00:00")), Some(Time(ms.min(LAST_MS))), "{ms}");
            }
            let order = one.min(LAST_MS).cmp(&other.min(LAST_MS));
            assert_eq!(Time(one).to_string().cmp(&Time(other).to_string()), order);
        }
        None => {}
    }
}

fn read(text: &str) -> Option<Time> {
    serde_json::from_value(Value::String(text.to_owned())).ok()
}
