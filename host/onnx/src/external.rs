//! Tensors that are stored in files next to the model, as PyTorch's exporter writes them (`model.onnx.data`; ONNX,
//! "External Data").

use std::collections::BTreeSet;
use std::path::{Component, Path};

use rten_onnx::onnx::{GraphProto, TensorProto};

use crate::tensor;
use crate::well_formed::parse_model;

/// A file that a model names is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExternalError {
    /// The tensor does not say in which file it is.
    #[error("tensor `{0}` has external data without a location: export the model again")]
    NoLocation(String),
    /// The file is not in the folder of the model.
    #[error(
        "the model reads `{0}`, which is not a path inside the model's folder: store the weights next to the model \
         (`onnx.save_model` with a relative `location`)"
    )]
    Outside(String),
}

/// The files next to the model that contain its tensors: paths relative to the model's folder, each once. Empty for
/// bytes that are not an ONNX model.
///
/// # Errors
/// If a path is absolute or leaves the folder.
pub fn external_files(model: &[u8]) -> Result<Vec<String>, ExternalError> {
    let Some(model) = parse_model(model) else { return Ok(Vec::new()) };
    let mut files = BTreeSet::new();
    if let Some(graph) = &model.graph {
        collect(graph, &mut files)?;
    }
    Ok(files.into_iter().collect())
}

fn collect(graph: &GraphProto, files: &mut BTreeSet<String>) -> Result<(), ExternalError> {
    for constant in &graph.initializer {
        collect_tensor(constant, files)?;
    }
    for attribute in graph.node.iter().flat_map(|node| &node.attribute) {
        if let Some(constant) = &attribute.t {
            collect_tensor(constant, files)?;
        }
        if let Some(graph) = &attribute.g {
            collect(graph, files)?;
        }
    }
    Ok(())
}

fn collect_tensor(constant: &TensorProto, files: &mut BTreeSet<String>) -> Result<(), ExternalError> {
    if !tensor::is_external(constant) {
        return Ok(());
    }
    let location = constant.external_data.iter().find(|entry| entry.key.as_deref() == Some("location"));
    let Some(location) = location.and_then(|entry| entry.value.as_deref()) else {
        return Err(ExternalError::NoLocation(constant.name.clone().unwrap_or_default()));
    };
    // Backslashes separate folders on Windows, where the model may have been written or may be read.
    let is_inside = !location.is_empty()
        && !location.contains('\\')
        && Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !is_inside {
        return Err(ExternalError::Outside(location.to_owned()));
    }
    files.insert(location.to_owned());
    Ok(())
}
