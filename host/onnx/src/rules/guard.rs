//! Checks that the engine makes while it runs: nodes that fail if a number of a request is too large for it.

mod shared;
mod sums;

use rten_onnx::onnx::{DataType, NodeProto};

pub(crate) use self::shared::share_size_limits;
use crate::bounds::GUARDED;
use crate::node::{Edit, cast, new, title};
use crate::site::Site;

/// The largest number of elements of a tensor whose sizes a request states.
const LARGEST_COUNT: f32 = crate::LARGEST_VALUE as f32;

/// The largest number of iterations of a loop that a request states.
pub(super) const LARGEST_ROUNDS: f32 = MOST_ROUNDS as f32;

/// The same as a whole number.
pub(crate) const MOST_ROUNDS: i64 = 1_000_000;

/// How the name of a check begins.
pub(crate) const CHECK: &str = "plimsoll.check: ";

/// How the name of a check begins that fails for a value without elements.
pub(super) const EMPTY: &str = "plimsoll.empty: ";

/// How the name of a check begins that fails for a loop without rounds.
pub(super) const ROUNDS: &str = "plimsoll.rounds: ";

/// How the name of a check begins that fails for a division by a zero.
pub(super) const ZERO: &str = "plimsoll.zero: ";

/// What separates the text of such a check from its number: of several nodes of one name, the engine loses the names.
pub(super) const NUMBERED: &str = " # ";

/// Why a run is refused, and what to do about it, if a check failed: the name of the operator that failed is part of the
/// engine's error.
pub fn refused(error: &str) -> Option<String> {
    let reason = |check: &str| Some(error.split_once(check)?.1.split_once('"')?.0);
    if let Some(reason) = reason(CHECK) {
        let reason = reason.rsplit_once(NUMBERED).map_or(reason, |(reason, _)| reason);
        if reason.contains("too small") {
            return Some(format!("{reason}; send a larger input"));
        }
        return Some(format!("{reason}; send smaller numbers, or use the backend `onnxruntime`"));
    }
    if let Some((reason, _)) = reason(EMPTY).and_then(|reason| reason.rsplit_once(NUMBERED)) {
        return Some(format!("{reason}; send inputs with at least one element"));
    }
    if let Some(name) = reason(ROUNDS) {
        return Some(format!(
            "{name} has no rounds, and the file does not state the sizes of what it collects; state the shapes of the outputs \
             of its body, or use the backend `onnxruntime`"
        ));
    }
    let name = reason(ZERO)?;
    Some(format!(
        "{name} divides by a zero whose sign the backend may not know, so that the result could be the other infinity; use \
         the backend `onnxruntime`, or a divisor that is never 0"
    ))
}

/// Makes a node that computes 64-bit integers fail if the result needs more than 32 bits: the node also runs in FLOAT.
/// `first` and the inputs after it are numbers.
pub(super) fn integers(
    node: &NodeProto,
    numbers: &[usize],
    mut nodes: Vec<NodeProto>,
    site: &mut Site,
) -> Vec<NodeProto> {
    let Some(last) = nodes.iter_mut().rev().find(|other| other.output.first() == node.output.first()) else {
        return nodes;
    };
    let (unchecked, output) = (site.name("unchecked"), last.output[0].clone());
    last.output[0].clone_from(&unchecked);
    let mut estimate = node.clone();
    let magnitude = site.name("magnitude");
    for &index in numbers.iter().filter(|&&index| node.input(index).is_some()) {
        let (number, size) = (site.name("number"), site.name("absolute"));
        nodes.push(cast(&node.input[index], DataType::FLOAT, &number));
        nodes.push(new("Abs", &[&number], &size));
        estimate.input[index] = size;
    }
    // The sum of the absolute values is at least the absolute value of a sum or a difference.
    if estimate.op_type.as_deref() == Some("Sub") {
        estimate.op_type = Some("Add".into());
    }
    if matches!(estimate.op_type.as_deref(), Some("Neg" | "Abs" | "Cast" | "CastLike")) {
        estimate = new("Identity", &[&estimate.input[0]], &magnitude);
    }
    estimate.name = None;
    estimate.output[0].clone_from(&magnitude);
    nodes.push(estimate.clone());
    let many = sums::largest(node, &estimate, &magnitude, site, &mut nodes);
    let text = format!("{CHECK}an integer exceeds 32 bits at node `{}`", title(node));
    let Some((sum, largest)) = many else {
        nodes.extend(check(&magnitude, GUARDED as f32, text, &unchecked, &output, site));
        return nodes;
    };
    let estimated = site.name("estimated");
    nodes.extend(check(&magnitude, GUARDED as f32, text.clone(), &unchecked, &estimated, site));
    nodes.extend(check(&sum, largest, text, &estimated, &output, site));
    nodes
}

