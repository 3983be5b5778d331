//! The rules: what the engine computes as ONNX defines it, what is replaced, and what is rejected.
//!
//! Each rule was checked with ONNX's node tests and with models that a generator makes, against onnxruntime; see
//! `tests/conformance`.

#![expect(clippy::needless_pass_by_value, reason = "all rules have the same signature")]

mod arithmetic;
mod attention;
mod batch_norm;
mod control;
mod division;
mod filled;
mod functions;
mod fusion;
mod growth;
mod guard;
mod half;
mod integers;
mod kinds;
mod loops;
mod nan;
mod old;
mod parts;
mod quantize;
mod range;
mod reduce;
mod requested;
mod resize;
mod select;
mod shape;
mod softmax;
mod values;
mod windows;
mod zeros;

use rten_onnx::onnx::{DataType, NodeProto, TensorProto};

use crate::node::{self, Attributes, Edit};
use crate::rejected::Reason;
use crate::site::Site;
use crate::tensor;
use crate::types::Info;
pub(crate) use arithmetic::LARGEST_HALF;
pub(crate) use control::join_branches;
pub use guard::refused;
pub(crate) use guard::{CHECK, MOST_ROUNDS, share_size_limits};
pub(crate) use kinds::check_result;
use kinds::{ANY, FLOATS, Kinds, NUMBERS};
pub(crate) use values::{check_constant, check_input, check_output, check_type};

/// What replaces a node: the node itself, or others.
type Replaced = Result<Vec<NodeProto>, Reason>;

/// A rule: the element types of the first input, and a function that checks and replaces the node.
type Rule = (Kinds, fn(NodeProto, &mut Site) -> Replaced);

/// Applies the rule of a node.
pub(crate) fn apply(mut node: NodeProto, site: &mut Site) -> Replaced {
    if !node::is_standard(node.domain.as_deref()) {
        return Err(Reason::unsupported("supports only operators of the ONNX standard"));
    }
    let Some((kinds, rule)) = rule(node.op_type.as_deref().unwrap_or_default()) else {
        return Err(Reason::unsupported("does not support this operator"));
    };
    let mut nodes = old::renew(&mut node, site)?;
    kinds::check(&node, 0, kinds, site)?;
    kinds::check_double(&node, site)?;
    check_floats(&node)?;
    half::check(&node, site)?;
    integers::check(&node, site)?;
    // The rule takes the node; names and numbers are needed afterwards.
    let original = without_graphs(&node);
    let replaced = rule(node, site)?;
    let replaced = fusion::separate(&original, replaced, site)?;
    let replaced = integers::guard(&original, replaced, site);
    let replaced = requested::guard(&original, replaced, site);
    let replaced = growth::guard(&original, replaced, site)?;
    let replaced = zeros::guard(&original, replaced, site);
    nodes.extend(filled::guard(&original, replaced, site));
    Ok(nodes)
}

/// A copy of a node without its subgraphs and constants, which can be large.
fn without_graphs(node: &NodeProto) -> NodeProto {
    let attribute = node.attribute.iter().filter(|attribute| attribute.g.is_none() && attribute.t.is_none());
    NodeProto { attribute: attribute.cloned().collect(), name: node.name.clone(), ..node::copy(node) }
}

/// True for an operator that has a rule.
pub(crate) fn is_known(operator: &str) -> bool {
    rule(operator).is_some()
}

