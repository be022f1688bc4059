//! Where a client gets a fresh token when its own ends, which only the application can tell.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::Error;

/// How long the application may take to get a token.
const FRESH_WITHIN: Duration = Duration::from_secs(30);

/// What went wrong in the application.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Fresh = Pin<Box<dyn Future<Output = Result<String, Failure>> + Send>>;

/// What the application gives to get fresh tokens with.
#[derive(Clone)]
pub(crate) struct TokenSource(Arc<dyn Fn() -> Fresh + Send + Sync>);

impl TokenSource {
    pub(crate) fn new<F, T>(source: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, Failure>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(source())))
    }

    /// A token.
    pub(crate) async fn fresh(&self) -> Result<String, Error> {
        match timeout(FRESH_WITHIN, (self.0)()).await {
            Ok(token) => token.map_err(Error::NoToken),
            Err(_) => Err(Error::NoToken("the application gave none in time".into())),
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource")
    }
}
