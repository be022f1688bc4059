//! Hooks: the application's own HTTP endpoint, which is asked what clients may do. Each request is signed as
//! Standard Webhooks have it (ADR 0029). Where it is asked is not known here.

mod answer_cache;
mod circuit_breaker;
mod decisions;
mod http_client;
mod report;
mod scope;

pub use answer_cache::AnswerCache;
pub use decisions::{AskError, Connected, Connecting, Decisions};
pub use http_client::{CallError, ClientError, EndpointClient, HookClient};
pub use report::{
    BreakerState, DecisionsReport, DeliveryReport, DeliveryStatus, EndpointFailure, HooksReport,
    WebhooksReport,
};
pub use scope::takes_part_in;
