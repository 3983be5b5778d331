//! Sizes that a request states as numbers, which could make the engine create tensors of any size.

use rten_onnx::onnx::{DataType, NodeProto};

use super::guard;
use crate::node::{Edit, cast, new};
use crate::site::Site;
use crate::stated;

/// Lets a node fail while it runs if a request asks for a tensor that is too large. `replaced` are the nodes of its rule.
pub(super) fn guard(node: &NodeProto, replaced: Vec<NodeProto>, site: &mut Site) -> Vec<NodeProto> {
    let operator = node.op_type.as_deref().unwrap_or_default();
    let Some(index) = stated::sizes(node, operator) else { return replaced };
    if !stated::states_sizes(node, site.values) {
        return replaced;
    }
    let mut before = Vec::new();
    let counts = counts(node, operator, &mut before, site);
    let counts: Vec<&str> = counts.iter().map(String::as_str).collect();
    guard::sizes(node, index, &counts, before, replaced, site)
}

/// Lists of numbers, whose product is the number of elements of the result at most. `before` gets the nodes that compute them.
pub(super) fn counts(node: &NodeProto, operator: &str, before: &mut Vec<NodeProto>, site: &mut Site) -> Vec<String> {
    let Some(index) = stated::sizes(node, operator) else { return Vec::new() };
    let sizes = node.input[index].clone();
    let shape = site.name("shape");
    match operator {
        "ConstantOfShape" | "Loop" => vec![sizes],
        "Resize" if index == 3 => vec![sizes],
        "Range" => vec![steps(node, before, site)],
        _ => {
            before.push(new("Shape", &[&node.input[0]], &shape));
            match operator {
                "Expand" => broadcast(node, &sizes, &shape, before, site),
                "Pad" => vec![padded(&sizes, &shape, before, site)],
                _ => vec![sizes, shape],
            }
        }
    }
}

/// The number of elements of a `Range`.
fn steps(node: &NodeProto, nodes: &mut Vec<NodeProto>, site: &mut Site) -> String {
    let mut number = |index: usize, site: &mut Site| {
        let number = site.name("number");
        nodes.push(cast(&node.input[index], DataType::FLOAT, &number));
        number
    };
    let (start, limit, delta) = (number(0, site), number(1, site), number(2, site));
    let (length, steps) = (site.name("length"), site.name("steps"));
    nodes.push(new("Sub", &[&limit, &start], &length));
    nodes.push(new("Div", &[&length, &delta], &steps));
    steps
}

/// Factors of the number of elements of an `Expand`. Their product is larger if the numbers of dimensions are not
/// known.
fn broadcast(node: &NodeProto, sizes: &str, shape: &str, nodes: &mut Vec<NodeProto>, site: &mut Site) -> Vec<String> {
    let length = site.info(node, 1).stated_rank();
    let (Some(rank), Some(length)) = (site.info(node, 0).rank, length) else {
        return vec![sizes.to_owned(), shape.to_owned()];
    };
    let mut longer = |value: &str, missing: usize, site: &mut Site| {
        let (ones, whole) = (site.ints(&vec![1; missing]), site.name("whole"));
        nodes.push(new("Concat", &[&ones, value], &whole).with_int("axis", 0));
        whole
    };
    let most = rank.max(length);
    let (own, stated) = (longer(shape, most - rank, site), longer(sizes, most - length, site));
    let largest = site.name("largest");
    nodes.push(new("Max", &[&own, &stated], &largest));
    vec![largest]
}

/// The sizes after a `Pad`.
fn padded(pads: &str, shape: &str, nodes: &mut Vec<NodeProto>, site: &mut Site) -> String {
    let (number, sizes, pairs, added, sum) =
        (site.name("number"), site.name("sizes"), site.name("pairs"), site.name("added"), site.name("sum"));
    let (two_rows, rows) = (site.ints(&[2, -1]), site.ints(&[0]));
    nodes.push(cast(pads, DataType::FLOAT, &number));
    nodes.push(cast(shape, DataType::FLOAT, &sizes));
    nodes.push(new("Reshape", &[&number, &two_rows], &pairs));
    nodes.push(new("ReduceSum", &[&pairs, &rows], &added).with_int("keepdims", 0));
    nodes.push(new("Add", &[&sizes, &added], &sum));
    sum
}
