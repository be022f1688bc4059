//! Why a server could not be put together.

use std::io;

use encke_engine::EngineError;

use crate::{
    app::AppError,
    config::ListenAddress,
    engines::{AddressError, OpenError},
    key_sources::FetchError,
    listeners::tls_config::TlsError,
    random::NoRandomness,
    traces::ExportError,
};

/// Why the server could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The address cannot be listened at.
    #[error("cannot listen at {0}: {1}")]
    Listen(ListenAddress, io::Error),
    /// The address for operators cannot be listened at.
    #[error("cannot listen at {0} (`admin_listen`): {1}")]
    ListenAdmin(ListenAddress, io::Error),
    /// The store cannot be opened.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The address of the engine is not one.
    #[error("`engine`: {0}")]
    EngineAddress(AddressError),
    /// The data directory has a store that is to be taken over first.
    #[error("`data`: {0}")]
    OldStore(OpenError),
    /// There can be no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The access log cannot be written.
    #[error("`access_log`: {0}")]
    AccessLog(io::Error),
    /// The keys are not there, one cannot be used, or there can be no client for hooks.
    #[error(transparent)]
    App(#[from] AppError),
    /// There can be no client for the collector of traces.
    #[error("`traces`: {0}")]
    Traces(#[from] ExportError),
    /// Nothing can be fetched.
    #[error("`auth.jwks_url`: {0}")]
    Jwks(#[from] FetchError),
    /// The operating system has no randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The operating system gives no poll or no thread.
    #[error("the operating system refuses: {0}")]
    System(#[from] io::Error),
}
