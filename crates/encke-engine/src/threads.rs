//! Starts the threads of an embedded engine and waits for their end, from async and from blocking code.

use std::{
    sync::{Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use tokio::sync::watch;

use crate::EngineError;

/// Threads of the engine, and a way to wait until they have ended.
pub(crate) struct Threads {
    handles: Mutex<Vec<JoinHandle<()>>>,
    /// Each thread holds a clone of the sender; it is dropped with the thread's closure.
    running: Option<watch::Sender<()>>,
    ended: watch::Receiver<()>,
}

impl Default for Threads {
    fn default() -> Self {
        let (running, ended) = watch::channel(());
        Self { handles: Mutex::new(Vec::new()), running: Some(running), ended }
    }
}

impl Threads {
    pub(crate) fn start(
        &mut self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), EngineError> {
        let running = self.running.clone();
        let body = move || {
            work();
            drop(running);
        };
        let handle = thread::Builder::new().name(name.into()).spawn(body);
        let handle = handle
            .map_err(|error| EngineError::Unavailable(format!("no thread could be started: {error}")))?;
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        Ok(())
    }

    /// No thread is started after this.
    pub(crate) fn complete(mut self) -> Self {
        self.running = None;
        self
    }

    /// Waits until all threads have ended.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        // Nothing is ever sent: this is over when all senders are gone.
        while ended.changed().await.is_ok() {}
    }

    /// The same for callers that are not asynchronous.
    pub(crate) fn join(&self) {
        let handles = std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner));
        for handle in handles {
            // The engine may be dropped by what its own feed holds; no thread can wait for itself.
            if handle.thread().id() != thread::current().id() {
                // A panic was already told where it happened.
                let _ = handle.join();
            }
        }
    }
}
