//! Checks the key of a request, if callers need one ([`Keys`](super::keys::Keys)). A request without a valid key is
//! refused before its body is read. The name of the key becomes the caller of the request.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::administrator::refused;
use super::app::App;
use super::client::Client;
use super::credentials::Failure;
use super::refusal::RefusalFormat;

/// The methods of gRPC that need no key: those of the health of the server, and those that need the token of
/// administration instead.
const OPEN: [&str; 4] = [
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
    "/inference.GRPCInferenceService/RepositoryModelLoad",
    "/inference.GRPCInferenceService/RepositoryModelUnload",
];

/// Checks the key of a request, if callers need one.
pub(super) async fn authenticate(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let Some(keys) = &app.keys else { return next.run(request).await };
    let path = request.uri().path();
    if OPEN.contains(&path) {
        return next.run(request).await;
    }
    let client = Client::from_extensions(request.extensions());
    match keys.check(request.headers()) {
        Ok(name) => {
            request.extensions_mut().insert(Client { name: Some(name), ..client });
            next.run(request).await
        }
        Err(failure) => {
            let what = format!("{} {path}", request.method());
            let detail = match failure {
                Failure::Missing => {
                    "this server needs a key: send the header `Authorization: Bearer KEY` or `x-api-key: KEY`"
                }
                Failure::Wrong => "the key is not known; the server's operator has the list of keys",
                Failure::Ambiguous => {
                    "the headers `Authorization: Bearer` and `x-api-key` have different keys; send one of them"
                }
            };
            let error = refused(&app, "callers", failure, &client, &what, detail);
            RefusalFormat::for_request(&request).refuse(error)
        }
    }
}
