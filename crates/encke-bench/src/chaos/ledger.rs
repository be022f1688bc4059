//! What a message holds: its number, and a text that follows from the number, so that one that was changed on
//! its way belongs to no publisher.

use serde::Deserialize;

use super::evidence::Id;
use crate::choice::Choice;

#[derive(Deserialize)]
struct Payload {
    n: Id,
    pad: String,
}

/// The data of a message as JSON, with so many bytes of text.
#[must_use]
pub fn payload(id: Id, bytes: usize) -> String {
    format!("{{\"n\":{id},\"pad\":\"{}\"}}", pad(id, bytes))
}

/// The number of a message from its data; 0 when it is not as it was sent.
#[must_use]
pub fn read(data: &str) -> Id {
    let Ok(payload) = serde_json::from_str::<Payload>(data) else { return 0 };
    if payload.pad == pad(payload.n, payload.pad.len()) { payload.n } else { 0 }
}

fn pad(id: Id, bytes: usize) -> String {
    let mut choice = Choice(id.wrapping_mul(0x9e37_79b9));
    // The alphabet, and what transports have to take care of.
    const CHARACTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz <>&/:;,~@!";
    (0..bytes).map(|_| char::from(CHARACTERS[choice.below(CHARACTERS.len() as u32) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_payload_is_nobodys() {
        let text = payload(77, 100);
        assert_eq!(read(&text), 77);
        assert_eq!(read(&text.replace("\"n\":77", "\"n\":78")), 0);
        assert_eq!(read("null"), 0);
    }
}
