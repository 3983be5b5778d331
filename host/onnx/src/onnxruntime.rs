//! Prepares models for onnxruntime 1.32: rejects the few nodes that it computes differently from ONNX's node tests, and
//! keeps it from trusting what a file only claims, from optimising away exactness, and from ending the process.

mod analysis;
mod division;
mod edits;
pub(crate) mod functions;
mod openvino;
mod optimizers;
mod sizes;

use std::collections::HashMap;

use rten_onnx::onnx::{GraphProto, NodeProto, TensorProto, ValueInfoProto};

use crate::external;
use crate::node::{self, Attributes, Edit};
use crate::panics;
use crate::rejected::Rejected;
use crate::run_size;
use crate::shapes;
use crate::tensor;
use crate::types::Values;
use crate::valid;
use crate::well_formed::parse_model;

pub use openvino::{DifferentNode, OpenVinoDifference};

/// The beginning of the names of nodes that fail because a request gives a size of 0. The rest says what is wrong.
pub const FAILING_CHECK: &str = "plimsoll: ";

/// The sizes of the dimensions as a file declares them; `None` for a dynamic one.
pub type DeclaredShape = Vec<Option<u32>>;

/// A model that onnxruntime computes correctly.
#[derive(Default)]
pub struct ForOnnxRuntime {
    /// The ONNX file for onnxruntime; `None` if it is the file as it was given.
    pub bytes: Option<Vec<u8>>,
    /// The optimisations that would change its answers.
    pub disabled_optimizers: Vec<&'static str>,
    /// The inputs and outputs with the shapes that the file declares; `None` if it declares none, not even a number of
    /// dimensions.
    pub declared: HashMap<String, Option<DeclaredShape>>,
    /// True if a request can make a run longer without larger inputs.
    pub time_depends_on_values: bool,
    /// What OpenVINO computes differently from ONNX.
    pub openvino: Vec<DifferentNode>,
}

/// Prepares a model for onnxruntime.
///
/// Bytes that are not an ONNX model are accepted; onnxruntime rejects them.
///
/// # Errors
/// If onnxruntime would compute a node differently from ONNX. The error names the node and how to continue.
pub fn prepare_onnxruntime(bytes: &[u8]) -> Result<ForOnnxRuntime, Rejected> {
    panics::rejected(|| prepare_checked(bytes))
}

fn prepare_checked(bytes: &[u8]) -> Result<ForOnnxRuntime, Rejected> {
    let Some(model) = parse_model(bytes) else { return Ok(ForOnnxRuntime::default()) };
    let Some(graph) = &model.graph else { return Ok(ForOnnxRuntime::default()) };
    match external::not_in_main_graph(bytes) {
        Ok(None) => {}
        Ok(Some((tensor, file))) => {
            let tensor = if tensor.is_empty() { "a tensor".to_owned() } else { format!("tensor `{tensor}`") };
            return Err(Rejected::model(format!(
                "{tensor} is stored in the file `{file}`, and onnxruntime finds files for constants of the main \
                 graph only, not for functions, branches, loops and other attributes: store this tensor in the model \
                 (`onnx.load_external_data_for_model`, then `onnx.save_model`)"
            )));
        }
        Err(error) => return Err(Rejected::model(error.to_string())),
    }
    let opset = node::opset_or_first(&model);
    valid::check(graph, opset)?;
    valid::check_sparse(bytes)?;
    shapes::check(graph, opset)?;
    run_size::check_loading(graph, opset, false)?;
    check(graph, opset)?;
    let functions =
        functions::read(bytes).ok_or_else(|| Rejected::model("a function of the model is not valid".into()))?;
    for function in &functions {
        valid::check(&function.body, function.opset)?;
        run_size::check_loading(&function.body, function.opset, false)?;
        check(&function.body, function.opset)?;
    }
    let mut analysis = analysis::Analysis::new(opset, functions);
    let found = analysis.graph(graph, &Values::default());
    analysis.uncalled();
    if let Some(problem) = analysis.problem.take() {
        return Err(Rejected::model(problem));
    }
    let disabled_optimizers = optimizers::disabled(&analysis);
    Ok(ForOnnxRuntime {
        bytes: edits::apply(bytes, &found, &analysis.functions, &mut analysis.names),
        disabled_optimizers,
        declared: graph.input.iter().chain(&graph.output).filter_map(declared).collect(),
        time_depends_on_values: analysis.time_depends_on_values,
        openvino: analysis.openvino.list(),
    })
}

/// True if the values of the inputs, and not only their sizes, can make a run of a model longer: they may decide how often
/// a loop runs, or how large a result is.
pub fn time_depends_on_values(bytes: &[u8]) -> bool {
    panics::rejected(|| Ok(depends_on_values(bytes))).unwrap_or(true)
}

