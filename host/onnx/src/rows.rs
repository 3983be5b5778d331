//! Proves from the graph of a model that the rows of a batch do not depend on each other, so that runs can be combined.
//!
//! Each value is followed through the operators: it is the same for all rows, or has one block for each row along an
//! axis, or mixes rows. If that cannot be decided, the value is unknown, which is no reason to reject the model. Read
//! `value` first, then `rules`; `layout`, `selection`, `elementwise`, `windows`, `reductions` and `shapes` have the
//! operators by kind.

mod elementwise;
mod layout;
mod reductions;
mod rules;
mod selection;
mod shapes;
mod size;
mod value;
mod windows;

use std::collections::HashMap;

use rten_onnx::onnx::{DataType, GraphProto, NodeProto, TensorProto, ValueInfoProto};

use crate::node::{self, Attributes};
use crate::panics;
use crate::tensor;
use crate::valid;
use crate::well_formed::parse_model;
use size::Size;
use value::{Rows, Value};

/// The result of the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowProof {
    /// Each row of each output depends on the same row of the inputs only.
    Separate,
    /// Rows depend on each other; the text names output, node and operator.
    Mixed(String),
    /// The graph does not show it; the text says at which node.
    Unknown(String),
}

/// Tries to prove that the rows of a batch do not depend on each other. The first dimension of every input is the batch.
pub fn prove_rows(bytes: &[u8]) -> RowProof {
    panics::rejected(|| Ok(proof(bytes))).unwrap_or_else(|error| RowProof::Unknown(error.to_string()))
}

fn proof(bytes: &[u8]) -> RowProof {
    let Some(model) = parse_model(bytes) else { return RowProof::Unknown("it is not ONNX".into()) };
    let Some(graph) = &model.graph else { return RowProof::Unknown("it has no graph".into()) };
    let opset = node::opset_or_first(&model);
    if let Err(error) = valid::check(graph, opset) {
        return RowProof::Unknown(error.to_string());
    }
    let mut proof = Proof { opset, symbols: 0 };
    let outputs = proof.graph(graph, &HashMap::new(), true);
    let mut unknown = None;
    for (output, value) in graph.output.iter().zip(outputs) {
        let name = output.name.as_deref().unwrap_or_default();
        match value.rows {
            Rows::Along(0) => {}
            Rows::Along(_) | Rows::Free => {
                unknown.get_or_insert(format!("the first axis of output `{name}` is not the batch"));
            }
            Rows::Mixed(why) => return RowProof::Mixed(format!("output `{name}`: {why}")),
            Rows::Unknown(why) => {
                unknown.get_or_insert(format!("output `{name}`: {why}"));
            }
        }
    }
    unknown.map_or(RowProof::Separate, RowProof::Unknown)
}

/// The values of a graph by name.
type Values = HashMap<String, Value>;

struct Proof {
    /// The version of the standard operator set.
    opset: i64,
    /// The number of sizes that are not known.
    symbols: u32,
}

impl Proof {
    fn symbol(&mut self) -> Size {
        self.symbols += 1;
        Size::symbol(self.symbols)
    }

    fn graph(&mut self, graph: &GraphProto, outer: &Values, is_main: bool) -> Vec<Value> {
        let mut values = outer.clone();
        for constant in &graph.initializer {
            values.insert(constant.name.clone().unwrap_or_default(), of_constant(constant));
        }
        for input in &graph.input {
            let name = input.name.clone().unwrap_or_default();
            if graph.initializer.iter().all(|constant| constant.name.as_deref() != Some(&name)) {
                let value = if is_main { self.input(input) } else { Value::unknown("it is an input of a subgraph") };
                values.insert(name, value);
            }
        }
        for node in &graph.node {
            let mut outputs = self.node(node, &values);
            let operator = node.op_type.as_deref().unwrap_or_default();
            let name = node::title(node);
            for (index, output) in node.output.iter().enumerate() {
                let mut value = if index < outputs.len() {
                    std::mem::replace(&mut outputs[index], Value::unknown(""))
                } else {
                    Value::unknown("")
                };
                // The first node that mixes rows is the one to name.
                match &mut value.rows {
                    Rows::Mixed(why) | Rows::Unknown(why) if !why.starts_with("node `") => {
                        *why = format!("node `{name}` ({operator}) {why}").trim_end().to_owned();
                    }
                    _ => {}
                }
                values.insert(output.clone(), value);
            }
        }
        let of = |output: &ValueInfoProto| values.get(output.name.as_deref().unwrap_or_default()).cloned();
        graph.output.iter().map(|output| of(output).unwrap_or_else(|| Value::unknown("is not computed"))).collect()
    }

