//! The OpenAPI 3.1 document of all routes, at `/openapi.json`. The router is made of the same descriptions of its
//! handlers, so a route that is served is documented.

use std::sync::Arc;

use axum::Json;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::{ComponentsBuilder, OpenApi as Document, Required, ResponseBuilder};
use utoipa::{OpenApi, PartialSchema, ToSchema};

use super::oip::VERSIONED;

/// What no handler says: title, tags, the token.
#[derive(OpenApi)]
#[openapi(
    info(title = "Plimsoll", description = "A WebAssembly-plugin inference host.", license(name = "Apache-2.0")),
    tags(
        (name = "inference", description = "The Open Inference Protocol: pipelines are models."),
        (name = "repository", description = "Models are loaded and unloaded."),
        (name = "pipelines", description = "The host's own route for one image."),
        (name = "administration", description = "Plugins come and go."),
        (name = "reports", description = "What requests needed."),
    ),
    components(schemas(InferenceRequest, InferenceResponse, ProtocolError))
)]
pub(super) struct Description;

/// A request of the Open Inference Protocol.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used; `oip/json.rs` reads it")]
pub(super) struct InferenceRequest {
    /// Echoed.
    id: Option<String>,
    /// `chip`, `timeout` (µs), `partial`, `binary_data_output`; all others reach the stages.
    #[schema(value_type = Option<Object>)]
    parameters: Option<()>,
    /// For a pipeline: one, `image`, of BYTES.
    inputs: Vec<InferenceInput>,
    /// The outputs that are wanted; all where none is named.
    outputs: Option<Vec<WantedOutput>>,
}

/// A tensor of a request.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct InferenceInput {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    /// `binary_data_size`; for BYTES in JSON also `content_type`: `base64`.
    #[schema(value_type = Option<Object>)]
    parameters: Option<()>,
    /// The elements, nested or flat.
    #[schema(value_type = Option<Vec<Object>>)]
    data: Option<()>,
}

/// An output that is asked for.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct WantedOutput {
    name: String,
    /// `binary_data`.
    #[schema(value_type = Option<Object>)]
    parameters: Option<()>,
}

/// A response of the Open Inference Protocol.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used; `oip/json.rs` writes it")]
pub(super) struct InferenceResponse {
    model_name: String,
    model_version: String,
    id: Option<String>,
    #[schema(value_type = Option<Object>)]
    parameters: Option<()>,
    outputs: Vec<InferenceOutput>,
}

/// A tensor of a response.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct InferenceOutput {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[schema(value_type = Option<Object>)]
    parameters: Option<()>,
    #[schema(value_type = Option<Vec<Object>>)]
    data: Option<()>,
}

/// An error below `/v2`: a problem of RFC 9457 whose `detail` is also `error`.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used; `oip/error.rs` writes it")]
pub(super) struct ProtocolError {
    /// The sentence, which is all that the protocol's clients read.
    error: String,
    status: u16,
    code: String,
    title: String,
    detail: String,
    stage: Option<String>,
    plugin: Option<String>,
    version: Option<String>,
    limit_bytes: Option<u64>,
    high_water_bytes: Option<u64>,
    index: Option<usize>,
    request_id: Option<String>,
}

/// Adds what is served twice: the routes of a version answer as those of the model.
pub(super) fn complete(mut document: Document) -> Document {
    const MODEL: &str = "/v2/models/{model}";
    for rest in VERSIONED {
        let mut item = document.paths.paths[&format!("{MODEL}{rest}")].clone();
        let operations = [&mut item.get, &mut item.post];
        for operation in operations.into_iter().flatten() {
            let version = ParameterBuilder::new()
                .name("version")
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some("A version that is served"))
                .schema(Some(String::schema()));
            operation.parameters.get_or_insert_default().push(version.build());
            operation.operation_id = operation.operation_id.take().map(|id| format!("{id}_of_version"));
        }
        document.paths.paths.insert(format!("{MODEL}/versions/{{version}}{rest}"), item);
    }
    let own = OperationBuilder::new()
        .tag("reports")
        .operation_id(Some("openapi"))
        .summary(Some("This document."))
        .response("200", ResponseBuilder::new().description("OpenAPI 3.1"));
    document.paths.paths.insert("/openapi.json".to_owned(), PathItem::new(HttpMethod::Get, own));
    let scheme = utoipa::openapi::security::SecurityScheme::Http(utoipa::openapi::security::Http::new(
        utoipa::openapi::security::HttpAuthScheme::Bearer,
    ));
    let components = document.components.take().unwrap_or_else(|| ComponentsBuilder::new().build());
    document.components = Some(ComponentsBuilder::from(components).security_scheme("token", scheme).build());
    document
}

/// The handler of `/openapi.json`.
pub(super) async fn show(document: Arc<Document>) -> Json<Arc<Document>> {
    Json(document)
}