fn rule(operator: &str) -> Option<Rule> {
    Some(match operator {
        "Acos" | "Asin" | "Atan" | "Atanh" | "Ceil" | "Cos" | "Cosh" | "Elu" | "Erf" | "Exp" | "Floor" | "Gelu"
        | "HardSigmoid" | "HardSwish" | "LeakyRelu" | "Log" | "Reciprocal" | "Round" | "Sigmoid" | "Sin" | "Sinh"
        | "Softsign" | "Sqrt" | "Swish" | "Tan" | "Tanh" | "IsNaN" | "Mean" => (FLOATS, keep),
        "Acosh" | "Asinh" => (FLOATS, functions::area),
        "PRelu" => (FLOATS, functions::prelu),
        "Softplus" => (FLOATS, functions::softplus),
        "IsInf" => (FLOATS, arithmetic::is_inf),
        "Add" | "Sub" | "Mul" => (NUMBERS, arithmetic::binary),
        "Abs" | "Neg" | "Min" | "Max" | "Sum" => (NUMBERS, arithmetic::all_inputs),
        "Clip" | "Relu" => (NUMBERS, nan::clip),
        "Div" => (NUMBERS, division::div),
        "Mod" => (NUMBERS, division::mod_),
        "Sign" => (NUMBERS, arithmetic::sign),
        "Pow" => (NUMBERS, arithmetic::pow),
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => (NUMBERS, keep),
        "And" | "Or" | "Xor" | "Not" => (NUMBERS, keep),
        "Where" => (NUMBERS, arithmetic::where_),
        "Cast" => (ANY, arithmetic::cast),
        "CastLike" => (ANY, arithmetic::cast_like),
        "BitCast" => (FLOATS | NUMBERS, arithmetic::bit_cast),
        "MatMul" => (FLOATS, arithmetic::mat_mul),
        "Gemm" => (FLOATS, keep),
        "Einsum" => (FLOATS, arithmetic::einsum),
        "Softmax" | "LogSoftmax" => (FLOATS, softmax::softmax),
        "ArgMax" | "ArgMin" => (NUMBERS, select::arg),
        "TopK" => (NUMBERS, nan::top_k),
        "NonMaxSuppression" => (FLOATS, select::non_max_suppression),
        "NonZero" => (NUMBERS, shape::non_zero),
        "OneHot" => (NUMBERS, select::one_hot),
        "Conv" => (FLOATS, windows::conv),
        "ConvInteger" => (ANY, windows::conv_integer),
        "ConvTranspose" => (FLOATS, windows::conv_transpose),
        "MaxPool" | "AveragePool" => (FLOATS, windows::pool),
        "GlobalAveragePool" => (FLOATS, keep),
        "GlobalMaxPool" => (FLOATS, nan::max_pool),
        "GridSample" => (FLOATS, windows::grid_sample),
        "Resize" => (FLOATS, resize::resize),
        "Upsample" => (FLOATS, resize::upsample),
        "ReduceMean" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" => (FLOATS, reduce::reduce),
        "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1" | "ReduceSumSquare" => {
            (NUMBERS, reduce::reduce)
        }
        "CumSum" => (NUMBERS, keep),
        "BatchNormalization" => (FLOATS, batch_norm::batch_normalization),
        "InstanceNormalization" | "LpNormalization" | "RMSNormalization" => (FLOATS, first_output),
        "LayerNormalization" => (FLOATS, functions::layer_normalization),
        "Attention" => (FLOATS, attention::attention),
        "RotaryEmbedding" => (FLOATS, keep),
        "GRU" => (FLOATS, control::gru),
        "LSTM" => (FLOATS, control::lstm),
        "QuantizeLinear" => (FLOATS, quantize::quantize),
        "DequantizeLinear" => (ANY, quantize::dequantize),
        "DynamicQuantizeLinear" => (FLOATS, quantize::dynamic_quantize),
        "MatMulInteger" => (ANY, quantize::mat_mul_integer),
        "Dropout" => (FLOATS, control::dropout),
        "If" => (ANY, keep),
        "Loop" => (ANY, loops::loop_),
        "Pad" => (ANY, shape::pad),
        "Concat" => (NUMBERS, keep),
        "DepthToSpace" => (FLOATS, keep),
        "Expand" => (ANY, shape::expand),
        "EyeLike" | "Flatten" | "Gather" | "GatherElements" | "GatherND" | "Identity" | "Reshape"
        | "ReverseSequence" | "Size" | "Tile" | "Transpose" => (ANY, keep),
        "Trilu" => (ANY, shape::trilu),
        "Scatter" | "ScatterElements" => (ANY, shape::scatter_elements),
        "ScatterND" => (ANY, shape::scatter_nd),
        "Shape" => (ANY, shape::shape),
        "Slice" => (ANY, shape::slice),
        "Split" => (ANY, parts::split),
        "Squeeze" | "Unsqueeze" => (ANY, shape::axes),
        "Constant" | "ConstantOfShape" => (ANY, keep),
        "Range" => (NUMBERS, range::range),
        "Multinomial" | "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike" => (ANY, keep),
        "SequenceInsert" => (ANY, control::sequence_insert),
        "ConcatFromSequence" => (NUMBERS, keep),
        "SequenceAt" | "SequenceConstruct" | "SequenceEmpty" | "SequenceErase" | "SequenceLength" => (ANY, keep),
        "SplitToSequence" => (ANY, control::split_to_sequence),
        _ => return None,
    })
}

