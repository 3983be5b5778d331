//! Inference over REST: `POST /v2/models/{model}[/versions/{version}]/infer`.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use plimsoll_runtime::stage::RunObserver;
use tokio::sync::OwnedSemaphorePermit;

use super::binary::{self, HEADER_LENGTH, WantsBinary};
use super::error::OipError;
use super::path::{ModelPath, model_path};
use super::{json, schema};
use crate::serve::App;
use crate::serve::error::ServeError;
use crate::serve::headers::{REQUEST_ID, chip, is_usable_id, request_id, set_headers};
use crate::serve::http::body;
use crate::serve::oip::call::{Answer, Call};
use crate::serve::oip::infer::run;
use crate::serve::oip::model::Model;
use crate::serve::oip::request::Request;

/// Runs one inference. The response has the requested outputs, as JSON or as binary data.
#[utoipa::path(
    post,
    path = "/v2/models/{model}/infer",
    operation_id = "model_infer",
    tag = "inference",
    params(("model" = String, Path, description = "A pipeline, or `<pipeline>.infer`"),
           ("Inference-Header-Content-Length" = Option<u64>, Header,
            description = "Bytes of JSON if binary tensors follow it; 0: the body is the bytes of the only input")),
    request_body(content = schema::InferenceRequest),
    responses((status = 200, description = "The outputs", body = schema::InferenceResponse),
              (status = "4XX", description = "Client error", body = schema::ProtocolError),
              (status = "5XX", description = "A stage or the host failed", body = schema::ProtocolError))
)]
pub(in crate::serve::http) async fn infer(
    State(app): State<Arc<App>>,
    path: Result<Path<ModelPath>, PathRejection>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let id = request_id(&headers);
    let model =
        model_path(path).and_then(|ModelPath { model, version }| Ok(Model::find(&app, &model, version.as_deref())?));
    let model = match model {
        Ok(model) => model,
        Err(OipError(error)) => return OipError(error.for_request(&id)).into_response(),
    };
    let mut call = Call::open(&app, model, id, headers.get(&app.caller_header).map(HeaderValue::as_bytes));
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => {
            let error = ServeError::invalid(rejection.body_text());
            return reply(&headers, call.refuse(error), None);
        }
    };
    call.chip = chip(&headers, &query).map(str::to_owned);
    call.query = query;
    // The permit for the body's bytes is held until the answer is complete, because tensors share them.
    match read(&app, &mut call, &headers, body).await {
        Err(refused) => reply(&headers, call.refuse(refused), None),
        Ok((request, wants_binary, _budget)) => {
            let answer = run(call, request).await;
            reply(&headers, answer, Some(&wants_binary))
        }
    }
}

async fn read(
    app: &App,
    call: &mut Call,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Request, WantsBinary, OwnedSemaphorePermit), ServeError> {
    let (body, budget) = body::receive(app, headers, body, call.record.deadline()).await?;
    let body = body::unpack(app, headers, body).await?;
    let limit = app.server.max_body.as_u64();
    let request = match binary::header_length(headers, &body) {
        Ok(Some(0)) => binary::raw(body, call.model()),
        Ok(header) => binary::read(body, header, limit),
        Err(error) => Err(error),
    }?;
    // The id in the body is used unless a header has one.
    if !headers.contains_key(REQUEST_ID)
        && let Some(id) = request.id.as_deref().filter(|id| is_usable_id(id))
    {
        id.clone_into(&mut call.record.id);
    }
    let wants_binary = WantsBinary::of(&request)?;
    Ok((request, wants_binary, budget))
}

fn reply(headers: &HeaderMap, answer: Answer, wants_binary: Option<&WantsBinary>) -> Response {
    let Answer { summary, result } = answer;
    let written = result.and_then(|response| {
        let binary = |name: &str| wants_binary.is_some_and(|wants| wants.output(name));
        json::write(&response, binary).map_err(|reason| ServeError::invalid(reason).for_request(&summary.id))
    });
    let mut response = match written {
        Err(error) => OipError(error).into_response(),
        Ok((json, tails)) => ok(headers, json, &tails),
    };
    set_headers(response.headers_mut(), &summary);
    response
}

fn ok(headers: &HeaderMap, json: Vec<u8>, tails: &[Bytes]) -> Response {
    let header_length = json.len();
    let mut body = json;
    tails.iter().for_each(|tail| body.extend_from_slice(tail));
    let packed = body::pack(headers, &body);
    let encoding = packed.as_ref().map(|(name, _)| *name);
    let mut response = (StatusCode::OK, packed.map_or(body, |(_, packed)| packed)).into_response();
    let set = response.headers_mut();
    let content_type = if tails.is_empty() { "application/json" } else { "application/octet-stream" };
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    set.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if !tails.is_empty() {
        set.insert(HEADER_LENGTH, header_length.into());
    }
    if let Some(encoding) = encoding {
        set.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}
