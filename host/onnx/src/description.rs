//! What an ONNX file says about itself: inputs, outputs and metadata. For tools that configure a model.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rten_onnx::onnx::{DataType, GraphProto, ModelProto, NodeProto, StringStringEntryProto, ValueInfoProto};

use crate::well_formed::parse_model;

/// Inputs, outputs and metadata of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The inputs without a default value, in order.
    pub inputs: Vec<ValueDescription>,
    /// The outputs, in order.
    pub outputs: Vec<ValueDescription>,
    /// The program that wrote the file (`producer_name`); empty if the file does not name it.
    pub producer: String,
    /// `metadata_props`, in which some exporters store class names and sizes.
    pub metadata: BTreeMap<String, String>,
    /// The operators of the graph, without those of its subgraphs.
    pub operators: BTreeSet<String>,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueDescription {
    /// The name.
    pub name: String,
    /// The element type in ONNX's words, for example `FLOAT`; `None` if it is not declared or unknown.
    pub element: Option<&'static str>,
    /// The sizes of the dimensions, `None` for a dynamic one; `None` as a whole if no shape is declared.
    pub shape: Option<Vec<Option<u64>>>,
    /// The operator that computes an output, without operators that only change its shape; `None` for inputs.
    pub operator: Option<String>,
}

/// Describes a model. Returns `None` for bytes that are not an ONNX model.
#[must_use]
pub fn describe(model: &[u8]) -> Option<Description> {
    let ModelProto { graph, producer_name, metadata_props, .. } = parse_model(model)?;
    let graph = graph?;
    let constants: HashSet<_> = graph.initializer.iter().filter_map(|constant| constant.name.as_deref()).collect();
    let is_input = |input: &&ValueInfoProto| !constants.contains(input.name.as_deref().unwrap_or_default());
    let entry = |entry: StringStringEntryProto| Some((entry.key?, entry.value?));
    let sources = sources(&graph);
    Some(Description {
        inputs: graph.input.iter().filter(is_input).map(|input| value(input, None)).collect(),
        outputs: graph.output.iter().map(|output| value(output, Some(&sources))).collect(),
        producer: producer_name.unwrap_or_default(),
        metadata: metadata_props.into_iter().filter_map(entry).collect(),
        operators: graph.node.iter().filter_map(|node| node.op_type.clone()).collect(),
    })
}

/// The node that computes each value.
fn sources(graph: &GraphProto) -> HashMap<&str, &NodeProto> {
    graph.node.iter().flat_map(|node| node.output.iter().map(move |output| (output.as_str(), node))).collect()
}

fn value(info: &ValueInfoProto, sources: Option<&HashMap<&str, &NodeProto>>) -> ValueDescription {
    let name = info.name.clone().unwrap_or_default();
    let tensor = info.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref());
    let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
    let size = |size: Option<i64>| size.and_then(|size| u64::try_from(size).ok());
    ValueDescription {
        element: tensor.and_then(|tensor| tensor.elem_type).and_then(element),
        shape: shape.map(|shape| shape.dim.iter().map(|dimension| size(dimension.dim_value)).collect()),
        operator: sources.and_then(|sources| operator(&name, sources)),
        name,
    }
}

fn operator(output: &str, sources: &HashMap<&str, &NodeProto>) -> Option<String> {
    let mut name = output;
    // A graph that is not valid may have a circle.
    for _ in 0..=sources.len() {
        let node = sources.get(name)?;
        let operator = node.op_type.as_deref()?;
        if !["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast"].contains(&operator) {
            return Some(operator.to_owned());
        }
        name = node.input.first()?;
    }
    None
}

/// The name of an element type; `None` for one that tensors of requests cannot have.
pub(crate) fn element(ty: DataType) -> Option<&'static str> {
    const NAMES: [(DataType, &str); 13] = [
        (DataType::FLOAT, "FLOAT"),
        (DataType::FLOAT16, "FLOAT16"),
        (DataType::BFLOAT16, "BFLOAT16"),
        (DataType::DOUBLE, "DOUBLE"),
        (DataType::INT8, "INT8"),
        (DataType::INT16, "INT16"),
        (DataType::INT32, "INT32"),
        (DataType::INT64, "INT64"),
        (DataType::UINT8, "UINT8"),
        (DataType::UINT16, "UINT16"),
        (DataType::UINT32, "UINT32"),
        (DataType::UINT64, "UINT64"),
        (DataType::BOOL, "BOOL"),
    ];
    NAMES.iter().find(|(known, _)| *known == ty).map(|(_, name)| *name)
}
