//! Traces: spans of the way of a message from the request that brings it to the client's receipt, and the
//! collector that they are sent to (ADR 0031). Which trace a message belongs to stands in the message
//! ([`encke_proto::TraceContext`]). Nothing here waits for the collector, and nothing is recorded unless one
//! is configured.

mod export;
mod otlp;
mod parent;
mod publish_span;
mod span;
mod tracer;

pub use export::{ExportError, Exporter};
pub use parent::{current, traceparent, within};
pub use publish_span::PublishSpan;
pub use span::{Kind, Span, Value, now_ns};
pub use tracer::{Tracer, fresh_span_id};
