//! The short form of messages: whatever is left out, a reader who was told the rest has the long form again.

use arbitrary::Arbitrary;
use encke_proto::{Epoch, Message, MessageId, Time, codec::MessageForm};
use serde_json::{Value, json};

use crate::input::{AnyMessage, Rest, typed};

#[derive(Arbitrary, Debug)]
struct Input {
    told: Option<u64>,
    messages: Rest<AnyMessage>,
}

/// See the module.
pub fn run(bytes: &[u8]) {
    let Some(input) = typed::<Input>(bytes) else { return };
    let told = input.told.map(Epoch);
    let form = MessageForm::Short { told };
    for message in &input.messages.0 {
        // No message is of the first millisecond of 1970: its time would look like one that is left out.
        let Some(entry) = message.entry().filter(|entry| entry.message().time.0 > 0) else { continue };
        let (mut once, mut again) = (Vec::new(), Vec::new());
        form.push(&mut once, &entry);
        form.push(&mut again, &entry);
        assert_eq!(once, again, "whether or not it is kept");
        let text = form.json(&entry);
        assert_eq!(once, text.as_bytes());
        assert!(!text.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']), "it is one line");
        let short: Vec<Value> = serde_json::from_str(text).expect("an array");
        let mut long: Value = serde_json::from_str(entry.event_json()).expect("an object");
        long.as_object_mut().expect("an object").remove("event");
        assert_eq!(read(&short, told, entry.message()), Some(long));
    }
}

/// The long form, read by the words of `docs/PROTOCOL.md`. Of the message itself is taken what the short form
/// does not have: the id in a public channel, and the name of the own one.
fn read(short: &[Value], told: Option<Epoch>, message: &Message) -> Option<Value> {
    let is_own = short.first()?.is_u64();
    let mut tail = short.get(if is_own { 3 } else { 4 }..)?.iter();
    let mut next = || tail.next().filter(|value| **value != json!(0)).cloned();
    let (kind, from, epoch, time) = (next(), next(), next(), next());
    let id = if is_own { short[1].clone() } else { json!(message.id) };
    let time = match (is_own, time) {
        (true, Some(time)) => time.as_u64()?,
        (true, None) => serde_json::from_value::<MessageId>(id.clone()).ok()?.time().0,
        (false, _) => short[2].as_u64()?,
    };
    let (offset, body) = if is_own { (&short[0], &short[2]) } else { (&short[1], &short[3]) };
    let channel = if is_own { json!(message.channel) } else { short[0].clone() };
    let mut long = json!({
        "id": id, "channel": channel, "offset": offset,
        "epoch": epoch.or(told.map(|epoch| json!(epoch)))?, "time": Time(time),
    });
    let members = long.as_object_mut()?;
    let kind = kind.map_or(Some(0), |kind| kind.as_u64())?;
    let (name, member) = if kind == 0 { ("message", "data") } else { ("page", "url") };
    members.insert("type".into(), name.into());
    members.insert(member.into(), body.clone());
    if kind == 2 {
        members.insert("show".into(), "window".into());
    }
    if let Some(from) = from {
        members.insert("from".into(), from);
    }
    Some(long)
}
