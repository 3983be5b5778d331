//! The place of a span in its trace.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

use super::context::CallerContext;

/// The place of a span in its trace.
#[derive(Debug, Clone)]
pub(super) struct SpanPlace {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    /// The span above it; [`SpanId::INVALID`] if there is none.
    pub(super) parent: SpanId,
    /// True if the span above it is the caller's.
    pub(super) is_callers: bool,
    pub(super) is_sampled: bool,
    pub(super) state: TraceState,
}

impl SpanPlace {
    /// The span of a request; `samples` decides if it is sampled.
    pub(super) fn of_request(
        caller: Option<CallerContext>,
        samples: impl FnOnce(TraceId, Option<&CallerContext>) -> bool,
    ) -> Self {
        let ids = RandomIdGenerator::default();
        let trace = caller.as_ref().map_or_else(|| ids.new_trace_id(), |caller| caller.trace);
        let is_sampled = samples(trace, caller.as_ref());
        let span = ids.new_span_id();
        match caller {
            Some(CallerContext { span: parent, state, .. }) => {
                Self { trace, span, parent, is_callers: true, is_sampled, state }
            }
            None => {
                Self { trace, span, parent: SpanId::INVALID, is_callers: false, is_sampled, state: TraceState::NONE }
            }
        }
    }

    /// A span below this one.
    pub(super) fn child(&self) -> Self {
        let span = RandomIdGenerator::default().new_span_id();
        Self { span, parent: self.span, is_callers: false, ..self.clone() }
    }

    /// The context that is exported.
    pub(super) fn context(&self) -> SpanContext {
        let flags = TraceFlags::default().with_sampled(self.is_sampled);
        SpanContext::new(self.trace, self.span, flags, false, self.state.clone())
    }
}
