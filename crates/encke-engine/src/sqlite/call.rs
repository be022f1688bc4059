//! A call to a database thread: the function that is run there and the channel for its answer. Which thread
//! runs it, and in which transaction, is in `writer.rs` and `readers.rs`.

use tokio::sync::oneshot;

use super::{fault::Fault, queue::Weigh};
use crate::EngineError;

/// Something to be done in a thread that has an `Access` to the database, with an answer for the caller.
pub(super) trait Call<Access>: Send {
    fn bytes(&self) -> usize;
    fn alone(&self) -> bool;
    /// Does it, and keeps what came out of it. May be called again after what it did was undone.
    fn run(&mut self, access: &mut Access) -> Result<(), Fault>;
    /// Answers: what came out, or why it does not count.
    fn answer(self: Box<Self>, failed: Option<EngineError>);
}

impl<Access> Weigh for Box<dyn Call<Access>> {
    fn bytes(&self) -> usize {
        (**self).bytes()
    }

    fn alone(&self) -> bool {
        (**self).alone()
    }
}

/// A call that is a function and the place where its answer goes.
pub(super) struct Asked<Act, T> {
    bytes: usize,
    alone: bool,
    act: Act,
    outcome: Option<Result<T, EngineError>>,
    answer: oneshot::Sender<Result<T, EngineError>>,
}

impl<Act, T> Asked<Act, T> {
    pub(super) fn new(bytes: usize, alone: bool, act: Act) -> (Self, Answer<T>) {
        let (answer, awaited) = oneshot::channel();
        (Self { bytes, alone, act, outcome: None, answer }, Answer(awaited))
    }
}

impl<Access, Act, T> Call<Access> for Asked<Act, T>
where
    Act: FnMut(&mut Access) -> Result<T, Fault> + Send,
    T: Send,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn alone(&self) -> bool {
        self.alone
    }

    fn run(&mut self, access: &mut Access) -> Result<(), Fault> {
        match (self.act)(access) {
            Ok(value) => {
                self.outcome = Some(Ok(value));
                Ok(())
            }
            Err(fault) => {
                self.outcome = Some(Err(fault.clone().into()));
                Err(fault)
            }
        }
    }

    fn answer(self: Box<Self>, failed: Option<EngineError>) {
        let Self { outcome, answer, .. } = *self;
        let nothing = || Err(EngineError::Unavailable("it was not done".into()));
        let outcome = failed.map_or_else(|| outcome.unwrap_or_else(nothing), Err);
        // The caller may have gone away; what was done stays done.
        let _ = answer.send(outcome);
    }
}

/// Where the answer to a call arrives.
pub(super) struct Answer<T>(oneshot::Receiver<Result<T, EngineError>>);

impl<T> Answer<T> {
    pub(super) async fn get(self) -> Result<T, EngineError> {
        self.0
            .await
            .unwrap_or_else(|_| Err(EngineError::Unavailable("the engine ended before it answered".into())))
    }
}
