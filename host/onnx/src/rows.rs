//! Proves from the graph of a model that the rows of a batch do not depend on each other, so that runs can be combined.
//!
//! Each value is followed through the operators: it is the same for all rows, or has one block for each row along an
//! axis, or mixes rows. If that cannot be decided, the value is unknown. What certainly mixes rows stays mixed through
//! every operator, known or not, so a model is never called unknown because of another node.
//!
//! Read `value` first, then `taint` and `rules`; `layout`, `selection`, `elementwise`, `windows`, `reductions`, `shapes`,
//! `attention`, `einsum`, `sequences` and `contrib` have the operators by kind; `branches`, `loops` and `calls` follow
//! subgraphs and functions.

mod attention;
mod branches;
mod calls;
mod constants;
mod contrib;
mod einsum;
mod elementwise;
mod layout;
mod loops;
mod parts;
mod reductions;
mod rules;
mod selection;
mod sequences;
mod shapes;
mod size;
mod taint;
mod value;
mod windows;

use std::collections::HashMap;

use rten_onnx::onnx::{AttributeProto, GraphProto, NodeProto, ValueInfoProto};

use crate::node;
use crate::onnxruntime::functions::{self, Function};
use crate::panics;
use crate::valid;
use crate::well_formed::parse_model;
use constants::of_constant;
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
    let Some(functions) = functions::read(bytes) else {
        return RowProof::Unknown("a function of the model is not valid".into());
    };
    for function in &functions {
        if let Err(error) = valid::check(&function.body, function.opset) {
            return RowProof::Unknown(error.to_string());
        }
    }
    let mut proof = Proof { opset, symbols: 0, numbers: Vec::new(), functions, depth: 0, work: 0 };
    let inputs = graph.input.iter().map(|input| proof.input(input)).collect();
    let outputs = proof.graph(graph, &HashMap::new(), inputs);
    let mut unknown = None;
    // An output that is not known does not hide another one that mixes rows.
    for (output, value) in graph.output.iter().zip(outputs) {
        let name = output.name.as_deref().unwrap_or_default();
        match value.rows {
            Rows::Along(0) => {}
            Rows::Along(_) | Rows::Free => {
                unknown.get_or_insert(format!("the first axis of output `{name}` is not the batch"));
            }
            Rows::Count => return RowProof::Mixed(format!("output `{name}` depends on the number of rows")),
            Rows::Mixed(why) => return RowProof::Mixed(format!("output `{name}`: {why}")),
            Rows::Unknown(why) | Rows::Listed(why) => {
                unknown.get_or_insert(format!("output `{name}`: {why}"));
            }
            Rows::One => {
                unknown.get_or_insert(format!("output `{name}` is a part of a row"));
            }
        }
    }
    unknown.map_or(RowProof::Separate, RowProof::Unknown)
}

/// The values of a graph by name.
type Values = HashMap<String, Value>;

/// How much of the name of a node a reason has.
const NAMED_CHARACTERS: usize = 200;

/// The nodes that a proof follows, counted again for each round of a loop and each call of a function.
const MOST_WORK: usize = 300_000;

struct Proof {
    /// The version of the standard operator set.
    opset: i64,
    /// The number of sizes that are not known.
    symbols: u32,
    /// Those that are results of computing with sizes, and could be negative.
    numbers: Vec<u32>,
    /// The functions of the model.
    functions: Vec<Function>,
    /// How many calls of functions the proof is in.
    depth: usize,
    /// The nodes that were followed, and the values that subgraphs took over.
    work: usize,
}

impl Proof {
    fn symbol(&mut self) -> Size {
        self.symbols += 1;
        Size::symbol(self.symbols)
    }

    /// A number that is computed from sizes, and is not known.
    fn number(&mut self) -> Size {
        let number = self.symbol();
        self.numbers.push(self.symbols);
        number
    }

    /// True if one is a negative number, and the other never negative, as a size is.
    fn differ_in_sign(&self, left: &Size, right: &Size) -> bool {
        let is_negative = |size: &Size| size.as_number().is_some_and(|number| number < 0);
        is_negative(left) && right.is_never_negative(&self.numbers)
            || is_negative(right) && left.is_never_negative(&self.numbers)
    }

