//! Arithmetic, comparison and conversion of elements, and products of matrices.

use rten_onnx::onnx::{DataType, NodeProto};

use super::kinds::{self, FLOATS, NUMBERS, WHOLE, kind};
use super::{Replaced, guard, keep};
use crate::node::{Attributes, cast as cast_node, new, title};
use crate::rejected::Reason;
use crate::site::Site;

/// All inputs must have a type that the engine supports.
pub(super) fn all_inputs(node: NodeProto, site: &mut Site) -> Replaced {
    for index in 1..node.input.len() {
        kinds::check(&node, index, NUMBERS, site)?;
    }
    keep(node, site)
}

/// `Add`, `Sub` and `Mul`.
pub(super) fn binary(node: NodeProto, site: &mut Site) -> Replaced {
    kinds::check(&node, 1, NUMBERS, site)?;
    with_equal_ranks(node, site)
}

/// Gives both inputs the same number of dimensions where the engine would lose some: it removes operations with 0 and 1,
/// joins operations with constants, and divides by one element, without regard to the dimensions that an input of one
/// element adds. Constants lose their leading dimensions of size 1, because the engine's joined operators need that.
pub(super) fn with_equal_ranks(mut node: NodeProto, site: &mut Site) -> Replaced {
    // These keep the dimensions of the left input.
    let keeps_left = matches!(node.op_type.as_deref(), Some("Div" | "Pow"));
    let mut nodes = Vec::new();
    for index in 0..2 {
        let (one, other) = (site.info(&node, index), site.info(&node, 1 - index));
        let Some(rank) = one.rank else { continue };
        let sizes = one.sizes.clone().unwrap_or_default();
        let is_divisor = index == 1 && keeps_left;
        let may_have_one_element = sizes.iter().all(|size| size.is_none_or(|size| size == 1));
        match other.rank {
            Some(known) if known < rank && may_have_one_element && (one.is_constant || is_divisor) => {
                node.input[1 - index] = widened(&node.input[1 - index], rank - known, &mut nodes, site);
            }
            Some(known) if known >= rank && one.is_constant && !other.is_constant && (index == 1 || !keeps_left) => {
                let leading = sizes.iter().take_while(|&&size| size == Some(1)).count();
                if leading > 0 {
                    let rest: Vec<i64> = sizes[leading..].iter().map(|size| size.unwrap_or(1)).collect();
                    let (shape, trimmed) = (site.ints(&rest), site.name("trimmed"));
                    nodes.push(new("Reshape", &[&node.input[index], &shape], &trimmed));
                    node.input[index] = trimmed;
                }
            }
            None if rank > 1 && one.is_constant && may_have_one_element => return Err(rank_needed()),
            _ => {}
        }
    }
    nodes.push(node);
    Ok(nodes)
}

/// A value with more leading dimensions of size 1.
fn widened(value: &str, dimensions: usize, nodes: &mut Vec<NodeProto>, site: &mut Site) -> String {
    let axes = site.ints(&(0..dimensions as i64).collect::<Vec<_>>());
    let widened = site.name("widened");
    nodes.push(new("Unsqueeze", &[value, &axes], &widened));
    widened
}

/// `IsInf` of both signs.
pub(super) fn is_inf(node: NodeProto, site: &mut Site) -> Replaced {
    super::only_int(&node, "detect_positive", 1)?;
    super::only_int(&node, "detect_negative", 1)?;
    keep(node, site)
}

/// The engine gives 1 for the sign of 0.0: `Where(x == 0, 0, Sign(x))`.
pub(super) fn sign(mut node: NodeProto, site: &mut Site) -> Replaced {
    let ty = site.info(&node, 0).ty;
    if ty.is_some_and(|ty| kind(ty) == WHOLE) {
        return keep(node, site);
    }
    let Some(ty) = ty else { return Err(type_needed()) };
    let (input, output) = (node.input[0].clone(), node.output[0].clone());
    let (zero, is_zero, sign) = (site.scalar(ty, 0.0), site.name("is_zero"), site.name("sign"));
    node.output[0].clone_from(&sign);
    Ok(vec![new("Equal", &[&input, &zero], &is_zero), node, new("Where", &[&is_zero, &zero, &sign], &output)])
}

