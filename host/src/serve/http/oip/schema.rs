//! The schemas of requests, responses and errors below `/v2`, for the OpenAPI document.

use utoipa::ToSchema;

/// A request of the Open Inference Protocol.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used; `oip/json.rs` reads it")]
pub(in crate::serve::http) struct InferenceRequest {
    /// Returned in the response.
    id: Option<String>,
    /// `chip`, `timeout` (µs), `partial`, `binary_data_output`; all others are passed to the stages.
    #[schema(value_type = Option<Object>)]
    parameters: Option<()>,
    /// For a pipeline: one input, `image`, of datatype BYTES.
    inputs: Vec<InferenceInput>,
    /// The requested outputs; default all.
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
    /// The elements, in one list or in nested lists.
    #[schema(value_type = Option<Vec<Object>>)]
    data: Option<()>,
}

/// An output that the request asks for.
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
pub(in crate::serve::http) struct InferenceResponse {
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
pub(in crate::serve::http) struct ProtocolError {
    /// The message. Clients of the protocol read only this member.
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
