//! The checks before a call reaches its service: the request is a gRPC call, the address serves the method, and there is
//! room for a stream without an end.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::inference::grpc_inference_service_server::SERVICE_NAME;
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::open_connection::RunningState;
use crate::serve::part::Part;
use crate::serve::refusal::{RefusalFormat, is_grpc};
use crate::serve::stream_limit::StreamLimit;

/// The methods of the inference service at a separate address of administration. HTTP has the same there.
const ADMINISTRATION: [&str; 5] =
    ["ServerLive", "ServerReady", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"];

/// The methods whose streams have no end.
const STREAMS: [&str; 3] = ["/ModelStreamInfer", "/ServerReflectionInfo", "/Watch"];

/// The state of a request that is a stream without an end.
fn stream(request: &Request) -> Option<&Arc<RunningState>> {
    let is_stream = STREAMS.iter().any(|stream| request.uri().path().ends_with(stream));
    request.extensions().get().filter(|_| is_stream)
}

/// Passes a call on, or refuses it.
pub(super) async fn check(
    State((part, streams)): State<(Part, Arc<StreamLimit>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let slot = accept(&request, part).and_then(|()| match stream(&request) {
        None => Ok(None),
        Some(running) => streams.enter(running).map(Some),
    });
    let error = match slot {
        Ok(slot) => {
            if let Some(slot) = slot {
                request.extensions_mut().insert(Arc::new(slot));
            }
            return next.run(request).await;
        }
        Err(error) => error,
    };
    let mut reply = RefusalFormat::for_request(&request).refuse(error);
    if reply.status() == StatusCode::METHOD_NOT_ALLOWED {
        reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    reply
}

fn accept(request: &Request, part: Part) -> Result<(), ServeError> {
    if request.method() != Method::POST {
        let detail = "a call of gRPC is a POST request; GET /openapi.json lists the routes of HTTP";
        return Err(ServeError::new(ErrorKind::MethodNotAllowed, detail));
    }
    if !is_grpc(request.headers()) {
        let detail = "a call of gRPC has the content type `application/grpc`";
        return Err(ServeError::new(ErrorKind::UnsupportedEncoding, detail));
    }
    let method = request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE_NAME));
    let method = method.and_then(|method| method.strip_prefix('/'));
    match method {
        Some(method) if !part.serves_callers() && !ADMINISTRATION.contains(&method) => {
            let detail = "this is the address of administration (`[admin] listen`); models have another one";
            Err(ServeError::new(ErrorKind::MethodNotAllowed, detail))
        }
        _ => Ok(()),
    }
}
