//! Takes over the store of the former engine `sqlite`: every log with its offsets and its epoch, so that
//! cursors stay good, users, receipts and idempotency keys.

mod sqlite_store;

use std::{collections::HashMap, path::Path, sync::Arc};

use encke_proto::{MessageId, Offset, Time};

use self::sqlite_store::{OldKey, OldLog, OldMessage, OldReceipt, SqliteStore};
use super::{
    fault::Fault,
    opening::{self, Opened},
    options::LogOptions,
    partial::Partial,
    receipts::{Step, StepKind, add_step},
    record::{Key, KeysImage, LogId, LogImage, MessageRecord, Record, Target},
    stored::Stored,
    volume::Volume,
};
use crate::{EngineError, ReceiptState, RetentionTable, append::body_bytes};

/// How many records are written as one frame, with one sync, at most.
const FRAME_RECORDS: usize = 1000;
/// How many bytes of messages, at most by one message more.
const FRAME_BYTES: u64 = 4 << 20;

/// How much was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Channels and users.
    pub logs: u64,
    /// Messages, and pushes of which only receipts were left.
    pub messages: u64,
    /// Idempotency keys.
    pub keys: u64,
}

/// Makes a store in the directory `to`, which must not exist, of the SQLite store in the directory `from`,
/// which is not changed. No server may have it open.
///
/// # Errors
/// [`EngineError`] when there is no such store, something in it is damaged, or the new one cannot be written.
pub fn import_sqlite(from: &Path, to: &Path) -> Result<ImportReport, EngineError> {
    let failed = |error: std::io::Error| EngineError::Unavailable(format!("{}: {error}", to.display()));
    if to.exists() {
        return Err(EngineError::Unavailable(format!("{}: there is a store already", to.display())));
    }
    let old = SqliteStore::open(from)?;
    let partial = Partial::begin(to)?;
    let volume: Arc<dyn Volume> = partial.volume();
    let opened = opening::open(&volume, RetentionTable::default(), old.epoch()?, LogOptions::default())?;
    let mut import =
        Import { opened, records: Vec::new(), bytes: 0, places: Vec::new(), report: ImportReport::default() };
    import.all(&old)?;
    let report = import.report;
    drop((import, volume));
    partial.finish().map_err(failed)?;
    Ok(report)
}

struct Import {
    opened: Opened,
    records: Vec<Record>,
    /// The bytes of the messages in `records`.
    bytes: u64,
    /// Of what is in `records`: under which number its place is asked for.
    places: Vec<i64>,
    report: ImportReport,
}

/// Where bodies came to lie, by their number, with what a log knows of them.
type Bodies = HashMap<i64, Stored>;

impl Import {
    fn all(&mut self, old: &SqliteStore) -> Result<(), EngineError> {
        let logs = old.logs()?;
        let numbers: HashMap<i64, LogId> = logs.iter().zip(0..).map(|(log, id)| (log.number, id)).collect();
        let target = |&(number, offset): &(i64, Offset)| {
            let log =
                numbers.get(&number).ok_or_else(|| EngineError::Damaged("a message is in no log".into()))?;
            Ok(Target { log: *log, offset })
        };
        let mut bodies = Bodies::new();
        old.messages(|message| {
            let targets = message.places.iter().map(target).collect::<Result<Vec<_>, EngineError>>()?;
            self.message(message, targets, &mut bodies)
        })?;
        self.flush(&mut bodies)?;
        for keys in old.keys()?.chunks(FRAME_RECORDS) {
            let record = |key: &OldKey| {
                let targets = key.places.iter().map(target).collect::<Result<Vec<_>, EngineError>>()?;
                Ok(keyed(
                    Key { text: key.text.clone(), stamp: key.stamp, request: None },
                    key.id.clone(),
                    targets,
                ))
            };
            self.keys(keys.iter().map(record).collect::<Result<Vec<_>, EngineError>>()?)?;
        }
        let (mut places, mut receipts) = (old.places()?, old.receipts()?);
        for (log, id) in logs.into_iter().zip(0..) {
            let messages = places.remove(&log.number).unwrap_or_default();
            let receipts = receipts.remove(&log.number).unwrap_or_default();
            self.records.push(Record::Log(Box::new(image(log, id, &messages, &receipts, &bodies)?)));
            self.report.logs += 1;
            if self.records.len() >= FRAME_RECORDS {
                self.flush(&mut bodies)?;
            }
        }
        self.flush(&mut bodies)?;
        Ok(self.opened.state.check()?)
    }

