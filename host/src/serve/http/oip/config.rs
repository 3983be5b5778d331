//! The protocol's model configuration extension, as Triton has it. Its clients and tools ask it for the batch size and
//! the types of tensors.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::OipError;
use super::path::{ModelPath, model_path};
use super::schema::ProtocolError;
use crate::serve::App;
use crate::serve::http::parameters::NoParameters;
use crate::serve::oip::SERVER_NAME;
use crate::serve::oip::model::{Model, ModelMetadata, TensorMetadata};

/// The configuration of a model.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::serve::http) struct ModelConfig {
    name: String,
    platform: &'static str,
    backend: &'static str,
    /// Always 0: the shapes of inputs and outputs have all their dimensions, including that of the batch.
    max_batch_size: u32,
    input: Vec<TensorConfig>,
    output: Vec<TensorConfig>,
}

/// Name, type and shape of an input or output.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::serve::http) struct TensorConfig {
    name: String,
    /// The type of its elements, as `TYPE_FP32`.
    data_type: String,
    /// Sizes of the dimensions; -1 means that any size is accepted.
    dims: Vec<i64>,
}

impl From<TensorMetadata> for TensorConfig {
    fn from(tensor: TensorMetadata) -> Self {
        let name_of_type = match tensor.datatype {
            "BYTES" => "STRING",
            // The name that the protocol has for a type that is not known.
            "" => "INVALID",
            other => other,
        };
        Self { name: tensor.name, data_type: format!("TYPE_{name_of_type}"), dims: tensor.shape }
    }
}

/// Returns the configuration of a model.
#[utoipa::path(get, path = "/v2/models/{model}/config", operation_id = "model_config", tag = "inference",
               params(("model" = String, Path, description = "A pipeline, or `<pipeline>.infer`")),
               responses((status = 200, description = "The types and shapes of its tensors", body = ModelConfig),
                         (status = "4XX", description = "There is no such model", body = ProtocolError)))]
pub(in crate::serve::http) async fn model(
    State(app): State<Arc<App>>,
    path: Result<Path<ModelPath>, PathRejection>,
    _: NoParameters,
) -> Result<Json<ModelConfig>, OipError> {
    let ModelPath { model, version } = model_path(path)?;
    let ModelMetadata { name, platform, inputs, outputs, .. } =
        Model::lookup(&app, &model, version.as_deref())?.metadata(&app);
    let tensors = |tensors: Vec<TensorMetadata>| tensors.into_iter().map(TensorConfig::from).collect();
    Ok(Json(ModelConfig {
        name,
        platform,
        backend: SERVER_NAME,
        max_batch_size: 0,
        input: tensors(inputs),
        output: tensors(outputs),
    }))
}
