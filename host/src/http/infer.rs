//! `POST /v1/pipelines/{pipeline}/infer`: the way of a request, top to bottom.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;

use super::problem::Problem;
use crate::app::{App, Route};
use crate::stage::Outcome;
use crate::stage::bindings::Request;
use crate::trace::{StageReport, Trace};

const CHIP: HeaderName = HeaderName::from_static("x-plimsoll-chip");
/// Which versions answered: `preprocess=NAME@VERSION+DIGEST`, with the first twelve digits of the digest.
const PLUGINS: HeaderName = HeaderName::from_static("x-plimsoll-plugins");
const MEMORY: HeaderName = HeaderName::from_static("x-plimsoll-memory");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// A caller's request id is taken over up to this length, if it is plain visible ASCII.
const MAX_REQUEST_ID: usize = 128;

/// Routes the request to a chip, admits it, reads its body, runs the stages, and replies.
pub(super) async fn infer(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let id = request_id(&headers);
    let Ok(Path(name)) = name else {
        return Problem::not_found("the pipeline's name is no UTF-8").of_request(&id).into_response();
    };
    // From here on the request stays with this version of the pipeline, whatever is deployed meanwhile.
    let Some((pipeline, arm)) = app.served.load().routes.get(&name).map(Route::choose) else {
        let detail = format!("there is no pipeline `{name}`; served are {}", app.pipeline_names().join(", "));
        return Problem::not_found(detail).of_request(&id).into_response();
    };
    let wanted = chip(&headers, &parameters).unwrap_or(&pipeline.default_chip);
    let Some(infer) = pipeline.chip(wanted) else {
        let known: Vec<_> = pipeline.chips.keys().map(String::as_str).collect();
        let detail = format!("pipeline `{name}` has no chip `{wanted}`; it has {}", known.join(", "));
        return Problem::not_found(detail).of_request(&id).into_response();
    };
    let chip = wanted.to_owned();
    let request = Request {
        id: id.clone(),
        content_type: text(&headers, &header::CONTENT_TYPE).map(str::to_owned),
        parameters: parameters.into_iter().filter(|(key, _)| key != "chip").collect(),
    };
    // From here on, whatever happens is counted and logged when the trace is dropped.
    let mut trace = Trace::new(id.clone(), &name, &chip, pipeline.deadline, Arc::clone(&app.recorder));
    if let Some(arm) = arm {
        trace.of_trial(arm);
    }
    if let Some(value) = headers.get(&app.recorder.caller_header) {
        trace.of_caller(app.recorder.caller(Some(value.as_bytes())));
    }

    let result = admitted(&app, &headers, body, &mut trace).await;
    let mut response = match result {
        Err((outcome, problem)) => {
            trace.finish(outcome);
            problem.into_response()
        }
        Ok((body, _permits)) => {
            if let Some(recordings) = &pipeline.recordings {
                trace.of_input(recordings, &request, &body);
            }
            match pipeline.run(infer, &mut trace, &request, &body).await {
                Ok(reply) => {
                    trace.finish(Outcome::Ok);
                    let content_type = HeaderValue::from_str(&reply.content_type)
                        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
                    (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], reply.body).into_response()
                }
                Err(failed) => {
                    trace.finish(failed.error.outcome);
                    let high_water = trace.stages().last().map_or(0, |report| report.usage.high_water);
                    Problem::from_stage(&failed, high_water).of_request(&id).into_response()
                }
            }
        }
    };
    set_headers(response.headers_mut(), &trace, &chip);
    response
}

type Permits = [OwnedSemaphorePermit; 3];

/// Room for the body, the body itself, a place in the queue, a place to run; in this order, so that a slow sender
/// holds nothing but the bytes it announced (all of `max_body` where it announced none).
async fn admitted(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    trace: &mut Trace,
) -> Result<(Bytes, Permits), (Outcome, Problem)> {
    let id = trace.id.clone();
    let refused = |outcome, problem: Problem| (outcome, problem.of_request(&id));
    let overloaded =
        |error: super::admission::Overloaded| refused(Outcome::NoCapacity, Problem::overloaded(error.to_string()));
    let limit = app.server.max_body.as_u64();
    let too_large = || {
        let detail = format!("the body is larger than {limit} bytes (`server.max_body`)");
        refused(Outcome::TooLarge, Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail))
    };
    let declared = text(headers, &header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let budget = app.admission.body(declared.unwrap_or(limit)).map_err(overloaded)?;

    let read = axum::body::to_bytes(body, usize::try_from(limit).unwrap_or(usize::MAX));
    let until = trace.deadline().min(Instant::now() + app.server.body_timeout);
    let body = match tokio::time::timeout_at(until.into(), read).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) if is_length_limit(&error) => return Err(too_large()),
        Ok(Err(error)) => {
            let problem =
                Problem::new(StatusCode::BAD_REQUEST, "invalid_input", format!("the body broke off: {error}"));
            return Err(refused(Outcome::InvalidInput, problem));
        }
        Err(_) => {
            let detail =
                format!("the body did not arrive within {:?} (`server.body_timeout`)", app.server.body_timeout);
            return Err(refused(Outcome::Deadline, Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail)));
        }
    };
    let queue = app.admission.enter().map_err(overloaded)?;
    let place = tokio::time::timeout_at(trace.deadline().into(), app.admission.place()).await.map_err(|_| {
        refused(Outcome::Deadline, Problem::deadline("the request's deadline passed while it was queued"))
    })?;
    Ok((body, [budget, queue, place]))
}

fn is_length_limit(error: &axum::Error) -> bool {
    use std::error::Error;
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}

fn set_headers(headers: &mut HeaderMap, trace: &Trace, chip: &str) {
    let mut insert = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    let stages = trace.stages();
    let join = |items: Vec<String>| items.join(", ");
    insert(REQUEST_ID, trace.id.clone());
    insert(CHIP, chip.to_owned());
    insert(MEMORY, join(stages.iter().map(|stage| format!("{}={}", stage.stage, stage.usage.high_water)).collect()));
    let plugin =
        |stage: &StageReport| format!("{}={}@{}+{}", stage.stage, stage.plugin, stage.version, &stage.digest[..12]);
    insert(PLUGINS, join(stages.iter().map(plugin).collect()));
    let timing = stages.iter().map(|stage| format!("{};dur={:.3}", stage.stage, stage.duration.as_secs_f64() * 1e3));
    insert(SERVER_TIMING, join(timing.collect()));
}

fn request_id(headers: &HeaderMap) -> String {
    text(headers, &REQUEST_ID)
        .filter(|id| !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic()))
        .map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}

fn chip<'a>(headers: &'a HeaderMap, parameters: &'a [(String, String)]) -> Option<&'a str> {
    let parameter = parameters.iter().find(|(key, _)| key == "chip").map(|(_, value)| value.as_str());
    parameter.or_else(|| text(headers, &CHIP))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