    /// The outputs of a graph. `outer` are the values of the graphs around it, `inputs` those that it is given.
    fn graph(&mut self, graph: &GraphProto, outer: &Values, inputs: Vec<Value>) -> Vec<Value> {
        self.work += outer.len();
        if self.work > MOST_WORK {
            return vec![Value::unknown("is one of too many"); graph.output.len()];
        }
        let mut values = outer.clone();
        for (input, value) in graph.input.iter().zip(inputs) {
            values.insert(input.name.clone().unwrap_or_default(), value);
        }
        for constant in &graph.initializer {
            values.insert(constant.name.clone().unwrap_or_default(), of_constant(constant));
        }
        for node in &graph.node {
            let mut outputs = self.node(node, &values);
            // Each value that follows from it has a copy.
            let shortened = |text: &str| text.chars().take(NAMED_CHARACTERS).collect::<String>();
            let operator = shortened(node.op_type.as_deref().unwrap_or_default());
            let name = shortened(node::title(node));
            for (index, output) in node.output.iter().enumerate() {
                let mut value = if index < outputs.len() {
                    std::mem::replace(&mut outputs[index], Value::unknown(""))
                } else {
                    Value::unknown("")
                };
                // The first node that mixes rows is the one to name.
                match &mut value.rows {
                    Rows::Mixed(why) | Rows::Unknown(why) | Rows::Listed(why) if !why.starts_with("node `") => {
                        *why = format!("node `{name}` ({operator}) {why}").trim_end().to_owned();
                    }
                    _ => {}
                }
                values.insert(output.clone(), value.bounded());
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
        match sizes.as_ref().is_some_and(Vec::is_empty) {
            true => Value::unknown("is computed with an input that is a scalar, which has no rows"),
            false => Value::new(Rows::Along(0), sizes),
        }
    }

    fn node(&mut self, node: &NodeProto, values: &Values) -> Vec<Value> {
        self.work += 1;
        let count = node.output.len();
        let all = |rows: Rows| vec![Value::new(rows, None); count];
        if self.work > MOST_WORK {
            return all(Rows::Unknown("is one of too many nodes".into()));
        }
        let absent = Value::new(Rows::Free, None);
        let inputs: Vec<&Value> =
            node.input.iter().map(|name| values.get(name).filter(|_| !name.is_empty()).unwrap_or(&absent)).collect();
        let operator = node.op_type.as_deref().unwrap_or_default();
        let is_standard = node::is_standard(node.domain.as_deref());
        if let Some(outputs) = self.call(node, &inputs) {
            return outputs;
        }
        match operator {
            "If" if is_standard => return self.branches(node, &inputs, values),
            "Loop" if is_standard => return self.repeat(node, &inputs, values),
            "Scan" if is_standard => return self.scan(node, &inputs, values),
            _ => {}
        }
        let captured = captured(node, values);
        if let Some(rows) = taint::spread(node, is_standard, &inputs, &captured) {
            return all(rows);
        }
        if self.depth > 0 && node.attribute.iter().any(is_reference) {
            return all(Rows::Unknown("has an attribute that each call of its function sets".into()));
        }
        let is_value = |index: &usize| !taint::is_shape(operator, is_standard, *index);
        if (0..inputs.len()).any(|index| is_value(&index) && inputs[index].rows == Rows::Count) {
            if inputs.iter().any(|input| matches!(input.rows, Rows::Along(_))) {
                return all(Rows::Mixed("computes with the number of rows".into()));
            }
            return self.with_counts(node, &inputs);
        }
        if captured.iter().any(|value| !value.is_free()) {
            return all(Rows::Unknown("is not analysed".into()));
        }
        let mut outputs = rules::apply(self, node, &inputs);
        constants::forget(operator, is_standard, &mut outputs);
        // A rule that looks at some inputs only must not hide that another one depends on the rows.
        let is_known = is_standard && matches!(operator, "Shape" | "Size" | "SequenceLength" | "CastLike");
        if !is_known && inputs.iter().any(|input| !input.is_free()) {
            for output in outputs.iter_mut().filter(|output| output.is_free() && output.elements.is_none()) {
                *output = Value::unknown("has an input that depends on the rows");
            }
        }
        outputs
    }

    /// The outputs of a node whose inputs are constants and numbers of rows: what is not a product of sizes depends on
    /// the number of rows in a way that is not followed.
    fn with_counts(&mut self, node: &NodeProto, inputs: &[&Value]) -> Vec<Value> {
        let as_constant = |input: &&Value| match input.rows {
            Rows::Count => Value { rows: Rows::Free, ..(*input).clone() },
            _ => (*input).clone(),
        };
        let inputs: Vec<Value> = inputs.iter().map(as_constant).collect();
        let mut outputs = rules::apply(self, node, &inputs.iter().collect::<Vec<_>>());
        let operator = node.op_type.as_deref().unwrap_or_default();
        constants::forget(operator, node::is_standard(node.domain.as_deref()), &mut outputs);
        for output in &mut outputs {
            output.rows = match (&output.rows, &output.elements) {
                (Rows::Along(_) | Rows::Mixed(_), _) => Rows::Mixed("computes with the number of rows".into()),
                (_, Some(elements)) if elements.iter().all(|element| !element.has_rows()) => Rows::Free,
                _ => Rows::Count,
            };
            // The sizes could depend on the number of rows as well.
            output.sizes.take_if(|_| output.elements.is_none());
        }
        outputs
    }
}

/// The values around a node that its subgraphs use.
fn captured<'a>(node: &NodeProto, values: &'a Values) -> Vec<&'a Value> {
    let graphs = node.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
    let mut found = Vec::new();
    for graph in graphs {
        let names = graph.output.iter().filter_map(|output| output.name.as_deref());
        found.extend(names.filter_map(|name| values.get(name)));
        for inner in &graph.node {
            found.extend(inner.input.iter().filter_map(|name| values.get(name)));
            found.extend(captured(inner, values));
        }
    }
    found
}

/// True if an attribute has no value: in the body of a function, it is the name of an attribute of the call, which the
/// parser does not read.
fn is_reference(attribute: &AttributeProto) -> bool {
    let has_number = attribute.f.is_some() || attribute.i.is_some() || attribute.s.is_some();
    let has_list = !attribute.floats.is_empty() || !attribute.ints.is_empty() || !attribute.strings.is_empty();
    !has_number && !has_list && attribute.g.is_none() && attribute.t.is_none()
}
