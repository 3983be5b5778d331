//! Divisions: those of numbers that are rounded afterwards must be exact, those of integers must not overflow.

use rten_onnx::onnx::{DataType, NodeProto};

use super::arithmetic::{all_inputs, with_equal_ranks};
use super::kinds::{self, NUMBERS, WHOLE, kind};
use super::{Replaced, guard};
use crate::node::{Edit, new, title};
use crate::site::Site;
use crate::types::Info;

/// The engine multiplies by the inverse of a divisor of one element. The result can differ in the last bit, which matters
/// if it is rounded to an integer afterwards.
pub(super) fn div(node: NodeProto, site: &mut Site) -> Replaced {
    kinds::check(&node, 1, NUMBERS, site)?;
    if is_whole(&node, site) {
        let (mut nodes, node) = without_overflow(node, site);
        nodes.extend(with_equal_ranks(node, site)?);
        return Ok(nodes);
    }
    let divisor = site.info(&node, 1);
    // A power of two has an exact inverse. That of a very small or a very large number is infinite or has fewer digits.
    let inverse = |value: &f64| 1.0 / (*value as f32);
    let has_inverse = |value: &f64| *value == 0.0 || value.is_infinite() || inverse(value).is_normal();
    let values = divisor.constant.as_deref().unwrap_or_default();
    let is_exact = !values.is_empty() && values.iter().all(|value| (value.to_bits() << 12) == 0);
    let is_close = values.iter().all(has_inverse);
    if !may_have_one_element(&divisor) || is_close && (is_exact || !site.uses.is_rounded(&node.output[0])) {
        return with_equal_ranks(node, site);
    }
    let mut nodes = with_equal_ranks(node, site)?;
    if let Some(division) = nodes.pop() {
        nodes.extend(exact_div(division, site));
    }
    Ok(nodes)
}

/// `Mod`.
pub(super) fn mod_(node: NodeProto, site: &mut Site) -> Replaced {
    if !is_whole(&node, site) {
        return all_inputs(node, site);
    }
    let (mut nodes, node) = without_overflow(node, site);
    nodes.extend(all_inputs(node, site)?);
    Ok(nodes)
}

fn is_whole(node: &NodeProto, site: &Site) -> bool {
    (0..2).any(|index| site.info(node, index).ty.is_some_and(|ty| kind(ty) == WHOLE))
}

fn may_have_one_element(info: &Info) -> bool {
    info.sizes.as_ref().is_none_or(|sizes| sizes.iter().all(|&size| size.is_none_or(|size| size == 1)))
}

/// A division that is exact. The engine divides exactly by more than one element, so the divisor becomes
/// `Expand(divisor, Shape(x))`; where that can have one element too, it becomes longer.
pub(super) fn exact_div(mut node: NodeProto, site: &mut Site) -> Vec<NodeProto> {
    let (number, divisor) = (site.info(&node, 0), site.info(&node, 1));
    let has_several = number.sizes.is_some_and(|sizes| sizes.iter().any(|size| size > &Some(1)));
    let is_one = divisor.sizes.is_some_and(|sizes| sizes.iter().all(|&size| size == Some(1)));
    let adds_none = divisor.rank.is_some_and(|rank| rank == 0 || Some(rank) <= number.rank);
    match (adds_none, has_several) {
        (true, true) => {
            let (shape, divisor) = (site.name("shape"), site.name("divisor"));
            let nodes = [new("Shape", &[&node.input[0]], &shape), new("Expand", &[&node.input[1], &shape], &divisor)];
            node.input[1] = divisor;
            nodes.into_iter().chain([node]).collect()
        }
        (true, false) if is_one => exact_div_of_list(node, site),
        _ => exact_div_by_pairs(node, site),
    }
}

