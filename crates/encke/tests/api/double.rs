//! An engine that refuses everything in one way.

use async_trait::async_trait;
use encke_engine::{
    Append, Appended, ChannelSummary, Engine, EngineError, Mark, Mode, PUSH_LOG, Page, PageLimit, ReadFrom,
    Receipt, UserRecord,
};
use encke_proto::{ChannelName, Epoch, Lineage, MessageId, Position, Time, UserId};

pub struct Broken(pub EngineError);

/// What a server reads at its start of an engine that refuses all else: nothing was ever revoked.
pub fn read_at_start(channel: &ChannelName, error: &EngineError) -> Result<Page, EngineError> {
    let none = Page {
        epoch: Epoch(1),
        lineage: Lineage::default(),
        tail: 1,
        head: 0,
        entries: Vec::new(),
        closed: false,
    };
    let is_read_later = *channel == ChannelName::internal(PUSH_LOG);
    if channel.is_internal() && !is_read_later { Ok(none) } else { Err(error.clone()) }
}

/// The same of the list of channels.
pub fn listed_at_start(
    after: Option<&ChannelName>,
    error: &EngineError,
) -> Result<Vec<ChannelSummary>, EngineError> {
    let is_internal = after.is_some_and(|after| *after < ChannelName::last_internal());
    if is_internal { Ok(Vec::new()) } else { Err(error.clone()) }
}

#[async_trait]
impl Engine for Broken {
    fn mode(&self) -> Mode {
        Mode::Log
    }

    async fn append(&self, _: Append) -> Result<Appended, EngineError> {
        Err(self.0.clone())
    }

    async fn read(&self, channel: &ChannelName, _: ReadFrom, _: PageLimit) -> Result<Page, EngineError> {
        read_at_start(channel, &self.0)
    }

    async fn channels(
        &self,
        after: Option<&ChannelName>,
        _: usize,
    ) -> Result<Vec<ChannelSummary>, EngineError> {
        listed_at_start(after, &self.0)
    }

    async fn seen(&self, _: &UserId, _: Time) -> Result<(), EngineError> {
        Err(self.0.clone())
    }

    async fn user(&self, _: &UserId) -> Result<Option<UserRecord>, EngineError> {
        Err(self.0.clone())
    }

    async fn users(&self, _: Option<&UserId>, _: usize) -> Result<Vec<UserRecord>, EngineError> {
        Err(self.0.clone())
    }

    async fn handed(&self, _: &UserId) -> Result<Position, EngineError> {
        Err(self.0.clone())
    }

    async fn mark(&self, _: Vec<Mark>) -> Result<(), EngineError> {
        Err(self.0.clone())
    }

    async fn receipts(
        &self,
        _: &MessageId,
        _: Option<&UserId>,
        _: usize,
        _: Time,
    ) -> Result<Option<Vec<Receipt>>, EngineError> {
        Err(self.0.clone())
    }

    async fn delete(&self, _: &ChannelName) -> Result<bool, EngineError> {
        Err(self.0.clone())
    }

    async fn cancel(&self, _: &MessageId, _: Time) -> Result<Option<usize>, EngineError> {
        Err(self.0.clone())
    }

    async fn sweep(&self, _: Time) -> Result<(), EngineError> {
        Err(self.0.clone())
    }

    async fn ready(&self) -> Result<(), EngineError> {
        Err(self.0.clone())
    }

    async fn stop(&self) {}
}
