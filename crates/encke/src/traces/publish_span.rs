//! The spans of a request that brings a message: the request, and the append in it.

use std::{fmt, sync::Arc};

use encke_engine::Appended;
use encke_proto::TraceContext;

use super::{Kind, Span, Tracer, Value, now_ns, tracer::fresh_span_id};

/// The steps in which the server's own times are told, in nanoseconds.
const TIME_STEP_NS: u64 = 1_000_000;

/// A request that brings a message, under way. Dropped, it is not recorded.
#[derive(Debug)]
pub struct PublishSpan {
    tracer: Arc<Tracer>,
    name: &'static str,
    context: TraceContext,
    parent: Option<TraceContext>,
    start_ns: u64,
    append_ns: u64,
}

impl PublishSpan {
    pub(super) fn begun(
        tracer: Arc<Tracer>,
        name: &'static str,
        context: TraceContext,
        parent: Option<TraceContext>,
    ) -> Self {
        let now = now_ns();
        // A message's time is in whole milliseconds, and what is done with it is not to begin before this.
        let start_ns = now / TIME_STEP_NS * TIME_STEP_NS;
        Self { tracer, name, context, parent, start_ns, append_ns: now }
    }

    /// The append begins. Gives what the message is to carry: the parent of all that is done with it.
    #[must_use]
    pub fn appends(&mut self) -> Box<TraceContext> {
        self.append_ns = now_ns();
        Box::new(self.context)
    }

    /// The request is over, with what was appended or why nothing was. Of one that is in no trace nothing is
    /// recorded.
    pub fn end(span: Option<Box<Self>>, appended: Result<&Appended, &dyn fmt::Display>) {
        let Some(span) = span else { return };
        let Self { tracer, name, context, parent, start_ns, append_ns } = *span;
        if !context.is_sampled {
            return;
        }
        let (mut attributes, mut error) = (vec![("messaging.system", Value::Text("encke".into()))], None);
        match appended {
            Ok(appended) => attributes.extend([
                ("messaging.message.id", Value::Text(appended.id.to_string().into())),
                ("encke.targets", Value::Number(appended.positions.len() as u64)),
                ("encke.repeated", Value::Flag(appended.repeated)),
            ]),
            Err(why) => error = Some(why.to_string()),
        }
        let end_ns = now_ns().max(append_ns);
        let TraceContext { trace_id, span_id, .. } = context;
        if let Some(append) = fresh_span_id() {
            tracer.record(Span {
                name: "append",
                kind: Kind::Internal,
                trace_id,
                span_id: append,
                parent: Some(span_id),
                start_ns: append_ns,
                end_ns,
                attributes: Vec::new(),
                error: error.clone(),
            });
        }
        let parent = parent.map(|parent| parent.span_id);
        let kind = Kind::Server;
        tracer.record(Span { name, kind, trace_id, span_id, parent, start_ns, end_ns, attributes, error });
    }
}