/// `Reshape(Slice(Div(Concat(Flatten(x), 1), divisors)), Shape(x))` for a divisor of one element.
fn exact_div_of_list(mut node: NodeProto, site: &mut Site) -> Vec<NodeProto> {
    let (input, divisor, output) = (node.input[0].clone(), node.input[1].clone(), node.output[0].clone());
    let mut n = |purpose: &str| site.name(purpose);
    let (shape, list, longer, length) = (n("shape"), n("list"), n("longer"), n("length"));
    let (single, divisors, ratios, ratio) = (n("single"), n("divisors"), n("ratios"), n("ratio"));
    let (flat, first, last) = (site.ints(&[-1]), site.ints(&[0]), site.ints(&[-1]));
    let (scalar, one) = (site.scalar(DataType::FLOAT, 1.0), site.name("one"));
    node.input = vec![longer.clone(), divisors.clone()];
    node.output[0].clone_from(&ratios);
    vec![
        new("Reshape", &[&scalar, &flat], &one),
        new("Shape", &[&input], &shape),
        new("Reshape", &[&input, &flat], &list),
        new("Concat", &[&list, &one], &longer).with_int("axis", 0),
        new("Shape", &[&longer], &length),
        new("Reshape", &[&divisor, &flat], &single),
        new("Expand", &[&single, &length], &divisors),
        node,
        new("Slice", &[&ratios, &first, &last], &ratio),
        new("Reshape", &[&ratio, &shape], &output),
    ]
}

/// `Gather(Div(Unsqueeze(x, -1), Concat(divisor, divisor)), 0)`: all numbers are divided by two divisors along a new last
/// dimension, for values of any sizes.
fn exact_div_by_pairs(mut node: NodeProto, site: &mut Site) -> Vec<NodeProto> {
    let (last, first) = (site.ints(&[-1]), site.scalar(DataType::INT64, 0.0));
    let mut n = |purpose: &str| site.name(purpose);
    let (number, divisor, divisors, ratios) = (n("number"), n("divisor"), n("divisors"), n("ratios"));
    let output = std::mem::replace(&mut node.output[0], ratios.clone());
    let inputs = std::mem::replace(&mut node.input, vec![number.clone(), divisors.clone()]);
    vec![
        new("Unsqueeze", &[&inputs[0], &last], &number),
        new("Unsqueeze", &[&inputs[1], &last], &divisor),
        new("Concat", &[&divisor, &divisor], &divisors).with_int("axis", -1),
        node,
        new("Gather", &[&ratios, &first], &output).with_int("axis", -1),
    ]
}

/// The least integer divided by −1 makes the engine panic. `x / −1` becomes `−x / 1`, and `x mod −1` becomes `x mod 1`.
/// Returns the nodes before the division, and the division.
fn without_overflow(mut node: NodeProto, site: &mut Site) -> (Vec<NodeProto>, NodeProto) {
    let (number, divisor) = (site.info(&node, 0), site.info(&node, 1));
    let never_minus_one =
        divisor.never_negative || divisor.constant.as_ref().is_some_and(|values| !values.contains(&-1.0));
    if never_minus_one || number.never_negative || number.bound < f64::from(i32::MAX) {
        return (Vec::new(), node);
    }
    let ty = number.ty.or(divisor.ty).unwrap_or(DataType::INT64);
    let minus_one = site.scalar(ty, -1.0);
    let mut n = |purpose: &str| site.name(purpose);
    let (negates, two, safe_divisor) = (n("negates"), n("two"), n("divisor"));
    // BOOL is INT32 for the engine. Sums are used instead of `Where`, which it computes wrongly for constants.
    let mut nodes = vec![
        new("Equal", &[&node.input[1], &minus_one], &negates),
        new("Add", &[&negates, &negates], &two),
        new("Add", &[&node.input[1], &two], &safe_divisor),
    ];
    if node.op_type.as_deref() == Some("Div") {
        let (masked, rest, negative, safe_number) = (n("masked"), n("rest"), n("negative"), n("number"));
        nodes.push(new("Mul", &[&node.input[0], &negates], &masked));
        nodes.push(new("Sub", &[&node.input[0], &masked], &rest));
        let negation = new("Neg", &[&masked], &negative);
        let negated = if ty == DataType::INT64 {
            // The opposite of the least number of 32 bits needs more.
            let named = NodeProto { name: Some(title(&node).to_owned()), ..negation.clone() };
            guard::integers(&named, &[0], vec![negation], site)
        } else {
            vec![negation]
        };
        nodes.extend(negated);
        nodes.push(new("Add", &[&rest, &negative], &safe_number));
        node.input[0] = safe_number;
    }
    node.input[1] = safe_divisor;
    (nodes, node)
}