    /// An input of the model: its first dimension has the rows.
    fn input(&mut self, input: &ValueInfoProto) -> Value {
        let tensor = input.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref());
        let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
        let sizes: Option<Vec<Size>> = shape.map(|shape| {
            let size = |(axis, size): (usize, &rten_onnx::onnx::Dimension)| match size.dim_value {
                _ if axis == 0 => Size::rows(),
                Some(size) if size > 0 => Size::number(size),
                _ => self.symbol(),
            };
            shape.dim.iter().enumerate().map(size).collect()
        });
        Value::new(Rows::Along(0), sizes)
    }

    fn node(&mut self, node: &NodeProto, values: &Values) -> Vec<Value> {
        let absent = Value::new(Rows::Free, None);
        let inputs: Vec<&Value> =
            node.input.iter().map(|name| values.get(name).filter(|_| !name.is_empty()).unwrap_or(&absent)).collect();
        let operator = node.op_type.as_deref().unwrap_or_default();
        let graphs: Vec<&GraphProto> = node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()).collect();
        if operator == "If" && inputs.first().is_some_and(|condition| condition.is_free()) {
            return self.branches(&graphs, values);
        }
        if !graphs.is_empty() {
            return vec![Value::unknown("is not analysed"); node.output.len()];
        }
        // A result of mixed rows is mixed.
        if !matches!(operator, "Shape" | "Size" | "ConstantOfShape")
            && let Some(mixed) = inputs.iter().find(|input| matches!(input.rows, Rows::Mixed(_)))
        {
            return vec![Value::new(mixed.rows.clone(), None); node.output.len()];
        }
        // A result of unknown values is unknown, except for sizes, which are known even if they depend on the number of
        // rows.
        let is_unknown = |input: &&&Value| matches!(input.rows, Rows::Unknown(_)) && input.elements.is_none();
        if !matches!(operator, "Shape" | "Size")
            && let Some(unknown) = inputs.iter().find(is_unknown)
        {
            return vec![Value::new(unknown.rows.clone(), None); node.output.len()];
        }
        rules::apply(self, node, &inputs)
    }

    /// Both branches of an `If` must agree.
    fn branches(&mut self, graphs: &[&GraphProto], values: &Values) -> Vec<Value> {
        let mut branches = graphs.iter().map(|graph| self.graph(graph, values, false)).collect::<Vec<_>>().into_iter();
        let (Some(first), Some(second)) = (branches.next(), branches.next()) else { return Vec::new() };
        let join = |(one, other): (Value, Value)| match (one.rows, other.rows) {
            (Rows::Mixed(why), _) | (_, Rows::Mixed(why)) => Value::new(Rows::Mixed(why), None),
            (Rows::Unknown(why), _) | (_, Rows::Unknown(why)) => Value::unknown(why),
            (one_rows, other_rows) if one_rows == other_rows => {
                let sizes = if one.sizes == other.sizes { one.sizes } else { None };
                Value::new(one_rows, sizes)
            }
            _ => Value::unknown("has two different branches"),
        };
        first.into_iter().zip(second).map(join).collect()
    }
}

/// A constant of the file. Lists of integers are kept, because they are sizes and axes.
fn of_constant(constant: &TensorProto) -> Value {
    let sizes = constant.dims.iter().map(|&size| Size::number(size)).collect();
    let mut value = Value::new(Rows::Free, Some(sizes));
    let is_list = constant.dims.len() <= 1 && constant.dims.iter().all(|&size| (0..=64).contains(&size));
    if is_list && matches!(constant.data_type, Some(DataType::INT64 | DataType::INT32)) {
        value.elements = tensor::integers(constant).map(|elements| elements.into_iter().map(Size::number).collect());
    }
    value
}

/// The value of a `Constant`.
fn of_constant_node(node: &NodeProto) -> Value {
    if let Some(tensor) = node.attribute("value").and_then(|value| value.t.as_ref()) {
        return of_constant(tensor);
    }
    if let Some(number) = node.int("value_int") {
        return Value::list(vec![Size::number(number)], true);
    }
    if let Some(numbers) = node.ints("value_ints").filter(|numbers| !numbers.is_empty()) {
        return Value::list(numbers.iter().copied().map(Size::number).collect(), false);
    }
    let sizes = node.attribute("value_floats").map_or(Vec::new(), |list| vec![Size::number(list.floats.len() as i64)]);
    Value::new(Rows::Free, Some(sizes))
}
