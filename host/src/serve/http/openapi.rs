//! The OpenAPI 3.1 document of all routes, at `/openapi.json`. The router is made of the same descriptions of its
//! handlers, so a route that is served is documented.

use std::sync::Arc;

use axum::Json;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::{ComponentsBuilder, OpenApi as Document, Required, ResponseBuilder};
use utoipa::{OpenApi, PartialSchema};

use super::oip::routes::VERSIONED;
use super::oip::schema::{InferenceRequest, InferenceResponse, ProtocolError};

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
            operation.parameters.get_or_insert_default().push(version.build().into());
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
