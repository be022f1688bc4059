//! The configuration of the three streams: created when missing, refused when an existing one lacks what the
//! engine relies on.

use serde_json::{Value, json};

use super::{fault::Fault, link::Link, names::Names, options::NatsOptions};
use crate::RetentionTable;

/// How many messages of a subject the stream of the logs holds beyond what the rules of retention keep: those
/// on their way out, and notes of where a log begins.
const SLACK_MESSAGES: u64 = 256;

/// What the streams are made of.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    log: Value,
    book: Value,
    soft: Value,
    /// The most messages that any rule keeps of a log. What is over that, the stream takes out by itself.
    pub(super) most_kept: u64,
}

impl Streams {
    pub(super) fn new(names: &Names, options: &NatsOptions, retention: &RetentionTable) -> Self {
        let rules = retention.rules.iter().map(|(_, rule)| rule).chain([&retention.public, &retention.own]);
        let most_kept = rules.map(|rule| rule.max_messages).max().unwrap_or(1);
        let (from, to) = names.republish();
        let base = |name: &str, subjects: Vec<String>, storage: &str| {
            json!({
                "name": name,
                "subjects": subjects,
                "retention": "limits",
                "discard": "old",
                "storage": storage,
                "num_replicas": options.replicas,
                "max_consumers": -1,
                "max_msgs": -1,
                "max_bytes": -1,
                "max_age": 0,
                "max_msgs_per_subject": 1,
                "allow_direct": true,
                "allow_atomic": true,
                "allow_msg_ttl": true,
            })
        };
        let mut log = base(&names.log, names.log_subjects(), "file");
        log["max_msgs_per_subject"] = json!(per_subject(most_kept));
        log["republish"] = json!({ "src": from, "dest": to });
        let book = base(&names.book, names.book_subjects(), "file");
        // One that was on this node a moment ago is here again soon after the memory is lost.
        let soft = base(&names.soft, names.soft_subjects(), "memory");
        Self { log, book, soft, most_kept }
    }

    /// Makes what is not there yet, and says whether anything was not.
    pub(super) async fn prepare(&self, link: &Link) -> Result<bool, Fault> {
        let mut made = false;
        for config in [&self.log, &self.book, &self.soft] {
            let name = config["name"].as_str().unwrap_or_default();
            match link.info(name, None).await {
                Ok(info) => {
                    check(name, config, &info.config)?;
                    // Another node may have rules that keep more. What is kept too long does no harm, so the
                    // bound only rises.
                    let wanted = config["max_msgs_per_subject"].as_i64().unwrap_or(1);
                    let mut changed = info.config.clone();
                    if info.most_of_a_subject > 0 && info.most_of_a_subject < wanted {
                        changed["max_msgs_per_subject"] = json!(wanted);
                    }
                    if !has_all_subjects(config, &info.config) {
                        // An older version needed fewer.
                        changed["subjects"] = config["subjects"].clone();
                    }
                    if changed != info.config {
                        link.update(&changed).await?;
                    }
                }
                Err(Fault::NoStream) => {
                    link.create(config).await?;
                    made = true;
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(made)
    }
}

fn per_subject(most_kept: u64) -> i64 {
    i64::try_from(most_kept.saturating_add(SLACK_MESSAGES)).unwrap_or(i64::MAX)
}

fn subjects(config: &Value) -> Vec<&str> {
    config["subjects"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn has_all_subjects(wanted: &Value, found: &Value) -> bool {
    let found = subjects(found);
    subjects(wanted).iter().all(|subject| found.contains(subject))
}

/// A stream of that name that lacks what the engine's promises are made of is not ours.
fn check(name: &str, wanted: &Value, found: &Value) -> Result<(), Fault> {
    for setting in ["allow_atomic", "allow_msg_ttl", "allow_direct", "republish", "storage"] {
        let same = match (&wanted[setting], &found[setting]) {
            (Value::Null, _) => true,
            (Value::Object(wanted), found) => wanted.iter().all(|(key, value)| found[key] == *value),
            (wanted, found) => wanted == found,
        };
        if !same {
            return Err(Fault::Refused(format!("the stream {name} has another {setting} than Encke needs")));
        }
    }
    let known = subjects(wanted);
    if let Some(foreign) = subjects(found).into_iter().find(|subject| !known.contains(subject)) {
        return Err(Fault::Refused(format!("the stream {name} has subjects of others: {foreign}")));
    }
    Ok(())
}
