//! Checks what everything after it relies on: nodes have their inputs and outputs, names stand for one value, constants have
//! as many numbers as their dimensions say, and sizes stay in a range in which sums and products of a few of them are exact.

mod attributes;
mod definitions;
mod n_grams;
mod numbers;
mod windows;

use std::cell::RefCell;

use rten_onnx::onnx::{DataType, GraphProto, NodeProto, TensorProto, ValueInfoProto};

use crate::arity;
use crate::node::{self, Attributes};
use crate::rejected::Rejected;
use crate::tensor;
use crate::types::MOST_DIMENSIONS;
pub(crate) use definitions::check_sparse;

/// Attributes with sizes, distances, counts and axes. A number that needs more than 32 bits cannot be intended.
const SMALL: &[&str] = &[
    "axes",
    "axis",
    "batch_axis",
    "batch_dims",
    "block_size",
    "blocksize",
    "dilations",
    "group",
    "hidden_size",
    "kernel_shape",
    "kv_num_heads",
    "num_heads",
    "num_outputs",
    "output_padding",
    "output_shape",
    "pads",
    "q_num_heads",
    "strides",
    "time_axis",
];

/// Checks the main graph of a model, or the body of a function: all nodes, constants and declared shapes, also in its
/// subgraphs. `opset` is the version of the standard operator set.
///
/// # Errors
/// If one of them is not valid; the error names the first.
pub(crate) fn check(graph: &GraphProto, opset: i64) -> Result<(), Rejected> {
    definitions::check_outputs(graph)?;
    check_graph(graph, opset)
}

fn check_graph(graph: &GraphProto, opset: i64) -> Result<(), Rejected> {
    for value in graph.input.iter().chain(&graph.output).chain(&graph.value_info) {
        check_shape(value)?;
    }
    for constant in &graph.initializer {
        check_tensor(constant.name.as_deref().unwrap_or_default(), constant)?;
    }
    definitions::check_names(graph)?;
    definitions::check_order(graph)?;
    for node in &graph.node {
        arity::check(node, opset)?;
        let name = node::title(node);
        attributes::check(node)?;
        check_small(node, name)?;
        n_grams::check(node)?;
        numbers::check(node)?;
        windows::check(node)?;
        for attribute in &node.attribute {
            attribute.t.as_ref().map_or(Ok(()), |constant| check_tensor(name, constant))?;
            attribute.g.as_ref().map_or(Ok(()), |body| check_graph(body, opset))?;
        }
    }
    Ok(())
}

fn check_shape(value: &ValueInfoProto) -> Result<(), Rejected> {
    let tensor = value.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref());
    let Some(shape) = tensor.and_then(|tensor| tensor.shape.as_ref()) else { return Ok(()) };
    if shape.dim.len() > MOST_DIMENSIONS {
        return Err(Rejected::model(format!(
            "the shape of `{}` has {}: export the model again",
            value.name.as_deref().unwrap_or_default(),
            too_many(shape.dim.len())
        )));
    }
    match shape.dim.iter().filter_map(|size| size.dim_value).find(|&size| size > i64::from(i32::MAX)) {
        Some(size) => Err(Rejected::model(format!(
            "the shape of `{}` has a dimension of {size}, which no tensor can have: export the model again",
            value.name.as_deref().unwrap_or_default()
        ))),
        None => Ok(()),
    }
}

/// Says that there are more dimensions than are supported. What follows from a value has as many again at each node.
fn too_many(dimensions: usize) -> String {
    format!("{dimensions} dimensions, and at most {MOST_DIMENSIONS} are supported")
}

fn check_small(node: &NodeProto, name: &str) -> Result<(), Rejected> {
    for attribute in SMALL {
        let mut numbers = node.ints(attribute).unwrap_or_default().iter().copied().chain(node.int(attribute));
        if let Some(number) = numbers.find(|&number| i32::try_from(number).is_err()) {
            let operator = node.op_type.as_deref().unwrap_or_default();
            return Err(Rejected::model(format!(
                "node `{name}` ({operator}): `{attribute}` contains {number}, which is too large: export the model again"
            )));
        }
    }
    Ok(())
}

/// Compares the dimensions of a constant with the numbers that the model stores for it.
fn check_tensor(name: &str, constant: &TensorProto) -> Result<(), Rejected> {
    let invalid = |why: String| Err(Rejected::model(format!("tensor `{name}`: {why}: export the model again")));
    let size = |dims: &[i64]| {
        dims.iter().try_fold(1_i64, |product, &size| if size < 0 { None } else { product.checked_mul(size) })
    };
    let dims = &constant.dims;
    if dims.len() > MOST_DIMENSIONS {
        return invalid(format!("it has {}", too_many(dims.len())));
    }
    let Some(elements) = size(dims).filter(|_| dims.iter().all(|&size| size <= i64::from(i32::MAX))) else {
        return invalid(format!("its dimensions {dims:?} are no shape"));
    };
    match stored(constant) {
        Some(stored) if i64::try_from(stored) != Ok(elements) => {
            invalid(format!("its dimensions {dims:?} need {elements} elements, but it has {stored}"))
        }
        _ => Ok(()),
    }
}

/// The number of elements that a constant has in the model; `None` if they are in another file, or of a type that packs
/// them.
fn stored(constant: &TensorProto) -> Option<usize> {
    if tensor::is_external(constant) {
        return None;
    }
    let bytes = match constant.data_type? {
        DataType::FLOAT | DataType::INT32 | DataType::UINT32 => 4,
        DataType::DOUBLE | DataType::INT64 | DataType::UINT64 => 8,
        DataType::INT8 | DataType::UINT8 | DataType::BOOL => 1,
        DataType::FLOAT16 | DataType::BFLOAT16 | DataType::INT16 | DataType::UINT16 => 2,
        _ => return None,
    };
    if let Some(raw) = constant.raw_data.as_ref().map(RefCell::borrow) {
        // A remainder counts as one more element, so that it is noticed.
        return Some(raw.len().div_ceil(bytes));
    }
    Some(match constant.data_type? {
        DataType::FLOAT => constant.float_data.len(),
        DataType::DOUBLE => constant.double_data.len(),
        DataType::INT64 => constant.int64_data.len(),
        // The parser does not keep these.
        DataType::UINT32 | DataType::UINT64 => return None,
        _ => constant.int32_data.len(),
    })
}
