//! The trace of a request that runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use opentelemetry::trace::TraceId;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::StageReport;

use super::context::CallerContext;
use super::ended::{Clock, EndedRequest, RequestKind, Times, first_runs};
use super::place::SpanPlace;
use super::tracer::Traces;
use crate::records::origin::Origin;

/// The trace of a request that runs.
pub(in crate::records) struct RequestTrace {
    place: SpanPlace,
    /// `None` if the trace is not sampled.
    clock: Option<Clock>,
    queued: Option<(Instant, Duration)>,
    earlier_chips: Vec<(usize, Arc<str>)>,
    /// The call of which the request is an image, and its index.
    call: Option<(Arc<CallSpan>, usize)>,
}

/// The facts of a request that ends.
pub(in crate::records) struct RequestEnd<'a> {
    pub(in crate::records) id: &'a str,
    pub(in crate::records) pipeline: &'a Arc<str>,
    pub(in crate::records) chip: &'a Arc<str>,
    pub(in crate::records) caller: &'a Arc<str>,
    pub(in crate::records) origin: Option<Origin>,
    pub(in crate::records) outcome: Outcome,
    pub(in crate::records) status: Option<u16>,
    pub(in crate::records) started: Instant,
    pub(in crate::records) stages: &'a [StageReport],
}

/// The span of a call with several images, each of which is a request. It ends with the last of them.
pub(in crate::records) struct CallSpan {
    traces: Arc<Traces>,
    place: SpanPlace,
    clock: Clock,
    started: Instant,
    end: Mutex<CallEnd>,
}

/// How a call ended: as its first image that failed, or else as its last one.
#[derive(Default)]
struct CallEnd {
    request: Option<EndedRequest>,
    images: usize,
}

impl RequestTrace {
    /// The trace of a new request. If its caller sent a valid `traceparent`, the request continues that trace.
    pub(in crate::records) fn begin(traces: &Traces, headers: Option<&HeaderMap>) -> Self {
        let caller = headers.and_then(CallerContext::read);
        let place = SpanPlace::of_request(caller, |trace, caller| traces.samples(trace, caller));
        let clock = place.is_sampled.then(Clock::now);
        Self { place, clock, queued: None, earlier_chips: Vec::new(), call: None }
    }

    /// The id of the trace for the log, if others know the trace.
    pub(in crate::records) fn shown(&self) -> Option<TraceId> {
        (self.place.is_sampled || self.place.is_callers).then_some(self.place.trace)
    }

    /// The trace that an exemplar names.
    pub(in crate::records) fn sampled(&self) -> Option<TraceId> {
        self.place.is_sampled.then_some(self.place.trace)
    }

    /// The value of `traceresponse`, if others know the trace.
    pub(in crate::records) fn response(&self) -> Option<String> {
        let SpanPlace { trace, span, is_sampled, .. } = self.place;
        self.shown().map(|_| format!("00-{trace}-{span}-{:02x}", u8::from(is_sampled)))
    }

    /// The request had waited for a slot to run.
    pub(in crate::records) fn set_queued(&mut self, time: Duration) {
        if self.place.is_sampled {
            self.queued = Some((Instant::now(), time));
        }
    }

    /// The request continues on another chip, after so many stage runs.
    pub(in crate::records) fn chip_changed(&mut self, runs: usize, before: &str) {
        if self.place.is_sampled && runs > 0 {
            self.earlier_chips.push((runs, before.into()));
        }
    }

    /// The request becomes the first of several images of its call.
    pub(in crate::records) fn split(&mut self, traces: &Arc<Traces>, started: Instant) {
        let Some(clock) = self.clock.filter(|_| self.call.is_none()) else { return };
        let child = self.place.child();
        let place = std::mem::replace(&mut self.place, child);
        let call = CallSpan { traces: Arc::clone(traces), place, clock, started, end: Mutex::default() };
        self.call = Some((Arc::new(call), 0));
    }

    /// The trace of another image.
    pub(in crate::records) fn sibling(&self, index: usize) -> Self {
        let call = self.call.as_ref().map(|(call, _)| (Arc::clone(call), index));
        let place = call.as_ref().map_or_else(|| self.place.clone(), |(call, _)| call.place.child());
        Self { place, clock: self.clock, queued: None, earlier_chips: Vec::new(), call }
    }

    /// Exports the request.
    pub(in crate::records) fn end(&mut self, traces: &Traces, end: &RequestEnd<'_>) {
        let Some(clock) = self.clock else { return };
        let call = self.call.take();
        let kind = match (&call, end.origin) {
            (Some((_, index)), _) => RequestKind::Image(*index),
            (None, origin) => call_of(origin),
        };
        let request = |place, kind, (runs, dropped_runs)| EndedRequest {
            place,
            kind,
            times: Times::until_now(end.started, clock),
            id: end.id.to_owned(),
            pipeline: Arc::clone(end.pipeline),
            chip: Arc::clone(end.chip),
            caller: Arc::clone(end.caller),
            outcome: end.outcome,
            status: end.status,
            queued: None,
            runs,
            dropped_runs,
            earlier_chips: Vec::new(),
        };
        if let Some((call, _)) = &call {
            call.add(|place| request(place, call_of(end.origin), (Vec::new(), 0)));
        }
        let queued = self.queued;
        let earlier_chips = std::mem::take(&mut self.earlier_chips);
        traces.end(EndedRequest { queued, earlier_chips, ..request(self.place.clone(), kind, first_runs(end.stages)) });
    }
}

fn call_of(origin: Option<Origin>) -> RequestKind {
    let (method, route, client) = origin.map_or(("", "", None), |it| (it.method, it.route, it.client));
    RequestKind::Call { method, route, client, images: 0 }
}

impl CallSpan {
    fn add(&self, request: impl FnOnce(SpanPlace) -> EndedRequest) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.images += 1;
        if end.request.as_ref().is_none_or(|known| known.outcome == Outcome::Ok) {
            end.request = Some(request(self.place.clone()));
        }
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        let end = std::mem::take(&mut *self.end.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(mut request) = end.request else { return };
        request.times = Times::until_now(self.started, self.clock);
        if let RequestKind::Call { images, .. } = &mut request.kind {
            *images = end.images;
        }
        self.traces.end(request);
    }
}
