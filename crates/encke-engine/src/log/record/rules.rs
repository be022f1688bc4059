//! The retention rules as a record: what trimmed a log while it was written must trim it at the replay.

use super::super::codec::{Malformed, Reader, put_bytes, put_number};
use crate::{Retention, RetentionTable};

pub(super) fn encode(table: &RetentionTable, out: &mut Vec<u8>) {
    put_number(out, table.rules.len() as u64);
    for (pattern, retention) in &table.rules {
        put_bytes(out, pattern.as_bytes());
        put_retention(out, retention);
    }
    put_retention(out, &table.public);
    put_retention(out, &table.own);
}

fn put_retention(out: &mut Vec<u8>, retention: &Retention) {
    let numbers = [retention.max_messages, retention.max_bytes, retention.max_age_s];
    numbers.into_iter().for_each(|number| put_number(out, number));
}

pub(super) fn decode(reader: &mut Reader<'_>) -> Result<RetentionTable, Malformed> {
    let mut rules = Vec::new();
    for _ in 0..reader.count()? {
        rules.push((reader.text()?.to_owned(), retention(reader)?));
    }
    Ok(RetentionTable { rules, public: retention(reader)?, own: retention(reader)? })
}

fn retention(reader: &mut Reader<'_>) -> Result<Retention, Malformed> {
    Ok(Retention { max_messages: reader.number()?, max_bytes: reader.number()?, max_age_s: reader.number()? })
}
