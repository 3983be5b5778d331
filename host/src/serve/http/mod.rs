//! The HTTP routes.
//!
//! | route | purpose |
//! | --- | --- |
//! | `POST /v1/pipelines/{pipeline}/infer` | run one request: `infer.rs` |
//! | `GET /v1/pipelines`, `/v1/plugins[/{name}]` | list what is served |
//! | `PUT`, `DELETE /v1/plugins/{name}`, `POST /v1/plugins/{name}/rollback` | deploy, retire, roll back: `admin.rs` |
//! | `GET /v1/memory`, `/v1/memory/compare` | report the memory use of requests: `memory.rs` |
//! | `/v2…` | the Open Inference Protocol: `oip/` (over gRPC on the same port: `crate::serve::grpc`) |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /openapi.json` | the OpenAPI document: `openapi.rs` |

pub mod admin;
mod body;
mod encoding;
mod form;
mod infer;
mod memory;
mod oip;
mod openapi;
mod parameters;
mod router;

pub(super) use oip::error::error_reply;
pub use router::router;