/// Checks the attributes that are numbers. Those of NaN and infinities give other results on each engine, and so does an
/// `epsilon` that is negative or too small for FLOAT.
fn check_floats(node: &NodeProto) -> Result<(), Reason> {
    // These choose, and do not compute.
    if matches!(node.op_type.as_deref(), Some("Clip" | "Constant" | "Pad")) {
        return Ok(());
    }
    let number = |name: &str, numbers: &[f32]| {
        numbers
            .iter()
            .copied()
            .find(|number| !number.is_finite() || name == "epsilon" && *number != 0.0 && *number < f32::MIN_POSITIVE)
    };
    for attribute in &node.attribute {
        let name = attribute.name.as_deref().unwrap_or_default();
        if let Some(number) =
            attribute.f.and_then(|one| number(name, &[one])).or_else(|| number(name, &attribute.floats))
        {
            return Err(Reason::with_fix(
                format!("computes other numbers than onnxruntime with `{name}` = {number}"),
                format!("give `{name}` another value"),
            ));
        }
    }
    Ok(())
}

/// The engine computes the node correctly.
fn keep(node: NodeProto, _: &mut Site) -> Replaced {
    Ok(vec![node])
}

/// Checks that an attribute of integers has the only value that the engine supports.
fn only_int(node: &NodeProto, name: &str, supported: i64) -> Result<(), Reason> {
    let is_other = node.int(name).is_some_and(|value| value != supported)
        || node.ints(name).is_some_and(|values| values.iter().any(|&value| value != supported));
    if is_other { Err(Reason::unsupported(format!("supports only `{name}` = {supported}"))) } else { Ok(()) }
}

/// Checks that a text attribute has one of the values that the engine supports.
fn only_text(node: &NodeProto, name: &str, supported: &[&str]) -> Result<(), Reason> {
    let value = node.text_or(name, supported[0]);
    if supported.contains(&value) {
        return Ok(());
    }
    Err(Reason::unsupported(format!("does not support `{name}` = `{value}`; it supports `{}`", supported.join("`, `"))))
}

/// The engine computes only the first output.
fn first_output(node: NodeProto, site: &mut Site) -> Replaced {
    Ok(vec![only_first_output(node, site)?])
}

fn only_first_output(mut node: NodeProto, site: &mut Site) -> Result<NodeProto, Reason> {
    site.remove_unused_outputs(&mut node);
    if (1..node.output.len()).any(|index| node.output(index).is_some()) {
        return Err(Reason::unsupported("computes only the first output of this operator"));
    }
    Ok(node)
}

/// Reads a `Constant`, and checks it.
pub(crate) fn constant(node: &NodeProto) -> Result<Vec<Info>, Reason> {
    let name = node.output(0).unwrap_or_default();
    let tensor = if let Some(value) = node.attribute("value") {
        value.t.clone().ok_or_else(|| Reason::unsupported("needs the value of the constant as a tensor"))?
    } else if let Some(value) = node.int("value_int") {
        TensorProto { dims: Vec::new(), ..tensor::of_ints(name, &[value]) }
    } else if let Some(values) = node.ints("value_ints") {
        tensor::of_ints(name, values)
    } else if let Some(value) = node.float("value_float") {
        tensor::scalar(name, DataType::FLOAT, value)
    } else if let Some(values) = node.attribute("value_floats") {
        tensor::of_floats(name, &[values.floats.len() as i64], &values.floats)
    } else {
        return Err(Reason::unsupported("supports only constants of numbers"));
    };
    check_constant(name, &tensor).map_err(|error| Reason::unsupported(error.to_string()))?;
    Ok(vec![Info::constant(&tensor)])
}
