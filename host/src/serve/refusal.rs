//! The format in which a request is refused. It is stored before the handler takes the request, and used if the
//! handler's reply cannot be sent.

use axum::body::Body;
use axum::http::{HeaderMap, Request, Uri, header};
use axum::response::Response;

use super::error::ServeError;
use super::http::error_reply;

/// The path and the protocol of a request, which decide the format of its errors.
pub(super) struct RefusalFormat {
    uri: Uri,
    is_grpc: bool,
}

impl RefusalFormat {
    pub(super) fn for_request<B>(request: &Request<B>) -> Self {
        Self { uri: request.uri().clone(), is_grpc: is_grpc(request.headers()) }
    }

    /// The path of the request.
    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    /// The reply to the request if it is refused: a status of gRPC, the protocol's format below `/v2`, a problem elsewhere.
    pub(super) fn refuse(&self, error: ServeError) -> Response {
        match self.is_grpc {
            true => super::grpc::status(&error).into_http::<Body>(),
            false => error_reply(self.path(), error),
        }
    }
}

/// Returns true if the content type is that of gRPC: `application/grpc`, also with a format after `+` or with parameters.
/// gRPC-Web is another protocol.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let rest = headers.get(header::CONTENT_TYPE).and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}
