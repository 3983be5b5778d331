//! The spans of a request. Names and attributes are those of OpenTelemetry's semantic conventions where these have one, and
//! begin with `plimsoll.` otherwise.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::trace::{Event, SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::StageReport;

use super::ended::{EndedRequest, RequestKind};
use super::place::SpanPlace;

impl EndedRequest {
    /// The span of the request, then those of its stage runs.
    pub(super) fn into_spans(self, scope: &InstrumentationScope) -> Vec<SpanData> {
        let mut spans = Vec::with_capacity(self.spans());
        spans.push(self.own_span(scope));
        for (index, run) in self.runs.iter().enumerate() {
            spans.push(self.run_span(index, run, scope));
        }
        spans
    }

    fn own_span(&self, scope: &InstrumentationScope) -> SpanData {
        let mut attributes = vec![
            text("plimsoll.request_id", self.id.as_str()),
            text("plimsoll.pipeline", &self.pipeline),
            text("plimsoll.chip", &self.chip),
            text("plimsoll.outcome", self.outcome.as_str()),
        ];
        let (name, kind) = match &self.kind {
            RequestKind::Image(index) => {
                attributes.push(number("plimsoll.image", *index as u64));
                (Cow::Borrowed("image"), SpanKind::Internal)
            }
            RequestKind::Call { method, route, client, images } => {
                attributes.push(text("plimsoll.caller", &self.caller));
                if let Some(client) = client {
                    attributes.push(KeyValue::new("client.address", client.ip().to_string()));
                }
                if *images > 0 {
                    attributes.push(number("plimsoll.images", *images as u64));
                }
                (self.describe_call(method, route, &mut attributes), SpanKind::Server)
            }
        };
        if self.outcome != Outcome::Ok {
            attributes.push(text("error.type", self.outcome.as_str()));
        }
        if self.dropped_runs > 0 {
            attributes.push(number("plimsoll.dropped_runs", self.dropped_runs as u64));
        }
        let mut events = SpanEvents::default();
        if let Some((at, time)) = self.queued {
            let wait = KeyValue::new("plimsoll.wait_seconds", time.as_secs_f64());
            events.events.push(Event::new("queue", self.times.at(at), vec![wait], 0));
        }
        let span = Span { place: &self.place, kind, name, attributes, events, status: self.own_status() };
        span.data((self.times.at(self.times.started), self.times.at(self.times.ended)), scope)
    }

    /// The attributes of HTTP or gRPC; the name of the span.
    fn describe_call(&self, method: &str, route: &'static str, attributes: &mut Vec<KeyValue>) -> Cow<'static, str> {
        let rpc =
            route.strip_prefix('/').and_then(|path| path.split_once('/')).filter(|(service, _)| service.contains('.'));
        if let Some((service, name)) = rpc {
            attributes.push(text("rpc.system", "grpc"));
            attributes.push(text("rpc.service", service));
            attributes.push(text("rpc.method", name));
            return Cow::Borrowed(&route[1..]);
        }
        attributes.push(text("http.request.method", method));
        attributes.push(text("http.route", route));
        if let Some(status) = self.status {
            attributes.push(number("http.response.status_code", status.into()));
        }
        Cow::Owned(format!("{method} {route}"))
    }

    /// A mistake of the caller is no error of the server.
    fn own_status(&self) -> Status {
        match self.status {
            Some(500..) => Status::error(self.outcome.as_str()),
            _ => Status::Unset,
        }
    }

    fn run_span(&self, index: usize, run: &StageReport, scope: &InstrumentationScope) -> SpanData {
        let chip = self.earlier_chips.iter().find(|(until, _)| index < *until).map_or(&self.chip, |(_, chip)| chip);
        let mut attributes = vec![
            text("plimsoll.stage", run.stage.as_str()),
            text("plimsoll.stage.kind", run.stage.kind().as_str()),
            KeyValue::new("plimsoll.plugin.name", Arc::clone(&run.plugin)),
            KeyValue::new("plimsoll.plugin.version", Arc::clone(&run.version)),
            KeyValue::new("plimsoll.plugin.digest", Arc::clone(&run.digest)),
            text("plimsoll.chip", chip),
            number("plimsoll.memory.initial", run.usage.initial),
            number("plimsoll.memory.high_water", run.usage.high_water),
            number("plimsoll.memory.cap", run.max_memory),
            text("plimsoll.outcome", run.outcome.as_str()),
        ];
        if run.usage.refused > 0 {
            attributes.push(number("plimsoll.memory.refused_growths", run.usage.refused));
        }
        let status = match run.outcome {
            Outcome::Ok => Status::Unset,
            outcome => {
                attributes.push(text("error.type", outcome.as_str()));
                Status::error(outcome.as_str())
            }
        };
        let mut events = SpanEvents::default();
        for batch in &run.batches {
            let wait = batch.sent.saturating_duration_since(batch.since);
            let attributes = vec![
                KeyValue::new("plimsoll.wait_seconds", wait.as_secs_f64()),
                number("plimsoll.batch.rows", batch.rows.into()),
                number("plimsoll.batch.runs", batch.runs as u64),
            ];
            events.events.push(Event::new("batch", self.times.at(batch.sent), attributes, 0));
        }
        let place = self.place.child();
        let name = Cow::Owned(run.stage.as_str().to_owned());
        let span = Span { place: &place, kind: SpanKind::Internal, name, attributes, events, status };
        span.data((self.times.at(run.started), self.times.at(run.started + run.duration)), scope)
    }
}

/// What differs between spans.
struct Span<'a> {
    place: &'a SpanPlace,
    kind: SpanKind,
    name: Cow<'static, str>,
    attributes: Vec<KeyValue>,
    events: SpanEvents,
    status: Status,
}

impl Span<'_> {
    fn data(
        self,
        (start_time, end_time): (std::time::SystemTime, std::time::SystemTime),
        scope: &InstrumentationScope,
    ) -> SpanData {
        SpanData {
            span_context: self.place.context(),
            parent_span_id: self.place.parent,
            parent_span_is_remote: self.place.is_callers,
            span_kind: self.kind,
            name: self.name,
            start_time,
            end_time,
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: self.events,
            links: SpanLinks::default(),
            status: self.status,
            instrumentation_scope: scope.clone(),
        }
    }
}

fn text(name: &'static str, value: &str) -> KeyValue {
    KeyValue::new(name, value.to_owned())
}

fn number(name: &'static str, value: u64) -> KeyValue {
    KeyValue::new(name, Value::I64(i64::try_from(value).unwrap_or(i64::MAX)))
}
