//! The OpenAPI 3.1 document of all routes, at `/openapi.json`. The router is built from the same handler descriptions,
//! so every route that is served is also documented.

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::{ComponentsBuilder, OpenApi as Document, Required, ResponseBuilder};
use utoipa::{OpenApi, PartialSchema};

use super::oip::routes::VERSIONED;
use super::oip::schema::{InferenceRequest, InferenceResponse, ProtocolError};

/// The parts of the document that no handler describes: the title, the tags and the shared schemas.
#[derive(OpenApi)]
#[openapi(
    info(title = "Plimsoll", description = "A WebAssembly-plugin inference host.", license(name = "Apache-2.0")),
    tags(
        (name = "inference", description = "The Open Inference Protocol: pipelines are models."),
        (name = "repository", description = "Loads and unloads models."),
        (name = "pipelines", description = "The host's own inference route: one image per request."),
        (name = "administration", description = "Deploys, retires and rolls back plugins."),
        (name = "reports", description = "The memory use of requests, the latest requests, recordings, and metrics."),
        (name = "console", description = "A page that shows the reports and deploys plugins."),
    ),
    components(schemas(InferenceRequest, InferenceResponse, ProtocolError))
)]
pub(super) struct Description;

/// Completes the document. Adds the routes of model versions (the model's routes with one more parameter), the route of
/// the document itself, and the bearer token.
pub(super) fn complete(mut document: Document) -> Document {
    const MODEL: &str = "/v2/models/{model}";
    for rest in VERSIONED {
        // The part of administration has no models.
        let Some(mut item) = document.paths.paths.get(&format!("{MODEL}{rest}")).cloned() else { continue };
        let operations = [&mut item.get, &mut item.post];
        for operation in operations.into_iter().flatten() {
            let version = ParameterBuilder::new()
                .name("version")
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some("A version of the model that is served"))
                .schema(Some(String::schema()));
            operation.parameters.get_or_insert_default().push(version.build().into());
            operation.operation_id = operation.operation_id.take().map(|id| format!("{id}_of_version"));
        }
        document.paths.paths.insert(format!("{MODEL}/versions/{{version}}{rest}"), item);
    }
    let own = OperationBuilder::new()
        .tag("reports")
        .operation_id(Some("openapi"))
        .summary(Some("Returns this document."))
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
pub(super) async fn show(text: Bytes) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], text)
}

/// The document as JSON. It is written once: to write it for each request would take a millisecond, which anybody could ask
/// for on many connections.
pub(super) fn text(document: &Document) -> Bytes {
    Bytes::from(serde_json::to_vec(document).unwrap_or_default())
}
