//! Brings the weights in other files to a form that the rules and the engine can read: small ones and those that the engine
//! must convert become part of the model, the others get a file name, an offset and a length that the engine accepts.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::{DataLocation, DataType, GraphProto, ModelProto, StringStringEntryProto, TensorProto};

use crate::rejected::Rejected;
use crate::tensor;

/// Weights of at most this many bytes become part of the model, so that the rules see them.
const INLINED: usize = 4_096;

/// A file with weights: its path as the model names it, and its bytes.
pub type File<'a> = (&'a str, &'a [u8]);

/// The names of weights in other files that contain NaN, and infinities.
#[derive(Default)]
pub(crate) struct Special {
    pub(crate) nan: HashSet<String>,
    pub(crate) infinite: HashSet<String>,
}

/// The name of a file for the engine, which accepts few names.
pub(crate) fn engine_name(index: usize) -> String {
    format!("{index}.data")
}

/// Finds the weights of all graphs in the files.
pub(crate) fn resolve(model: &mut ModelProto, files: &[File]) -> Result<Special, Rejected> {
    let places: HashMap<&str, (usize, &[u8])> =
        files.iter().enumerate().map(|(index, &(path, bytes))| (path, (index, bytes))).collect();
    let mut special = Special::default();
    if let Some(graph) = &mut model.graph {
        resolve_graph(graph, &places, &mut special)?;
    }
    Ok(special)
}

fn resolve_graph(
    graph: &mut GraphProto,
    files: &HashMap<&str, (usize, &[u8])>,
    special: &mut Special,
) -> Result<(), Rejected> {
    for constant in &mut graph.initializer {
        resolve_tensor(constant, files, special, false)?;
    }
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        if let Some(constant) = &mut attribute.t {
            resolve_tensor(constant, files, special, true)?;
        }
        if let Some(graph) = &mut attribute.g {
            resolve_graph(graph, files, special)?;
        }
    }
    Ok(())
}

fn resolve_tensor(
    constant: &mut TensorProto,
    files: &HashMap<&str, (usize, &[u8])>,
    special: &mut Special,
    is_attribute: bool,
) -> Result<(), Rejected> {
    if !tensor::is_external(constant) {
        return Ok(());
    }
    let name = constant.name.clone().unwrap_or_default();
    let rejected =
        |why: String| Rejected::model(format!("tensor `{name}`: {why}; store the weights again (`onnx.save_model`)"));
    let entry = |key: &str| {
        let found = constant.external_data.iter().find(|entry| entry.key.as_deref() == Some(key));
        found.and_then(|entry| entry.value.as_deref())
    };
    let number = |key: &str| {
        let parsed = entry(key).map(|text| text.parse::<usize>());
        parsed.transpose().map_err(|_| rejected(format!("its {key} in the file is not a number")))
    };
    let location = entry("location").unwrap_or_default();
    let Some(&(index, bytes)) = files.get(location) else {
        return Err(rejected(format!("its file `{location}` was not read")));
    };
    let Some(length) = length(constant) else {
        return Err(rejected("its element type or its shape is not supported in a file".into()));
    };
    let (offset, stated) = (number("offset")?.unwrap_or(0), number("length")?);
    if stated.is_some_and(|stated| stated != length) {
        let stated = stated.unwrap_or_default();
        return Err(rejected(format!("it needs {length} bytes, and the model states {stated} bytes in `{location}`")));
    }
    let Some(data) = offset.checked_add(length).and_then(|end| bytes.get(offset..end)) else {
        let size = bytes.len();
        return Err(rejected(format!(
            "it needs {length} bytes at {offset} in the file `{location}`, which has {size} bytes"
        )));
    };
    let is_direct =
        matches!(constant.data_type, Some(DataType::FLOAT | DataType::FLOAT16 | DataType::INT8 | DataType::UINT8));
    if is_attribute || !is_direct || length <= INLINED || offset % align_of::<f32>() != 0 {
        constant.raw_data = Some(RefCell::new(data.to_vec()));
        constant.data_location = None;
        constant.external_data.clear();
        return Ok(());
    }
    if tensor::bytes_contain(constant.data_type, data, f32::is_nan) {
        special.nan.insert(name.clone());
    }
    if tensor::bytes_contain(constant.data_type, data, f32::is_infinite) {
        special.infinite.insert(name);
    }
    let entries = [("location", engine_name(index)), ("offset", offset.to_string()), ("length", length.to_string())];
    constant.external_data = entries
        .into_iter()
        .map(|(key, value)| StringStringEntryProto { key: Some(key.into()), value: Some(value) })
        .collect();
    constant.data_location = Some(DataLocation::EXTERNAL);
    Ok(())
}

/// The number of bytes that a tensor needs.
fn length(constant: &TensorProto) -> Option<usize> {
    let size = match constant.data_type? {
        DataType::BOOL | DataType::INT8 | DataType::UINT8 => 1,
        DataType::FLOAT16 => 2,
        DataType::FLOAT | DataType::INT32 => 4,
        DataType::DOUBLE | DataType::INT64 => 8,
        _ => return None,
    };
    constant.dims.iter().try_fold(size, |length: usize, &count| length.checked_mul(usize::try_from(count).ok()?))
}
