//! The parts of models: values, constants, nodes and attributes.

use rten::{ModelOptions, Value, ValueOrView};
use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};

/// A value without a type.
pub(crate) fn value(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.into()), ..ValueInfoProto::default() }
}

/// A value of a type with these sizes; `None` is dynamic.
pub(crate) fn shaped(name: &str, ty: DataType, sizes: &[Option<i64>]) -> ValueInfoProto {
    let dim = sizes.iter().map(|&size| Dimension { dim_value: size, ..Dimension::default() }).collect();
    let tensor = TypeProtoTensor { elem_type: Some(ty), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { tensor_type: Some(tensor), ..TypeProto::default() }),
    }
}

/// A value of a type with dynamic sizes.
pub(crate) fn input(name: &str, ty: DataType, rank: usize) -> ValueInfoProto {
    shaped(name, ty, &vec![None; rank])
}

/// A node; the operator may have a domain in front: `com.microsoft:Gelu`.
pub(crate) fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let (domain, operator) = match operator.split_once(':') {
        Some((domain, operator)) => (Some(domain.to_owned()), operator),
        None => (None, operator),
    };
    NodeProto {
        domain,
        op_type: Some(operator.into()),
        input: names(inputs),
        output: names(outputs),
        ..NodeProto::default()
    }
}

/// A node with integers as attributes, whose name is `node_` and the first output.
pub(crate) fn named(operator: &str, inputs: &[&str], outputs: &[&str], ints: &[(&str, i64)]) -> NodeProto {
    let attribute = ints.iter().map(|&(name, value)| int(name, value)).collect();
    NodeProto { name: Some(format!("node_{}", outputs[0])), attribute, ..node(operator, inputs, outputs) }
}

pub(crate) trait With {
    /// Adds an attribute.
    fn with(self, attribute: AttributeProto) -> Self;
}

impl With for NodeProto {
    fn with(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }
}

fn attribute(name: &str, ty: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.into()), r#type: Some(ty), ..AttributeProto::default() }
}

pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::INT) }
}

pub(crate) fn list(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::INTS) }
}

pub(crate) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.into()), ..attribute(name, AttributeType::STRING) }
}

pub(crate) fn body(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(graph), ..attribute(name, AttributeType::GRAPH) }
}

/// A constant of INT64.
pub(crate) fn ints(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(DataType::INT64),
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

/// A constant of FLOAT.
pub(crate) fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(DataType::FLOAT),
        float_data: values.to_vec(),
        ..TensorProto::default()
    }
}

/// A graph whose inputs and outputs have no types.
pub(crate) fn graph(
    inputs: &[&str],
    nodes: Vec<NodeProto>,
    outputs: &[&str],
    initializer: Vec<TensorProto>,
) -> GraphProto {
    let values = |names: &[&str]| names.iter().map(|name| value(name)).collect();
    GraphProto { input: values(inputs), node: nodes, output: values(outputs), initializer, ..GraphProto::default() }
}

/// A graph as a model with these versions of the standard operator set.
pub(crate) fn of_versions(graph: GraphProto, versions: &[i64]) -> ModelProto {
    let set = |&version: &i64| OperatorSetIdProto { version: Some(version), ..OperatorSetIdProto::default() };
    let opset_import = versions.iter().map(set).collect();
    ModelProto { ir_version: Some(8), graph: Some(graph), opset_import, ..ModelProto::default() }
}

/// The file of a graph with a version of the standard operator set.
pub(crate) fn file(graph: GraphProto, opset: i64) -> Vec<u8> {
    of_versions(graph, &[opset]).write_buf().expect("written")
}

/// Prepares a model, and runs it on the engine. Returns the first output.
pub(crate) fn run(model: Vec<u8>, inputs: &[(&str, Value)]) -> Result<Value, String> {
    run_all(model, inputs).map(|mut outputs| outputs.remove(0))
}

/// Prepares a model, and runs it on the engine.
pub(crate) fn run_all(model: Vec<u8>, inputs: &[(&str, Value)]) -> Result<Vec<Value>, String> {
    let prepared = plimsoll_onnx::prepare(model, &[]).map_err(|error| error.to_string())?;
    let engine = ModelOptions::with_all_ops().load(prepared.bytes).map_err(|error| error.to_string())?;
    let id = |name: &str| engine.node_id(name).expect("an input");
    let inputs = inputs.iter().map(|(name, value)| (id(name), ValueOrView::from(value.clone()))).collect();
    engine.run(inputs, engine.output_ids(), None).map_err(|error| error.to_string())
}
