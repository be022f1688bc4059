//! Reads a page of a log, after the subscription to its channel is confirmed, so that no message falls
//! between the read and the feed.

use std::sync::Arc;

use encke_proto::{ChannelName, Entry, Lineage, Offset, Position};
use redis::Value;

use super::{RedisEngine, bounded, names::partition_of, reply::Fields, row, script};
use crate::{EngineError, Page, PageLimit, ReadFrom};

impl RedisEngine {
    pub(super) async fn read_page(
        &self,
        channel: &ChannelName,
        from: ReadFrom,
        limit: PageLimit,
    ) -> Result<Page, EngineError> {
        self.server_map.check()?;
        self.watching.confirmed_channel(channel).await?;
        let (mode, offset) = match from {
            ReadFrom::After(offset) => ("a", offset),
            ReadFrom::Before(offset) => ("b", offset),
            ReadFrom::Head => ("h", 0),
        };
        let partition = partition_of(channel.as_str());
        let mut command = self.scripted(&script::READ, partition, &[self.names.stream(channel)]);
        command
            .arg(channel.as_str())
            .arg(mode)
            .arg(bounded(offset))
            .arg(bounded(limit.messages as u64))
            .arg(bounded(limit.bytes as u64));
        let page = read_page(channel, from, self.server_map.call(partition, command).await?)?;
        // The place that nodes are told: one further if the log is closed.
        let told = Position { epoch: page.epoch, offset: page.head + u64::from(page.closed) };
        self.watching.saw(channel, told);
        Ok(page)
    }
}

fn read_page(channel: &ChannelName, from: ReadFrom, value: Value) -> Result<Page, EngineError> {
    let mut fields = Fields::of(value)?;
    let epoch = fields.epoch()?;
    let mut forked = fields.list()?;
    let mut forks = Vec::new();
    while !forked.is_empty() {
        forks.push(Position { epoch: forked.epoch()?, offset: forked.number()? });
    }
    let (tail, head) = (fields.number()?, fields.number()?);
    let mut texts = fields.list()?;
    let mut messages = Vec::new();
    while !texts.is_empty() {
        messages.push(texts.bytes()?);
    }
    let closed = fields.number()? == 1;
    let first: Offset = match from {
        ReadFrom::After(offset) => offset.saturating_add(1).max(tail),
        // It was asked for backwards, so the last one is known.
        _ => before(from, head).saturating_sub(messages.len() as u64),
    };
    let entries = messages.into_iter().enumerate().map(|(at, text)| {
        let message = row::read(&text, channel, Position { epoch, offset: first + at as u64 })?;
        Ok(Arc::new(Entry::new(message)))
    });
    Ok(Page {
        epoch,
        lineage: Lineage::new(forks),
        tail,
        head,
        closed,
        entries: entries.collect::<Result<_, EngineError>>()?,
    })
}

/// The offset behind the last one that was asked for.
fn before(from: ReadFrom, head: Offset) -> Offset {
    match from {
        ReadFrom::Before(offset) => offset.min(head.saturating_add(1)),
        _ => head.saturating_add(1),
    }
}
