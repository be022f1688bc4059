//! Reads of files that may block for as long as they like, as on a network that is gone: each in a thread of
//! its own, so that no task and no stop of the server waits for them.

use std::{io, sync::Arc, thread, time::Duration};

use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

/// How long a read may take until it is given up.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Runs one read at a time. One that gives no answer keeps its thread, and those after it are given up too
/// until it has ended; so there is at most one such thread. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct FileThread(Arc<Semaphore>);

impl FileThread {
    /// Nothing is read yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// What `read` gives.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] after [`ANSWER_MAX`]; as the operating system says when it has no thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let answer = async {
            let permit = Arc::clone(&self.0).acquire_owned().await.map_err(io::Error::other)?;
            let (sender, answer) = oneshot::channel();
            // Not a thread of tokio's: the end of its runtime waits for those.
            thread::Builder::new().name("files".to_owned()).spawn(move || {
                let answer = read();
                // The next read may begin once this one is answered.
                drop(permit);
                // The receiver is gone when it has waited too long.
                let _ = sender.send(answer);
            })?;
            answer.await.map_err(io::Error::other)
        };
        let no_answer = |_| io::Error::new(io::ErrorKind::TimedOut, "the files cannot be read: no answer");
        timeout(ANSWER_MAX, answer).await.map_err(no_answer)?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_gives_no_answer_is_given_up_and_keeps_one_thread() {
        let files = FileThread::new();
        assert_eq!(files.run(|| 7).await.unwrap(), 7);
        let (release, blocks) = mpsc::channel::<()>();
        tokio::time::pause();
        let error = files.run(move || blocks.recv().is_ok()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let (ran, has_run) = mpsc::channel();
        let error = files.run(move || ran.send(())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(has_run.recv().is_err(), "no second one was begun");
        tokio::time::resume();
        release.send(()).unwrap();
        assert_eq!(files.run(|| 8).await.unwrap(), 8, "it goes on when the first has ended");
    }
}
