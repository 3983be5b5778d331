//! Answers a request whose handler panicked with status 500, and counts it. Without this, the connection would end
//! without a reply.

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::Response;
use plimsoll_runtime::panics::catch;

use super::error::{ErrorKind, ServeError};
use super::refusal::RefusalFormat;
use crate::records::Records;

/// The message for the caller. The reason is only in the log.
const DETAIL: &str = "the server failed because of an error in its own code; its log has the reason";

/// Catches the panics of handlers.
#[derive(Clone)]
pub(super) struct HandlerPanics(Arc<Records>);

impl HandlerPanics {
    pub(super) fn new(records: &Arc<Records>) -> Self {
        Self(Arc::clone(records))
    }

    /// Completes with the reply, or with an error in the format of the request if the handler panics.
    pub(super) async fn reply(
        self,
        format: &RefusalFormat,
        reply: impl Future<Output = Result<Response, Infallible>>,
    ) -> Result<Response, Infallible> {
        self.catch(format.path(), reply).await.unwrap_or_else(|error| Ok(format.refuse(error)))
    }

    /// Completes with the output of a handler, or with an error if the handler panics.
    pub(super) async fn catch<T>(&self, path: &str, handler: impl Future<Output = T>) -> Result<T, ServeError> {
        catch(handler).await.map_err(|_panic| {
            self.0.metrics.record_handler_panic();
            tracing::error!(?path, "a request is answered with 500, because its handler panicked");
            ServeError::new(ErrorKind::Internal, DETAIL)
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, header};
    use http_body_util::BodyExt;

    use super::*;
    use crate::records::metrics::Buckets;

    async fn ask(path: &str, content_type: &str, panics: bool) -> (Arc<Records>, Response) {
        let records = Arc::new(Records::new("x-caller", 1, Buckets::Fine));
        let request = Request::post(path).header(header::CONTENT_TYPE, content_type).body(()).expect("a request");
        let handler = async move {
            tokio::task::yield_now().await;
            assert!(!panics, "the handler panics");
            Ok(Response::new(Body::from("fine")))
        };
        let reply = HandlerPanics::new(&records).reply(&RefusalFormat::for_request(&request), handler).await;
        (records, reply.unwrap_or_else(|never| match never {}))
    }

    async fn text(reply: Response) -> String {
        let body = reply.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8(body.to_vec()).expect("text")
    }

    fn count(records: &Records) -> String {
        let text = records.metrics.encode(&crate::base::process::process_memory(), None);
        let value = text.lines().find_map(|line| line.strip_prefix("plimsoll_handler_panics_total "));
        value.expect("a counter").to_owned()
    }

    #[tokio::test]
    async fn a_panic_is_answered_in_the_format_of_the_request_and_counted() {
        let (records, reply) = ask("/v1/pipelines/p/infer", "image/jpeg", true).await;
        assert_eq!((reply.status().as_u16(), count(&records).as_str()), (500, "1"));
        assert_eq!(reply.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = text(reply).await;
        assert!(body.contains(r#""code":"internal""#) && !body.contains("the handler panics"), "{body}");

        let (_, reply) = ask("/v2/models/p/infer", "application/json", true).await;
        assert_eq!(reply.status().as_u16(), 500);
        assert!(text(reply).await.contains(r#""error":"the server failed"#));

        let (_, reply) = ask("/inference.GRPCInferenceService/ModelInfer", "application/grpc+proto", true).await;
        assert_eq!((reply.status().as_u16(), reply.headers()["grpc-status"].as_bytes()), (200, &b"13"[..]));
    }

    #[tokio::test]
    async fn other_replies_are_passed_on() {
        let (records, reply) = ask("/v2", "", false).await;
        assert_eq!((reply.status().as_u16(), count(&records).as_str()), (200, "0"));
        assert_eq!(text(reply).await, "fine");
    }
}