/// The engine has `Pow` with exponents of FLOAT.
pub(super) fn pow(node: NodeProto, site: &mut Site) -> Replaced {
    if site.info(&node, 0).ty.is_some_and(|ty| kind(ty) == WHOLE) {
        return Err(Reason::with_fix("computes powers of integers in FLOAT", "cast the base to FLOAT"));
    }
    let exponent = site.info(&node, 1);
    if exponent.ty.is_some_and(|ty| kind(ty) != FLOATS) {
        let mut nodes = with_equal_ranks(node, site)?;
        if let Some(mut power) = nodes.pop() {
            let converted = site.name("exponent");
            nodes.push(cast_node(&power.input[1], DataType::FLOAT, &converted));
            power.input[1] = converted;
            if exponent.bound > LARGEST_EXPONENT {
                nodes.extend(whole_exponent(&mut power, site));
            }
            nodes.push(power);
        }
        return Ok(nodes);
    }
    with_equal_ranks(node, site)
}

/// The last integer before those that FLOAT rounds. Beyond it, FLOAT has even ones only, and an exponent decides the sign.
const LARGEST_EXPONENT: f64 = 16_777_215.0;

/// Lets the node fail while it runs if an exponent exceeds the integers that FLOAT has.
fn whole_exponent(power: &mut NodeProto, site: &mut Site) -> Vec<NodeProto> {
    let (size, checked) = (site.name("absolute"), site.name("checked"));
    let text = format!("{}an exponent exceeds 24 bits at node `{}`", guard::CHECK, title(power));
    let mut nodes = vec![new("Abs", &[&power.input[1]], &size)];
    nodes.extend(guard::check(&size, LARGEST_EXPONENT as f32, text, &power.input[1], &checked, site));
    power.input[1] = checked;
    nodes
}

/// The values must have a type that the engine supports.
pub(super) fn where_(node: NodeProto, site: &mut Site) -> Replaced {
    kinds::check(&node, 1, NUMBERS, site)?;
    kinds::check(&node, 2, NUMBERS, site)?;
    if (0..3).all(|index| site.info(&node, index).constant.is_some()) {
        return Err(Reason::unsupported("computes `Where` of constants with a wrong shape"));
    }
    // The engine joins `Where(IsNaN(x), constant, x)` without regard to dimensions that the constant adds.
    let ranks: Option<Vec<usize>> = (0..3).map(|index| site.info(&node, index).rank).collect();
    let most = ranks.as_ref().and_then(|ranks| ranks.iter().max().copied());
    if let (Some(ranks), Some(most)) = (ranks, most)
        && ranks[1] != ranks[2]
    {
        let mut node = node;
        let mut nodes = Vec::new();
        for (index, &rank) in ranks.iter().enumerate() {
            if rank < most {
                node.input[index] = widened(&node.input[index], most - rank, &mut nodes, site);
            }
        }
        nodes.push(node);
        return Ok(nodes);
    }
    keep(node, site)
}

/// The engine converts to BOOL like to INT32.
pub(super) fn cast(node: NodeProto, site: &mut Site) -> Replaced {
    let to = node.int("to").and_then(|ty| i32::try_from(ty).ok()).map_or(kinds::UNDEFINED, DataType);
    cast_to(node, to, site)
}

/// Like [`cast`], to the type of the second input.
pub(super) fn cast_like(node: NodeProto, site: &mut Site) -> Replaced {
    let Some(to) = site.info(&node, 1).ty else { return Err(type_needed()) };
    let converted = cast_node(&node.input[0], to, &node.output[0]);
    super::integers::check(&converted, site)?;
    cast_to(converted, to, site)
}

fn cast_to(node: NodeProto, to: DataType, site: &mut Site) -> Replaced {
    super::check_type(to)?;
    let Some(from) = site.info(&node, 0).ty else { return Err(type_needed()) };
    let is_float = |number: &f64| f64::from(*number as f32) == *number;
    if from == DataType::DOUBLE
        && to != DataType::FLOAT
        && !site.info(&node, 0).constant.is_some_and(|numbers| numbers.iter().all(is_float))
    {
        return Err(Reason::with_fix(
            "computes DOUBLE as FLOAT, and converts another number if FLOAT does not have it",
            "store the constant in the type to which it is converted",
        ));
    }
    if to == DataType::FLOAT16 && from != DataType::FLOAT16 && site.info(&node, 0).bound > LARGEST_HALF {
        return Ok(half(node, site));
    }
    if to != DataType::BOOL || from == DataType::BOOL {
        return keep(node, site);
    }
    let mut input = node.input[0].clone();
    let mut nodes = Vec::new();
    let mut compared = from;
    // The engine compares numbers of 32 bits.
    if kind(from) & NUMBERS == 0 {
        let wider = site.name("int32");
        nodes.push(cast_node(&input, DataType::INT32, &wider));
        (input, compared) = (wider, DataType::INT32);
    }
    let (zero, is_zero) = (site.scalar(compared, 0.0), site.name("is_zero"));
    nodes.push(new("Equal", &[&input, &zero], &is_zero));
    nodes.push(new("Not", &[&is_zero], &node.output[0]));
    Ok(nodes)
}