    fn message(
        &mut self,
        message: OldMessage,
        targets: Vec<Target>,
        bodies: &mut Bodies,
    ) -> Result<(), EngineError> {
        let body_bytes = message.body.as_ref().map_or(0, body_bytes);
        let record = MessageRecord {
            id: message.id,
            key: None,
            time: message.time,
            expires: message.expires,
            from: message.from,
            until: message.until,
            body_bytes: u32::try_from(body_bytes).unwrap_or(u32::MAX),
            body: message.body,
            targets,
            trace: None,
        };
        self.records.push(moved(record));
        self.places.push(message.number);
        self.report.messages += 1;
        self.bytes += body_bytes;
        if self.records.len() >= FRAME_RECORDS || self.bytes >= FRAME_BYTES {
            self.flush(bodies)
        } else {
            Ok(())
        }
    }

    /// Writes the records of keys as one frame. Where each came to lie goes into the next.
    fn keys(&mut self, messages: Vec<MessageRecord>) -> Result<(), EngineError> {
        let hash = |key: &Key| (self.opened.state.keys.hash(&key.text), key.stamp);
        let known: Vec<(u128, Time)> =
            messages.iter().filter_map(|message| message.key.as_ref().map(hash)).collect();
        self.report.keys += known.len() as u64;
        let written = self.opened.write(messages.into_iter().map(moved).collect())?;
        let now = known.iter().map(|(_, stamp)| *stamp).max().unwrap_or(Time(0));
        let keys = known.into_iter().zip(written);
        let keys = keys.map(|((hash, stamp), (place, length))| (hash, place, length, stamp)).collect();
        self.records.push(Record::Keys(KeysImage { now, keys }));
        Ok(())
    }

    /// Writes what is gathered, and keeps where bodies came to lie.
    fn flush(&mut self, bodies: &mut Bodies) -> Result<(), EngineError> {
        let records = std::mem::take(&mut self.records);
        self.bytes = 0;
        let stored = |record: &Record| match record {
            Record::Moved { message, .. } => {
                Some((message.targets.len() > 1, message.body_bytes, message.time, message.expires))
            }
            _ => None,
        };
        let known: Vec<_> = records.iter().filter_map(stored).collect();
        let written = self.opened.write(records)?;
        for ((number, known), (place, length)) in self.places.drain(..).zip(known).zip(written) {
            let (shared, body_bytes, time, expires) = known;
            bodies.insert(number, Stored::new(place, length, shared, body_bytes, time, expires));
        }
        Ok(())
    }
}

/// A key has a record of its own: its message may be gone.
fn keyed(key: Key, id: MessageId, targets: Vec<Target>) -> MessageRecord {
    MessageRecord {
        id,
        key: Some(key),
        time: Time(0),
        expires: None,
        from: None,
        until: None,
        body_bytes: 0,
        body: None,
        targets,
        trace: None,
    }
}

/// A message that lies in its logs already, whose images come later.
fn moved(message: MessageRecord) -> Record {
    let mut payload = Vec::new();
    Record::Message(message.clone()).encode(&mut payload);
    Record::Moved { message, payload }
}

fn image(
    log: OldLog,
    id: LogId,
    messages: &[(Offset, i64)],
    receipts: &[OldReceipt],
    bodies: &Bodies,
) -> Result<LogImage, Fault> {
    let stored = |(offset, body): &(Offset, i64)| {
        let missing = || Fault::damaged(format!("{}: the message {offset} has no body", log.name));
        bodies.get(body).copied().ok_or_else(missing)
    };
    let stored = messages.iter().map(stored).collect::<Result<Vec<_>, Fault>>()?;
    if messages.last().is_some_and(|(offset, _)| *offset != log.head) {
        return Err(Fault::damaged(format!("{}: the newest message is missing", log.name)));
    }
    let mut steps = Vec::new();
    for receipt in receipts {
        let kinds: &[StepKind] = match receipt.state {
            ReceiptState::Queued => &[],
            ReceiptState::Delivered => &[StepKind::Delivered],
            ReceiptState::Shown => &[StepKind::Delivered, StepKind::Shown],
            // The former store knew no cancellation.
            ReceiptState::Expired | ReceiptState::Cancelled => &[StepKind::Trimmed],
        };
        kinds.iter().for_each(|kind| add_step(&mut steps, Step::new(*kind, receipt.offset, receipt.at)));
    }
    Ok(LogImage {
        log: id,
        name: log.name,
        head: log.head,
        first_seen: log.first_seen,
        last_seen: log.last_seen,
        handed: log.handed,
        shown: log.shown,
        receipts_until: receipts.iter().map(|receipt| receipt.until).max().unwrap_or_default(),
        steps,
        messages: stored,
    })
}
