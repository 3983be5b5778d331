//! The constants of a model, of which an estimate needs the shapes and the elements of short lists.

use std::collections::HashMap;

use rten_onnx::onnx::{AttributeProto, GraphProto, TensorProto};

use super::value::{KEPT_ELEMENTS, Value};
use crate::tensor;

/// The constants of a graph, by name.
pub(super) fn of_graph(graph: &GraphProto) -> HashMap<String, Value> {
    let named = |constant: &TensorProto| (constant.name.clone().unwrap_or_default(), of_constant(constant));
    graph.initializer.iter().map(named).collect()
}

/// A constant of the file. The elements of small ones are kept, because they can be sizes.
pub(super) fn of_constant(constant: &TensorProto) -> Value {
    let mut value = Value::of_dims(constant.dims.clone());
    if value.count().is_some_and(|count| count <= KEPT_ELEMENTS) {
        #[expect(clippy::cast_precision_loss, reason = "larger numbers than 2^53 are no sizes")]
        let whole = tensor::integers(constant).map(|numbers| numbers.iter().map(|&it| it as f64).collect());
        value.is_whole = whole.is_some();
        value.elements = whole.or_else(|| tensor::floats(constant));
    }
    value
}

/// Removes large constants, so that what is kept for each model is small.
pub(super) fn remove_weights(graph: &mut GraphProto) {
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        if let Some(constant) = &mut attribute.t
            && of_constant(constant).elements.is_none()
        {
            *constant = TensorProto { dims: std::mem::take(&mut constant.dims), ..TensorProto::default() };
        }
        if let Some(body) = &mut attribute.g {
            for constant in &mut body.initializer {
                if of_constant(constant).elements.is_none() {
                    let (name, dims) = (constant.name.take(), std::mem::take(&mut constant.dims));
                    *constant = TensorProto { name, dims, ..TensorProto::default() };
                }
            }
            remove_weights(body);
        }
    }
}

/// The tensor of a `Constant` node.
pub(super) fn of_attribute(attribute: &AttributeProto) -> Option<Value> {
    attribute.t.as_ref().map(of_constant)
}