/// The largest number of FLOAT16.
pub(crate) const LARGEST_HALF: f64 = 65_504.0;
/// From here on, a number is rounded to infinity in FLOAT16.
const INFINITE_HALF: f32 = 65_520.0;

/// A conversion to FLOAT16, which the engine represents as FLOAT: what exceeds FLOAT16 becomes infinite,
/// `Where(|x| >= 65520, x * infinity, x)`.
fn half(mut node: NodeProto, site: &mut Site) -> Vec<NodeProto> {
    let mut n = |purpose: &str| site.name(purpose);
    let (number, size, is_large, infinite) = (n("number"), n("absolute"), n("is_large"), n("infinite"));
    let (limit, infinity) = (site.scalar(DataType::FLOAT, INFINITE_HALF), site.scalar(DataType::FLOAT, f32::INFINITY));
    let output = std::mem::replace(&mut node.output[0], number.clone());
    vec![
        node,
        new("Abs", &[&number], &size),
        new("GreaterOrEqual", &[&size, &limit], &is_large),
        new("Mul", &[&number, &infinity], &infinite),
        new("Where", &[&is_large, &infinite, &number], &output),
    ]
}

/// The engine has only FLOAT and INT32 with four bytes.
pub(super) fn bit_cast(node: NodeProto, site: &mut Site) -> Replaced {
    let to = node.int("to").and_then(|ty| i32::try_from(ty).ok()).map_or(kinds::UNDEFINED, DataType);
    let four_bytes = |ty: DataType| matches!(ty, DataType::FLOAT | DataType::INT32);
    if site.info(&node, 0).ty.is_none_or(|ty| !four_bytes(ty)) || !four_bytes(to) {
        return Err(Reason::unsupported("reinterprets only FLOAT and INT32"));
    }
    keep(node, site)
}

/// `Einsum`. onnxruntime does not order capitals and small letters in an output that the equation leaves out.
pub(super) fn einsum(node: NodeProto, site: &mut Site) -> Replaced {
    let equation = node.text_or("equation", "");
    if !equation.contains("->") && equation.contains(|letter: char| letter.is_ascii_uppercase()) {
        return Err(Reason::with_fix(
            "orders capitals in an output that the equation leaves out",
            "state the output in the equation (`->`)",
        ));
    }
    keep(node, site)
}

/// The engine returns a wrong shape for a matrix times a vector, and for a vector times matrices without elements: the
/// vector becomes a matrix with one column, or with one row.
pub(super) fn mat_mul(mut node: NodeProto, site: &mut Site) -> Replaced {
    match (site.info(&node, 0).rank, site.info(&node, 1).rank) {
        (Some(1), Some(2..)) => {
            let (row, product, output) = (site.name("row"), site.name("product"), node.output[0].clone());
            let (first, last) = (site.ints(&[0]), site.ints(&[-2]));
            let to_row = new("Unsqueeze", &[&node.input[0], &first], &row);
            node.input[0] = row;
            node.output[0].clone_from(&product);
            Ok(vec![to_row, node, new("Squeeze", &[&product, &last], &output)])
        }
        (_, Some(2..)) | (Some(1), Some(1)) => keep(node, site),
        (Some(_), Some(1)) => {
            let (column, product, output) = (site.name("column"), site.name("product"), node.output[0].clone());
            let last = site.ints(&[-1]);
            let to_column = new("Unsqueeze", &[&node.input[1], &last], &column);
            node.input[1] = column;
            node.output[0].clone_from(&product);
            Ok(vec![to_column, node, new("Squeeze", &[&product, &last], &output)])
        }
        _ => Err(rank_needed()),
    }
}

/// The rule needs an element type that is not known.
pub(super) fn type_needed() -> Reason {
    Reason::with_fix(
        "needs the element type of the input, which the file does not state",
        "run `onnx.shape_inference.infer_shapes` on the model",
    )
}

/// The rule needs a number of dimensions that is not known.
pub(super) fn rank_needed() -> Reason {
    Reason::with_fix(
        "needs the number of dimensions of the inputs, which the file does not state",
        "run `onnx.shape_inference.infer_shapes` on the model",
    )
}
