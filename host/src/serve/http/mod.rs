//! The routes of HTTP.
//!
//! | route | what |
//! | --- | --- |
//! | `POST /v1/pipelines/{pipeline}/infer` | one request: `infer.rs` |
//! | `GET /v1/pipelines`, `/v1/plugins[/{name}]` | what is served |
//! | `PUT`, `DELETE /v1/plugins/{name}`, `POST /v1/plugins/{name}/rollback` | changes of it: `admin.rs` |
//! | `GET /v1/memory`, `/v1/memory/compare` | what requests needed, and why: `memory.rs` |
//! | `/v2…` | the Open Inference Protocol: `oip/`; over gRPC on the same port: `crate::serve::grpc` |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /openapi.json` | the OpenAPI document: `openapi.rs` |

pub mod admin;
mod body;
mod infer;
mod memory;
mod oip;
mod openapi;
mod router;

pub use router::router;
