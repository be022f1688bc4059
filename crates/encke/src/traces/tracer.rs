//! Decides which messages are recorded, and takes their spans.

use std::sync::Arc;

use encke_proto::TraceContext;
use tokio::sync::{mpsc, watch};

use super::{ExportError, Exporter, PublishSpan, Span, parent};
use crate::{config::Traces, metrics::Metrics, random};

/// The most spans that wait to be sent. What comes beyond is dropped, and counted.
const QUEUE_MAX: usize = 8_192;

/// Records spans. To record one takes no longer whether or not the collector is there.
#[derive(Debug)]
pub struct Tracer {
    spans: mpsc::Sender<Span>,
    /// Tells the exporter that no more spans come.
    stop: watch::Sender<bool>,
    /// A trace that begins here is recorded if its random number of 32 bits is below this.
    sampled_below: u64,
}

impl Tracer {
    /// The tracer of this configuration and what sends its spans, if there is a collector.
    ///
    /// # Errors
    /// [`ExportError`], when there can be no client for it.
    pub fn of(config: &Traces, node: &str) -> Result<Option<(Arc<Self>, Exporter)>, ExportError> {
        let Some(endpoint) = &config.endpoint else { return Ok(None) };
        let (spans, queue) = mpsc::channel(QUEUE_MAX);
        let (stop, stopping) = watch::channel(false);
        let exporter = Exporter::new(endpoint, config, node, queue, stopping)?;
        // A ratio is from 0 to 1.
        let sampled_below = (config.ratio * 2f64.powi(32)) as u64;
        Ok(Some((Arc::new(Self { spans, stop, sampled_below }), exporter)))
    }

    /// Waits until the exporter has sent what was recorded, for two seconds at most. What is recorded later
    /// is dropped.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        // Its end of the queue goes with it.
        self.spans.closed().await;
    }

    /// Begins the span of a request that brings a message, if the message belongs to a trace: one that the
    /// request names, or one that begins here.
    #[must_use]
    pub fn begin(self: &Arc<Self>, name: &'static str) -> Option<Box<PublishSpan>> {
        let parent = parent::current();
        let is_sampled = match parent {
            Some(parent) => parent.is_sampled,
            None => {
                let bits = random::pooled_bits().ok()? as u32;
                if u64::from(bits) >= self.sampled_below {
                    return None;
                }
                true
            }
        };
        let trace_id = match parent {
            Some(parent) => parent.trace_id,
            None => random::pooled_bits().ok()?.to_be_bytes(),
        };
        let context = match parent {
            // No span of this server is recorded in it, so the message goes on from where it came from.
            Some(parent) if !is_sampled => parent,
            _ => TraceContext { trace_id, span_id: fresh_span_id()?, is_sampled },
        };
        Some(Box::new(PublishSpan::begun(Arc::clone(self), name, context, parent)))
    }

    /// Takes a span. It is dropped when too many wait.
    pub fn record(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            Metrics::global().trace_spans.of("dropped").inc();
        }
    }
}

/// The id of a span that begins; none without randomness.
pub fn fresh_span_id() -> Option<[u8; 8]> {
    // Zero is no id (W3C Trace Context, section 3.2.2.4).
    let bits = random::pooled_bits().ok()? as u64 | 1;
    Some(bits.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(ratio: f64) -> (Arc<Tracer>, Exporter) {
        let endpoint = Some("http://127.0.0.1:1/v1/traces".to_owned());
        let config = Traces { endpoint, ratio, ..Traces::default() };
        Tracer::of(&config, "node-1").unwrap().unwrap()
    }

    #[test]
    fn nothing_is_recorded_without_a_collector() {
        assert!(Tracer::of(&Traces::default(), "node-1").unwrap().is_none());
    }

    #[test]
    fn the_ratio_holds_for_traces_that_begin_here() {
        let begun = |ratio: f64| {
            let (tracer, _exporter) = tracer(ratio);
            (0..1_000).filter(|_| tracer.begin("push").is_some()).count()
        };
        assert_eq!((begun(0.0), begun(1.0)), (0, 1_000));
        let half = begun(0.5);
        assert!((350..650).contains(&half), "{half}");
    }

    #[tokio::test]
    async fn the_parent_decides_for_its_own_trace() {
        let (tracer, _exporter) = tracer(0.0);
        let parent: TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
        let begun = parent::within(parent, async { tracer.begin("push") }).await.unwrap().appends();
        assert!(begun.trace_id == parent.trace_id && begun.span_id != parent.span_id && begun.is_sampled);
        let unsampled = TraceContext { is_sampled: false, ..parent };
        let mut begun = parent::within(unsampled, async { tracer.begin("push") }).await.unwrap();
        assert_eq!(*begun.appends(), unsampled, "it is handed on as it came");
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let (tracer, _exporter) = tracer(1.0);
        let dropped = || Metrics::global().trace_spans.of("dropped").get();
        let before = dropped();
        // Each of them is a push and an append.
        (0..QUEUE_MAX).for_each(|_| PublishSpan::end(tracer.begin("push"), Err(&"no disk")));
        assert_eq!(dropped() - before, QUEUE_MAX as u64);
    }
}
