//! An engine that takes some pushes, and refuses all else.

use async_trait::async_trait;
use encke_engine::{
    Append, Appended, ChannelSummary, Engine, EngineError, Mark, Mode, Page, PageLimit, ReadFrom, Receipt,
    Targets, UserRecord,
};
use encke_proto::{ChannelName, Epoch, MessageId, Position, Time, UserId};

use crate::double::{listed_at_start, read_at_start};

/// An engine that takes some pushes, and refuses all else in one way.
pub struct Picky {
    pub error: EngineError,
    pub takes: fn(&Append) -> bool,
}

#[async_trait]
impl Engine for Picky {
    fn mode(&self) -> Mode {
        Mode::Log
    }

    async fn append(&self, append: Append) -> Result<Appended, EngineError> {
        // As from a store: the answer comes later.
        tokio::task::yield_now().await;
        if !(self.takes)(&append) {
            return Err(self.error.clone());
        }
        let Targets::Users(users) = &append.targets else { return Err(self.error.clone()) };
        let position = Position { epoch: Epoch(1), offset: 1 };
        let positions = users.iter().map(|user| (user.channel(), position)).collect();
        Ok(Appended { id: append.id, positions, repeated: false })
    }

    async fn read(&self, channel: &ChannelName, _: ReadFrom, _: PageLimit) -> Result<Page, EngineError> {
        read_at_start(channel, &self.error)
    }

    async fn channels(
        &self,
        after: Option<&ChannelName>,
        _: usize,
    ) -> Result<Vec<ChannelSummary>, EngineError> {
        listed_at_start(after, &self.error)
    }

    async fn seen(&self, _: &UserId, _: Time) -> Result<(), EngineError> {
        Err(self.error.clone())
    }

    async fn user(&self, _: &UserId) -> Result<Option<UserRecord>, EngineError> {
        Err(self.error.clone())
    }

    async fn users(&self, _: Option<&UserId>, _: usize) -> Result<Vec<UserRecord>, EngineError> {
        Err(self.error.clone())
    }

    async fn handed(&self, _: &UserId) -> Result<Position, EngineError> {
        Err(self.error.clone())
    }

    async fn mark(&self, _: Vec<Mark>) -> Result<(), EngineError> {
        Err(self.error.clone())
    }

    async fn receipts(
        &self,
        _: &MessageId,
        _: Option<&UserId>,
        _: usize,
        _: Time,
    ) -> Result<Option<Vec<Receipt>>, EngineError> {
        Err(self.error.clone())
    }

    async fn sweep(&self, _: Time) -> Result<(), EngineError> {
        Err(self.error.clone())
    }

    async fn ready(&self) -> Result<(), EngineError> {
        Err(self.error.clone())
    }

    async fn stop(&self) {}
}
