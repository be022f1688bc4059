//! Looks into a store from outside, also while a server has it open: whether every record is whole, and what
//! the records say. Nothing is changed, and no lock is taken.

use std::{collections::HashMap, path::Path, sync::Arc};

use serde_json::{Value, json};

use super::{
    fault::Fault,
    file_name::file_name,
    frame::Scan,
    record::{LogId, MessageRecord, Record, Target, holds_message, read_message},
    snapshot::Snapshot,
};
use crate::{EngineError, Lifetime};

/// What was found in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Segments that were read.
    pub segments: u64,
    /// Their bytes, with what is reserved.
    pub bytes: u64,
    /// Frames, each of which was one write.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Records that hold a message.
    pub messages: u64,
    /// A frame at the end that was not written whole: a crash or a write that goes on. It was never answered.
    pub torn: bool,
    /// What is damaged, a line each.
    pub damages: Vec<String>,
    /// The segment that was read last, and the sequence that the one behind it begins with.
    last: Option<(u32, u32)>,
}

/// Reads everything in the store, or the copy of one, at `directory`, and says what is damaged: nothing is
/// found whole that a server would refuse.
///
/// # Errors
/// [`EngineError`] when there is no store, or it cannot be read.
pub fn check(directory: &Path) -> Result<CheckReport, EngineError> {
    let snapshot = Arc::new(Snapshot::take(directory)?);
    let mut report = CheckReport::default();
    for number in snapshot.numbers() {
        report.segments += 1;
        let read = snapshot.read(number).map_err(|error| Fault::unreadable(&file_name(number), &error));
        let checked = read.and_then(|bytes| {
            report.bytes += bytes.len() as u64;
            check_segment(number, &bytes, snapshot.is_newest(number), &mut report)
        });
        report.add(checked)?;
    }
    report.add(snapshot.rehearse())?;
    Ok(report)
}

