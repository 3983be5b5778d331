//! The HTTP routes.
//!
//! | route | purpose |
//! | --- | --- |
//! | `POST /v1/pipelines/{pipeline}/infer` | run one request: `infer.rs` |
//! | `GET /v1/pipelines`, `/v1/models`, `/v1/plugins[/{name}]` | list what is served: `pipelines.rs`, `models.rs`, `admin.rs` |
//! | `PUT`, `DELETE /v1/plugins/{name}`, `POST /v1/plugins/{name}/rollback` | deploy, retire, roll back: `admin.rs` |
//! | `GET /v1/memory`, `/v1/memory/series`, `/v1/memory/compare` | report the memory use of requests: `memory.rs` |
//! | `GET /v1/fleet` | the canaries, for the other servers of a fleet: `fleet.rs` |
//! | `GET /v1/config` | the configuration in force: `config.rs` |
//! | `GET /v1/leaks[/{name}/{file}]` | reports of the leak laboratory: `leaks.rs` |
//! | `GET /v1/requests` | the latest requests: `requests.rs` |
//! | `GET /v1/recordings[/{id}]` | recorded inputs: `recordings.rs` |
//! | `GET /`, `/console/{file}` | the console: `console.rs` |
//! | `GET /v1/chips/compare` | compare the outputs of shadow chips: `chips.rs` |
//! | `/v2…` | the Open Inference Protocol: `oip/` (over gRPC on the same port: `crate::serve::grpc`) |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /openapi.json` | the OpenAPI document: `openapi.rs` |

pub mod admin;
mod body;
mod chips;
mod config;
mod console;
mod disposition;
mod encoding;
mod fleet;
mod foreign;
mod form;
mod infer;
mod leaks;
mod memory;
mod models;
mod oip;
mod openapi;
mod parameters;
mod pipelines;
mod recordings;
mod requests;
mod router;
mod work;

pub(super) use oip::error::error_reply;
pub use router::router;

/// Reads the body of an inference request of the Open Inference Protocol: `header` bytes of JSON, or only JSON, with
/// at most `limit` bytes of tensors. For the fuzzing target `oip`.
///
/// # Errors
/// If the body is not a request.
#[cfg(fuzzing)]
pub fn read_oip_body(
    body: bytes::Bytes,
    header: Option<usize>,
    limit: u64,
) -> Result<super::oip::request::Request, super::error::ServeError> {
    oip::read_body(body, header, limit)
}