fn depends_on_values(bytes: &[u8]) -> bool {
    let Some(model) = parse_model(bytes) else { return false };
    let opset = node::opset_or_first(&model);
    let Some(graph) = model.graph.filter(|graph| valid::check(graph, opset).is_ok()) else { return false };
    let mut analysis = analysis::Analysis::default();
    analysis.graph(&graph, &Values::default());
    analysis.time_depends_on_values
}

/// The name and the declared shape of an input or output.
fn declared(value: &ValueInfoProto) -> Option<(String, Option<DeclaredShape>)> {
    let tensor = value.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref());
    let shape = tensor
        .and_then(|tensor| tensor.shape.as_ref())
        .map(|shape| shape.dim.iter().map(|size| size.dim_value.and_then(|size| u32::try_from(size).ok())).collect());
    Some((value.name.clone()?, shape))
}

/// Refuses what onnxruntime computes differently. `opset` is the version of the standard operator set.
fn check(graph: &GraphProto, opset: i64) -> Result<(), Rejected> {
    for node in &graph.node {
        let reason = match node.op_type.as_deref() {
            Some("MaxUnpool") if node.input(2).is_some() => Some("places values differently with `output_shape`"),
            Some("Resize") if rounds_sizes(node, graph) => Some(
                "computes `align_corners` differently for a scale that gives no whole size: give `sizes` instead of `scales`",
            ),
            Some("ConvInteger") if node.input(3).is_some_and(|name| !is_single(name, graph)) => {
                Some("supports no zero point per channel of the weights")
            }
            Some("SplitToSequence") if node.input(1).is_some() && node.int_or("keepdims", 1) == 0 => {
                Some("removes a dimension with `keepdims = 0` although the sizes of the parts are given")
            }
            Some("Slice") if ends_backwards_at_the_largest(node, graph) => Some(
                "slices backwards to the first element if the end is the largest integer, and its shape inference to the \
                 last one: give the least integer, or the number before the end",
            ),
            Some("Attention") if node.input(6).is_some() => Some("does not support `nonpad_kv_seqlen` with a mask"),
            _ => None,
        };
        if let Some(reason) = reason {
            let name = node::title(node);
            let operator = node.op_type.as_deref().unwrap_or_default();
            return Err(Rejected::model(format!(
                "node `{name}` ({operator}, operator set {opset}): onnxruntime {reason}; export the model without this node \
                 or with another form of it"
            )));
        }
        for attribute in &node.attribute {
            attribute.g.as_ref().map_or(Ok(()), |graph| check(graph, opset))?;
        }
    }
    Ok(())
}

/// True for a constant of one element, and for a value that a node computes.
fn is_single(name: &str, graph: &GraphProto) -> bool {
    let constant = graph.initializer.iter().find(|constant| constant.name.as_deref() == Some(name));
    let is_input = graph.input.iter().any(|input| input.name.as_deref() == Some(name));
    constant.map_or(!is_input, |constant| constant.dims.iter().product::<i64>() == 1)
}

/// The constant of a name, by the constants and the nodes of its graph.
fn constant<'a>(name: &str, graph: &'a GraphProto) -> Option<&'a TensorProto> {
    let constant = graph.initializer.iter().find(|constant| constant.name.as_deref() == Some(name));
    let inner = || graph.node.iter().find(|node| node.output(0) == Some(name))?.attribute("value")?.t.as_ref();
    constant.or_else(inner)
}

/// True if a `Slice` has a negative step, and the largest integer as its end. ONNX clamps it to the last element.
fn ends_backwards_at_the_largest(node: &NodeProto, graph: &GraphProto) -> bool {
    let integers = |index: usize| node.input(index).and_then(|name| constant(name, graph)).and_then(tensor::integers);
    let (Some(ends), Some(steps)) = (integers(2), integers(4)) else { return false };
    let is_largest = |end: i64| end == i64::MAX || end == i64::from(i32::MAX);
    ends.iter().zip(&steps).any(|(&end, &step)| step < 0 && is_largest(end))
}

/// True if a `Resize` aligns corners and its scales are not whole numbers, or not constant.
fn rounds_sizes(node: &NodeProto, graph: &GraphProto) -> bool {
    if node.text_or("coordinate_transformation_mode", "half_pixel") != "align_corners" || node.input(3).is_some() {
        return false;
    }
    let Some(name) = node.input(2) else { return false };
    let scales = constant(name, graph).and_then(tensor::floats);
    scales.is_none_or(|scales| scales.iter().any(|scale| scale.fract() != 0.0))
}
