//! An engine that refuses everything in one way.

use async_trait::async_trait;
use encke_engine::{
    Append, Appended, ChannelSummary, Engine, EngineError, Mark, Mode, Page, PageLimit, ReadFrom, Receipt,
    UserRecord,
};
use encke_proto::{ChannelName, MessageId, Position, Time, UserId};

pub struct Broken(pub EngineError);

#[async_trait]
impl Engine for Broken {
    fn mode(&self) -> Mode {
        Mode::Log
    }

    async fn append(&self, _: Append) -> Result<Appended, EngineError> {
        Err(self.0.clone())
    }

    async fn read(&self, _: &ChannelName, _: ReadFrom, _: PageLimit) -> Result<Page, EngineError> {
        Err(self.0.clone())
    }

    async fn channels(&self, _: Option<&ChannelName>, _: usize) -> Result<Vec<ChannelSummary>, EngineError> {
        Err(self.0.clone())
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
