//! `POST /v1/pipelines/{pipeline}/infer`. The code follows the path of a request from top to bottom.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::{Reply, Request, RunObserver};

use super::body::Limits;
use super::foreign::forbid_scripts;
use super::parameters::Parameters;
use super::{body, encoding, form};
use crate::deploy::ServedPipeline;
use crate::records::{RequestRecord, RequestStart};
use crate::serve::App;
use crate::serve::admission::{BodyBytes, ConnectionBudget};
use crate::serve::caller_limit::CallerSlot;
use crate::serve::client::Client;
use crate::serve::error::ServeError;
use crate::serve::fair_slots::Slot;
use crate::serve::headers::{chip, request_id, set_headers, text};
use crate::serve::problem::{Problem, status};

/// Routes the request to a chip, admits it, reads its body, runs the stages, and replies.
#[utoipa::path(
    post,
    path = "/v1/pipelines/{pipeline}/infer",
    tag = "pipelines",
    params(("pipeline" = String, Path, description = "The pipeline"),
           ("chip" = Option<String>, Query, description = "The chip; all other parameters are passed to the stages")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream",
                 description = "An encoded image, or `multipart/form-data` with one file; `Content-Encoding` may be `gzip` or `deflate`"),
    responses((status = 200, description = "The reply of the postprocess stage, in the media type that it sets"),
              (status = "4XX", description = "Client error", body = Problem,
               content_type = "application/problem+json"),
              (status = "5XX", description = "A stage or the host failed", body = Problem,
               content_type = "application/problem+json"))
)]
pub(super) async fn infer(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    parameters: Result<Parameters, ServeError>,
    connection: Option<Extension<ConnectionBudget>>,
    client: Client,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let id = request_id(&headers);
    let Ok(Path(name)) = name else {
        return ServeError::not_found("the pipeline name is not valid UTF-8").for_request(&id).into_response();
    };
    let parameters = match parameters.and_then(|parameters| parameters.check_own("chip")) {
        Ok(parameters) => parameters,
        Err(error) => return error.for_request(&id).into_response(),
    };
    // From here on the request stays on this version of the pipeline, even if another version is deployed meanwhile.
    let caller = client.caller(&headers, &app.caller_header);
    let routed = app.served().load().route(&name).map(|route| route.route_request(caller));
    let (pipeline, canary_side) = match routed {
        Ok(routed) => routed,
        Err(error) => return ServeError::from(error).for_request(&id).into_response(),
    };
    let chip = chip(&headers, &parameters).unwrap_or(&pipeline.default_chip).to_owned();
    if let Err(error) = pipeline.find_chip(&chip) {
        return ServeError::from(error).for_request(&id).into_response();
    }
    let request = Request {
        id: id.clone(),
        content_type: text(&headers, &header::CONTENT_TYPE).map(str::to_owned),
        parameters: parameters.into_iter().filter(|(key, _)| key != "chip").collect(),
    };
    // From here on every exit path counts and logs the request, because dropping the record does so.
    let start = RequestStart {
        id: id.clone(),
        pipeline: &name,
        chip: &chip,
        deadline: pipeline.deadline,
        model: Some((&name, &pipeline.version)),
        canary_side,
        caller: client.caller(&headers, &app.caller_header),
        origin: Some(client.origin("POST", "/v1/pipelines/{pipeline}/infer")),
        headers: Some(&headers),
    };
    // Dropped after the record, so that a request whose client is gone is counted before its slot is free.
    let mut held = None;
    let mut record = RequestRecord::start(start, &app.records);

    let incoming = Incoming { client: &client, headers: &headers, connection: connection.as_deref(), body };
    let result = run(&app, &pipeline, &chip, request, incoming, &mut record, &mut held).await;
    drop(held.take());
    let mut response = match result {
        Ok(reply) => {
            record.finish(Outcome::Ok);
            let content_type = media_type(&reply.content_type);
            let is_json = content_type == "application/json";
            let mut response = (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], reply.body).into_response();
            // JSON is never run.
            if !is_json {
                forbid_scripts(response.headers_mut());
            }
            response
        }
        Err(error) => {
            record.finish(error.kind.outcome());
            record.set_status(status(error.kind).0.as_u16());
            error.for_request(&id).into_response()
        }
    };
    set_headers(response.headers_mut(), &record.summary());
    response
}