impl CheckReport {
    /// Enters what is damaged, once.
    pub(super) fn add(&mut self, checked: Result<(), Fault>) -> Result<(), EngineError> {
        match checked.map_err(EngineError::from) {
            Ok(()) => {}
            Err(EngineError::Damaged(text)) => {
                if !self.damages.contains(&text) {
                    self.damages.push(text);
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Reads every record of a segment.
pub(super) fn check_segment(
    number: u32,
    bytes: &[u8],
    newest: bool,
    report: &mut CheckReport,
) -> Result<(), Fault> {
    let mut scan = Scan::begin(number, bytes, newest)?;
    // Frames that are gone from the end of a full segment look as if they had never been there.
    let before = report.last.take().filter(|(before, _)| before.checked_add(1) == Some(number));
    if let Some((before, sequence)) = before
        && sequence != scan.scanned().sequence
    {
        let missing = format!("segment {before} does not end where segment {number} goes on");
        report.damages.push(missing);
    }
    while let Some(records) = scan.next()? {
        report.frames += 1;
        for (at, _, payload) in records {
            report.records += 1;
            report.messages += u64::from(holds_message(payload));
            let read = if holds_message(payload) {
                read_message(payload).map(drop)
            } else {
                Record::decode(payload).map(drop)
            };
            if let Err(error) = read {
                report.damages.push(format!("segment {number} at byte {at}: {error}"));
            }
        }
    }
    report.torn |= scan.scanned().torn;
    report.last = Some((number, scan.scanned().sequence));
    Ok(())
}

/// Hands over every record of the store, or the copy of one, at `directory`, in the order in which they were
/// written.
///
/// # Errors
/// [`EngineError`] when there is no store, it cannot be read, or something in it is damaged.
pub fn dump(
    directory: &Path,
    mut line: impl FnMut(Value) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let snapshot = Snapshot::take(directory)?;
    let mut names = HashMap::new();
    // The record that named a log may be gone, and its name stand only in a checkpoint behind its messages.
    // What is damaged is told below, where all that comes before it was handed over.
    let _ = each_record(&snapshot, |_, _, payload| {
        match Record::decode(payload)? {
            Record::Name { log, name } => drop(names.entry(log).or_insert(name.to_string())),
            Record::Log(image) => drop(names.entry(image.log).or_insert(image.name.to_string())),
            _ => {}
        }
        Ok(())
    });
    each_record(&snapshot, |number, at, payload| {
        let mut value = value_of(payload, &mut names)?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("segment".into(), number.into());
            fields.insert("at".into(), at.into());
        }
        line(value).map_err(Fault::Refused)
    })
}

fn each_record(
    snapshot: &Snapshot,
    mut each: impl FnMut(u32, usize, &[u8]) -> Result<(), Fault>,
) -> Result<(), EngineError> {
    for number in snapshot.numbers() {
        let read = snapshot.read(number);
        let bytes = read.map_err(|error| Fault::from_io(&file_name(number), &error))?;
        let mut scan = Scan::begin(number, &bytes, snapshot.is_newest(number))?;
        while let Some(records) = scan.next()? {
            for (at, _, payload) in records {
                each(number, at, payload)?;
            }
        }
    }
    Ok(())
}

fn value_of(payload: &[u8], names: &mut HashMap<LogId, String>) -> Result<Value, Fault> {
    let name_of = |names: &HashMap<LogId, String>, log: LogId| names.get(&log).cloned();
    Ok(match Record::decode(payload)? {
        Record::Name { log, name } => {
            names.insert(log, name.to_string());
            json!({"record": "name", "log": log, "channel": name.as_str()})
        }
        Record::Message(_) => message_value("message", &read_message(payload)?, names),
        Record::Moved { .. } => message_value("moved", &read_message(payload)?, names),
        Record::Trim { log, tail, at } => {
            json!({"record": "trim", "log": log, "channel": name_of(names, log), "tail": tail, "time": at})
        }
        Record::Mark { log, state, to, at } => {
            let channel = name_of(names, log);
            json!({
                "record": "mark", "log": log, "channel": channel, "state": state.as_str(), "offset": to,
                "time": at
            })
        }
        Record::Seen { log, at } => {
            json!({"record": "seen", "log": log, "channel": name_of(names, log), "time": at})
        }
        Record::Log(image) => {
            names.insert(image.log, image.name.to_string());
            json!({
                "record": "log", "log": image.log, "channel": image.name.as_str(), "head": image.head,
                "messages": image.messages.len(), "handed": image.handed, "shown": image.shown,
                "first_seen": image.first_seen, "last_seen": image.last_seen,
            })
        }
        Record::Keys(image) => json!({"record": "keys", "count": image.keys.len()}),
        Record::Deleted(deletion) => {
            let channel = names.remove(&deletion.log);
            json!({"record": "deleted", "log": deletion.log, "channel": channel, "floor": deletion.floor})
        }
        Record::Cancelled(cancellation) => {
            let targets = cancellation.targets.iter().map(|target| target_value(target, names));
            json!({
                "record": "cancelled", "time": cancellation.at, "targets": targets.collect::<Vec<_>>()
            })
        }
        Record::Floors(image) => {
            json!({"record": "floors", "next_log": image.next_log, "count": image.floors.len()})
        }
        Record::Closed { log } => json!({"record": "closed", "log": log, "channel": name_of(names, log)}),
        Record::Touched { log, at } => {
            json!({"record": "touched", "log": log, "channel": name_of(names, log), "time": at})
        }
        Record::Configured(configured) => {
            let (until, idle_s) = match configured.config.lifetime() {
                None => (None, None),
                Some(Lifetime::Until(end)) => (Some(end), None),
                Some(Lifetime::Idle { seconds }) => (None, Some(seconds)),
            };
            json!({
                "record": "configured", "log": configured.log, "channel": name_of(names, configured.log),
                "content_type": configured.config.content_type(), "until": until, "idle_s": idle_s,
                "touched": configured.touched,
            })
        }
        Record::Produced(produced) => json!({
            "record": "produced", "log": produced.log, "channel": name_of(names, produced.log),
            "producer": produced.producer.id().as_str(), "epoch": produced.producer.epoch(),
            "sequence": produced.producer.sequence(),
            "id": produced.place.as_ref().map(|(id, _)| id.as_str()),
            "offset": produced.place.as_ref().map(|(_, offset)| *offset),
        }),
        Record::Rules(rules) => json!({"record": "rules", "rules": format!("{rules:?}")}),
    })
}

fn target_value(target: &Target, names: &HashMap<LogId, String>) -> Value {
    json!({"log": target.log, "channel": names.get(&target.log), "offset": target.offset})
}

fn message_value(record: &str, message: &MessageRecord, names: &HashMap<LogId, String>) -> Value {
    let mut value = json!({
        "record": record, "id": message.id.as_str(), "time": message.time,
        "targets": message.targets.iter().map(|target| target_value(target, names)).collect::<Vec<_>>(),
    });
    let Some(fields) = value.as_object_mut() else { return value };
    match &message.body {
        Some(encke_proto::Body::Page(page)) => {
            fields.insert("url".into(), (*page.url).into());
            if let Some(show) = page.show.said() {
                fields.insert("show".into(), show.into());
            }
        }
        Some(encke_proto::Body::Data(data)) => {
            fields.insert("data".into(), serde_json::from_str(data.get()).unwrap_or(Value::Null));
        }
        Some(encke_proto::Body::Bytes(typed)) => {
            fields.insert("bytes".into(), serde_json::from_str(typed.json().get()).unwrap_or(Value::Null));
        }
        None => {}
    }
    let times = [("expires", message.expires), ("receipts_until", message.until)];
    fields.extend(times.into_iter().filter_map(|(name, time)| Some((name.to_owned(), json!(time?)))));
    fields.extend(message.from.as_ref().map(|from| ("from".to_owned(), from.as_str().into())));
    fields.extend(message.trace.as_ref().map(|trace| ("traceparent".to_owned(), trace.to_string().into())));
    fields.extend(message.key.as_ref().map(|key| ("key".to_owned(), key.text.as_str().into())));
    value
}
