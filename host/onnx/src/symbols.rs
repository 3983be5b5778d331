//! Makes the shapes in a file harmless. The engine trusts them: it assumes that dimensions with the same name are
//! equal, and that declared sizes are right. ONNX guarantees neither, and a request may have other sizes.

use std::collections::HashSet;

use rten_onnx::onnx::{GraphProto, ValueInfoProto};

/// Gives each dimension of an input that the file does not fix its own name, and removes the shapes of all other values;
/// the engine derives them from the inputs.
pub(crate) fn separate(graph: &mut GraphProto) {
    let fixed: HashSet<String> = graph.initializer.iter().filter_map(|constant| constant.name.clone()).collect();
    let mut names = HashSet::new();
    for input in &mut graph.input {
        if input.name.as_ref().is_none_or(|name| !fixed.contains(name)) {
            rename(input, &mut names);
        }
    }
    remove_inner(graph, true);
}

fn rename(input: &mut ValueInfoProto, names: &mut HashSet<String>) {
    let name = input.name.clone().unwrap_or_default();
    let tensor = input.r#type.as_mut().and_then(|ty| ty.tensor_type.as_mut());
    let Some(shape) = tensor.and_then(|tensor| tensor.shape.as_mut()) else { return };
    for (axis, size) in shape.dim.iter_mut().enumerate() {
        if size.dim_value.is_some_and(|size| size >= 0) {
            continue;
        }
        size.dim_value = None;
        let mut symbol = size.dim_param.clone().unwrap_or_default();
        while symbol.is_empty() || !names.insert(symbol.clone()) {
            symbol = format!("{symbol}{}{name}.{axis}", if symbol.is_empty() { "" } else { "." });
        }
        size.dim_param = Some(symbol);
    }
}

fn remove_inner(graph: &mut GraphProto, is_main: bool) {
    graph.value_info.clear();
    graph.output.iter_mut().for_each(remove_shape);
    if !is_main {
        graph.input.iter_mut().for_each(remove_shape);
    }
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    attributes.filter_map(|attribute| attribute.g.as_mut()).for_each(|subgraph| remove_inner(subgraph, false));
}

fn remove_shape(value: &mut ValueInfoProto) {
    if let Some(tensor) = value.r#type.as_mut().and_then(|ty| ty.tensor_type.as_mut()) {
        tensor.shape = None;
    }
}