/// Makes a conversion of FLOAT fail if a number is further than `reach` from `center`, where ONNX does not define the result.
pub(super) fn conversion(
    node: &NodeProto,
    (center, reach): (f32, f32),
    mut nodes: Vec<NodeProto>,
    site: &mut Site,
) -> Vec<NodeProto> {
    let Some(position) = nodes.iter().position(|other| other.op_type.as_deref() == Some("Cast")) else { return nodes };
    let input = nodes[position].input[0].clone();
    let (middle, shifted, distance, checked) =
        (site.scalar(DataType::FLOAT, center), site.name("shifted"), site.name("distance"), site.name("checked"));
    let text = format!("{CHECK}a number does not fit the integer type at node `{}`", title(node));
    let mut made = vec![new("Sub", &[&input, &middle], &shifted), new("Abs", &[&shifted], &distance)];
    made.extend(check(&distance, reach, text, &input, &checked, site));
    nodes[position].input[0] = checked;
    nodes.splice(position..position, made);
    nodes
}

/// Makes a node fail before it creates a tensor whose number of elements a request states, or runs that many times.
/// `counts` gives numbers whose product is the number of elements at most; `made` are the nodes that compute them. The
/// check passes on input `index` of the node.
pub(super) fn sizes(
    node: &NodeProto,
    index: usize,
    counts: &[&str],
    mut made: Vec<NodeProto>,
    mut nodes: Vec<NodeProto>,
    site: &mut Site,
) -> Vec<NodeProto> {
    // A node that was replaced takes its sizes from an `Identity`.
    let takes_sizes = |other: &NodeProto| {
        other.op_type.as_deref() == Some("Identity") && other.input.first() == node.input.get(index)
    };
    let found = nodes.iter().position(|other| other.op_type == node.op_type).map(|position| (position, index));
    let Some((position, index)) = found.or_else(|| Some((nodes.iter().position(takes_sizes)?, 0))) else {
        return nodes;
    };
    let mut factors = Vec::new();
    for count in counts {
        let (number, size, product) = (site.name("number"), site.name("absolute"), site.name("product"));
        made.push(cast(count, DataType::FLOAT, &number));
        made.push(new("Abs", &[&number], &size));
        made.push(new("ReduceProd", &[&size], &product).with_int("keepdims", 0));
        factors.push(product);
    }
    let mut total = factors.remove(0);
    for factor in factors {
        let product = site.name("product");
        made.push(new("Mul", &[&total, &factor], &product));
        total = product;
    }
    let (largest, what) = match node.op_type.as_deref() {
        Some("Loop") => (LARGEST_ROUNDS, "the number of iterations"),
        _ => (LARGEST_COUNT, "a tensor"),
    };
    let (text, checked) = (format!("{CHECK}{what} is too large at node `{}`", title(node)), site.name("checked"));
    let before = site.constants.len();
    made.extend(check(&total, largest, text, &nodes[position].input[index].clone(), &checked, site));
    // The first constant of a check is its limit.
    if largest == LARGEST_COUNT {
        site.size_limits.extend(site.constants.get(before).and_then(|limit| limit.name.clone()));
    }
    nodes[position].input[index] = checked;
    nodes.splice(position..position, made);
    nodes
}

/// `output = value + zeros[number of elements with !(magnitude <= largest)]`, of which only `zeros[0]` exists. NaN does not
/// pass. The elements are compared before they are reduced, because the engine's `ReduceMax` loses NaN.
pub(super) fn check(
    magnitude: &str,
    largest: f32,
    text: String,
    value: &str,
    output: &str,
    site: &mut Site,
) -> [NodeProto; 6] {
    let (fits, exceeds, too_large, zero) =
        (site.name("fits"), site.name("exceeds"), site.name("too_large"), site.name("zero"));
    let (limit, list, typed) = (site.scalar(DataType::FLOAT, largest), site.ints(&[0]), site.name("typed"));
    let mut gather = new("Gather", &[&list, &too_large], &zero).with_int("axis", 0);
    let is_check = text.starts_with(CHECK);
    gather.name = Some(if is_check { format!("{text}{NUMBERED}{}", site.created) } else { text });
    [
        new("LessOrEqual", &[magnitude, &limit], &fits),
        new("Not", &[&fits], &exceeds),
        // The engine represents BOOL as INT32. Of no elements, the sum is 0.
        new("ReduceSum", &[&exceeds], &too_large).with_int("keepdims", 0),
        gather,
        new("CastLike", &[&zero, value], &typed),
        new("Add", &[value, &typed], output),
    ]
}
