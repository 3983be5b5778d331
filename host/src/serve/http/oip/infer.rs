//! Inference over REST: `POST /v2/models/{model}[/versions/{version}]/infer`.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use plimsoll_runtime::stage::RunObserver;

use super::binary::{self, HEADER_LENGTH, ReadError};
use super::error::OipError;
use super::path::{ModelPath, model_path};
use super::{json, schema};
use crate::serve::admission::{BodyBytes, ConnectionBudget};
use crate::serve::client::Client;
use crate::serve::error::ServeError;
use crate::serve::headers::{REQUEST_ID, chip, is_usable_id, request_id, set_headers};
use crate::serve::http::body::{self, Limits};
use crate::serve::http::encoding::{self, Encoding};
use crate::serve::http::parameters::Parameters;
use crate::serve::oip::call::{Answer, Call};
use crate::serve::oip::infer::run;
use crate::serve::oip::json_outputs::{BinaryOutputs, NoJsonForm};
use crate::serve::oip::model::{Model, ModelPart};
use crate::serve::oip::request::{self, Request};
use crate::serve::{App, blocking};

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
    query: Result<Parameters, ServeError>,
    client: Client,
    connection: Option<Extension<ConnectionBudget>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let id = request_id(&headers);
    let route = match &path {
        Ok(Path(ModelPath { version: Some(_), .. })) => "/v2/models/{model}/versions/{version}/infer",
        _ => "/v2/models/{model}/infer",
    };
    let caller = client.caller(&headers, &app.caller_header);
    let model = model_path(path)
        .and_then(|ModelPath { model, version }| Ok(Model::find(&app, &model, version.as_deref(), caller)?));
    let model = match model {
        Ok(model) => model,
        Err(OipError(error)) => return OipError(error.for_request(&id)).into_response(),
    };
    let mut call = Call::open(&app, model, id, caller, (client.origin("POST", route), &headers));
    if let Err(error) = call.limit_caller(client.caller(&headers, &app.caller_header)) {
        return reply(&headers, call.refuse(error), None).await;
    }
    let query = match query.and_then(|query| query.check_own("chip")) {
        Ok(query) => query,
        Err(error) => return reply(&headers, call.refuse(error), None).await,
    };
    call.chip = chip(&headers, &query).map(str::to_owned);
    call.query = query;
    // The permit for the body's bytes is held until the answer is complete, because tensors share them.
    match read(&app, &mut call, &headers, connection.as_deref(), body).await {
        Err(refused) => reply(&headers, call.refuse(refused), None).await,
        Ok((request, _budget)) => {
            let binary = request.binary.clone();
            let answer = run(call, request).await;
            reply(&headers, answer, binary).await
        }
    }
}

async fn read(
    app: &App,
    call: &mut Call,
    headers: &HeaderMap,
    connection: Option<&ConnectionBudget>,
    body: Body,
) -> Result<(Request, BodyBytes), ServeError> {
    let (body, mut budget) = body::receive(app, headers, connection, body, call.record.deadline()).await?;
    let body =
        encoding::unpack(headers, body, &Limits::for_request(app, Some(call.record.deadline())), &mut budget).await?;
    let limit = app.server.max_body.as_u64();
    let mut request = match binary::header_length(headers, &body)? {
        Some(0) => binary::raw(body, call.model())?,
        header => {
            let (part, mut id) = (call.model().part, None);
            let read = read_tensors(body, header, limit, part, budget, &mut id).await;
            // The id in the body is used unless a header has one.
            if !headers.contains_key(REQUEST_ID)
                && let Some(id) = id.filter(|id| is_usable_id(id))
            {
                call.record.id = id;
            }
            let (request, reserved) = read?;
            budget = reserved;
            request
        }
    };
    let wanted = request.outputs.iter().map(|wanted| (wanted.name.as_str(), &wanted.parameters));
    request.binary = Some(BinaryOutputs::read(&request.parameters, wanted)?);
    Ok((request, budget))
}

/// Reads the tensors of a body, away from the async workers if it is large. If their memory is not free at once, waits for
/// it and reads again. `id` becomes the id in the body, also if the tensors are refused.
async fn read_tensors(
    body: Bytes,
    header: Option<usize>,
    limit: u64,
    part: ModelPart,
    mut reserved: BodyBytes,
    id: &mut Option<String>,
) -> Result<(Request, BodyBytes), ServeError> {
    loop {
        let again = body.clone();
        let read_body = move || {
            let mut id = None;
            (binary::read(again, header, limit, part, &mut reserved, &mut id), reserved, id)
        };
        let read;
        (read, reserved, *id) = blocking::run(body.len(), read_body).await;
        match read {
            Ok(request) => return Ok((request, reserved)),
            Err(ReadError::Refused(error)) => return Err(error),
            Err(ReadError::NeedsMemory(bytes)) => reserved.grow(bytes).await?,
        }
        reserved.complete();
    }
}

async fn reply(headers: &HeaderMap, answer: Answer, binary: Option<BinaryOutputs>) -> Response {
    let Answer { summary, result } = answer;
    let written = match result {
        Err(error) => Err(error),
        Ok(response) => {
            let (headers, bytes) = (encoding::accepted(headers), response.bytes());
            let write = move || write(&response, binary.as_ref(), headers);
            let written = blocking::run(bytes, write).await;
            written.map_err(|error| ServeError::from(error).for_request(&summary.id))
        }
    };
    let mut response = written.unwrap_or_else(|error| OipError(error).into_response());
    set_headers(response.headers_mut(), &summary);
    response
}

/// Writes a response, and compresses it if the client accepts that.
fn write(
    response: &request::Response,
    binary: Option<&BinaryOutputs>,
    accepted: Option<Encoding>,
) -> Result<Response, NoJsonForm> {
    let binary = |name: &str| binary.is_some_and(|binary| binary.has(name));
    let (json, tails) = json::write(response, binary)?;
    let header_length = json.len();
    let mut body = json;
    tails.iter().for_each(|tail| body.extend_from_slice(tail));
    let packed = accepted.and_then(|encoding| encoding.pack(&body));
    let is_packed = packed.is_some();
    let mut response = (StatusCode::OK, packed.unwrap_or(body)).into_response();
    let set = response.headers_mut();
    let content_type = if tails.is_empty() { "application/json" } else { "application/octet-stream" };
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    set.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if !tails.is_empty() {
        set.insert(HEADER_LENGTH, header_length.into());
    }
    if let Some(encoding) = accepted.filter(|_| is_packed) {
        set.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    }
    Ok(response)
}