/// The media type that a plugin set, or bytes of an unknown type if its text is not one. The text is the plugin's: a long or
/// malformed header can make clients lose the whole reply.
///
/// [RFC 9110, 8.3.1](https://www.rfc-editor.org/rfc/rfc9110#section-8.3.1).
fn media_type(text: &str) -> HeaderValue {
    const MAX: usize = 256;
    let is_token = |part: &str| {
        let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !part.is_empty() && part.bytes().all(is_token_byte)
    };
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let is_media_type = essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype));
    let is_ascii = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let value = (text.len() <= MAX && is_media_type && is_ascii).then(|| HeaderValue::from_str(text).ok()).flatten();
    value.unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// Admits the request, then runs its stages. What it holds meanwhile is in `held`.
async fn run(
    app: &App,
    pipeline: &Arc<ServedPipeline>,
    chip: &str,
    request: Request,
    incoming: Incoming<'_>,
    record: &mut RequestRecord,
    held: &mut Option<Held>,
) -> Result<Reply, ServeError> {
    let (body, admitted) = admit(app, pipeline, incoming, record).await?;
    *held = Some(admitted);
    let (request, body) = read_form(request, body).await?;
    if let Some(recorder) = &pipeline.recorder {
        record.keep_input(recorder, &request, &body);
    }
    if let Some(capture) = pipeline.capture.as_ref().filter(|capture| capture.takes_next()) {
        record.capture(&capture.recorder, &request, &body);
    }
    app.shadows.follow(pipeline, &request, record);
    let infer = pipeline.find_chip(chip)?;
    let reply = pipeline.run(infer, record, &request, &body).await;
    if let Ok(reply) = &reply {
        record.capture_reply(reply);
    }
    reply.map_err(|failed| ServeError::from_stage(&failed, record.high_water_of(&failed)))
}

/// If the body is a form, replaces it by the file in it. The stages see the media type of the file, and the text fields of
/// the form as parameters.
async fn read_form(mut request: Request, body: Bytes) -> Result<(Request, Bytes), ServeError> {
    let Some(content_type) = request.content_type.take_if(|content_type| form::is_form(content_type)) else {
        return Ok((request, body));
    };
    let form = form::read(&content_type, body).await?;
    request.content_type = form.content_type;
    request.parameters.extend(form.fields);
    Ok((request, form.file))
}

/// The parts of a request from which its body is received.
struct Incoming<'a> {
    client: &'a Client,
    headers: &'a HeaderMap,
    connection: Option<&'a ConnectionBudget>,
    body: Body,
}

/// What a request holds while it runs.
struct Held {
    _caller: CallerSlot,
    _body: BodyBytes,
    _queued: Slot,
    _slot: Slot,
}

/// Receives the body and decompresses it, takes a queue slot, and waits for a slot to run. The order matters: while a
/// slow client sends its body, its request holds only the bytes that have arrived.
async fn admit(
    app: &App,
    pipeline: &ServedPipeline,
    incoming: Incoming<'_>,
    record: &mut RequestRecord,
) -> Result<(Bytes, Held), ServeError> {
    let Incoming { client, headers, connection, body } = incoming;
    let caller = app.admission.callers.enter(client.caller(headers, &app.caller_header))?;
    let (body, mut bytes) = body::receive(app, headers, connection, body, record.deadline()).await?;
    let limits = Limits::for_request(app, Some(record.deadline()));
    let body = encoding::unpack(headers, body, &limits, &mut bytes).await?;
    let shares = app.shares(pipeline);
    let queued = app.admission.enter_queue(shares)?;
    let slot = app.admission.wait_for_slot(shares, record).await?;
    Ok((body, Held { _caller: caller, _body: bytes, _queued: queued, _slot: slot }))
}

#[cfg(test)]
mod tests {
    use super::media_type;

    #[test]
    fn a_text_that_is_not_a_media_type_becomes_bytes_of_an_unknown_type() {
        for text in ["application/json", "image/svg+xml", "text/plain; charset=utf-8", "text/plain ;a=\"b c\""] {
            assert_eq!(media_type(text), text);
        }
        let long = format!("text/plain; a={}", "b".repeat(256));
        for text in [
            "",
            "text",
            "text/",
            "/plain",
            "text/plain/x",
            "te xt/plain",
            "text/plain\r\nx: y",
            "text/pl\u{e4}in",
            &long,
        ] {
            assert_eq!(media_type(text), "application/octet-stream", "{text}");
        }
    }
}
