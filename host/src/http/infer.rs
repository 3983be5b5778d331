//! `POST /v1/pipelines/{pipeline}/infer`: the way of a request, top to bottom.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;

use super::admission::Refused;
use super::problem::Problem;
use super::reply::{chip, request_id, set_headers, text};
use crate::app::{App, Route};
use crate::stage::Outcome;
use crate::stage::bindings::Request;
use crate::trace::Trace;

/// Routes the request to a chip, admits it, reads its body, runs the stages, and replies.
#[utoipa::path(
    post,
    path = "/v1/pipelines/{pipeline}/infer",
    tag = "pipelines",
    params(("pipeline" = String, Path, description = "The pipeline"),
           ("chip" = Option<String>, Query, description = "The chip; further parameters reach the stages")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "An encoded image"),
    responses((status = 200, description = "The reply of postprocessing, in its own media type"),
              (status = "4XX", description = "The caller's mistake", body = Problem,
               content_type = "application/problem+json"),
              (status = "5XX", description = "A stage's or the host's fault", body = Problem,
               content_type = "application/problem+json"))
)]
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
        let detail = match app.served.load().unloaded.contains(&name) {
            true => format!("pipeline `{name}` is unloaded; POST /v2/repository/models/{name}/load loads it again"),
            false => format!("there is no pipeline `{name}`; served are {}", app.pipeline_names().join(", ")),
        };
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
    trace.of_model(&name, &pipeline.version);
    if let Some(arm) = arm {
        trace.of_trial(arm);
    }
    if let Some(value) = headers.get(&app.recorder.caller_header) {
        trace.of_caller(app.recorder.caller(Some(value.as_bytes())));
    }

    let mut response = match admitted(&app, &headers, body, &mut trace).await {
        Err((outcome, problem)) => {
            trace.finish(outcome);
            problem.of_request(&id).into_response()
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
                    Problem::from_stage(&failed, trace.high_water()).of_request(&id).into_response()
                }
            }
        }
    };
    set_headers(response.headers_mut(), &trace.report());
    response
}

/// Room for the body, the body itself, a place in the queue, a place to run; in this order, so that a slow sender
/// holds nothing but the bytes it announced.
async fn admitted(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    trace: &mut Trace,
) -> Result<(Bytes, [OwnedSemaphorePermit; 3]), Refused> {
    let (body, budget) = super::body::receive(app, headers, body, trace.deadline()).await?;
    let turn = app.admission.turn()?;
    let place = app.admission.place_for(trace).await?;
    Ok((body, [budget, turn, place]))
}
