//! Operators whose result can have more elements than their inputs, after values whose size depends on numbers of a request.
//! The estimate of a run (`run_size`) does not know such sizes, so the model checks them while it runs.

use rten_onnx::onnx::{DataType, NodeProto};

use super::guard;
use crate::node::{Attributes, Edit, cast, new, title};
use crate::site::Site;
use crate::types::Info;

/// Lets a node fail while it runs before it creates a tensor that is too large. `replaced` are the nodes of its rule.
pub(super) fn guard(node: &NodeProto, mut replaced: Vec<NodeProto>, site: &mut Site) -> Vec<NodeProto> {
    let operator = node.op_type.as_deref().unwrap_or_default();
    let infos: Vec<Info> = (0..node.input.len()).map(|index| site.info(node, index)).collect();
    if !infos.iter().any(|info| info.is_dependent) || has_one_size(operator, &infos) {
        return replaced;
    }
    // The check adds 0 to the input that it passes on, which is possible for these types.
    let is_number = |info: &Info| matches!(info.ty, Some(DataType::FLOAT | DataType::INT64 | DataType::INT32));
    let Some(checked_index) = (0..infos.len()).find(|&index| is_number(&infos[index]) && node.input(index).is_some())
    else {
        return replaced;
    };
    let mut made = Vec::new();
    let sizes = match operator {
        "MatMul" => product(node, &infos, &mut made, site),
        "Gather" => gathered(node, &infos, &mut made, site),
        _ => broadcast(node, &infos, &mut made, site),
    };
    let Some(sizes) = sizes else { return replaced };
    let (number, count, checked) = (site.name("number"), site.name("count"), site.name("checked"));
    made.push(cast(&sizes, DataType::FLOAT, &number));
    made.push(new("ReduceProd", &[&number], &count).with_int("keepdims", 0));
    let text = format!("{}a tensor is too large at node `{}`", guard::CHECK, title(node));
    let input = node.input[checked_index].clone();
    made.extend(guard::check(&count, crate::LARGEST_VALUE as f32, text, &input, &checked, site));
    for name in replaced.iter_mut().flat_map(|node| &mut node.input).filter(|name| **name == input) {
        name.clone_from(&checked);
    }
    made.append(&mut replaced);
    made
}

/// True if a result is not larger than its inputs: operators that do not broadcast, and those with at most one input of more
/// than one element.
fn has_one_size(operator: &str, infos: &[Info]) -> bool {
    let is_single = |info: &Info| {
        info.rank == Some(0) || info.sizes.as_ref().is_some_and(|sizes| sizes.iter().all(|size| *size == Some(1)))
    };
    match operator {
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "And" | "Or" | "Xor" | "Equal" | "Greater"
        | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Min" | "Max" | "Sum" | "Mean" | "Where" => {
            infos.iter().filter(|info| !is_single(info)).count() < 2
        }
        "MatMul" | "Gather" => false,
        _ => true,
    }
}

/// A part of the shape of an input, with ones before it.
fn part(
    (node, index): (&NodeProto, usize),
    (start, end): (usize, usize),
    length: usize,
    made: &mut Vec<NodeProto>,
    site: &mut Site,
) -> String {
    let (shape, part, whole) = (site.name("shape"), site.name("part"), site.name("whole"));
    let (starts, ends) = (site.ints(&[start as i64]), site.ints(&[end as i64]));
    let ones = site.ints(&vec![1; length.saturating_sub(end - start)]);
    made.push(new("Shape", &[&node.input[index]], &shape));
    made.push(new("Slice", &[&shape, &starts, &ends], &part));
    made.push(new("Concat", &[&ones, &part], &whole).with_int("axis", 0));
    whole
}

/// The sizes after broadcasting all inputs; `None` if a number of dimensions is not known.
fn broadcast(node: &NodeProto, infos: &[Info], made: &mut Vec<NodeProto>, site: &mut Site) -> Option<String> {
    let ranks: Vec<usize> = infos.iter().map(|info| info.rank).collect::<Option<_>>()?;
    let length = *ranks.iter().max()?;
    let parts: Vec<String> =
        ranks.iter().enumerate().map(|(index, &rank)| part((node, index), (0, rank), length, made, site)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let largest = site.name("largest");
    made.push(new("Max", &parts, &largest));
    Some(largest)
}

/// The sizes of a product of matrices, or more: those before the matrices, the rows and the columns.
fn product(node: &NodeProto, infos: &[Info], made: &mut Vec<NodeProto>, site: &mut Site) -> Option<String> {
    let (left, right) = (infos[0].rank?, infos[1].rank?);
    (left >= 2 && right >= 2).then_some(())?;
    let length = left.max(right) - 2;
    let outer =
        [part((node, 0), (0, left - 2), length, made, site), part((node, 1), (0, right - 2), length, made, site)];
    let (rows, columns) =
        (part((node, 0), (left - 2, left - 1), 1, made, site), part((node, 1), (right - 1, right), 1, made, site));
    let (largest, sizes) = (site.name("largest"), site.name("sizes"));
    made.push(new("Max", &[&outer[0], &outer[1]], &largest));
    made.push(new("Concat", &[&largest, &rows, &columns], &sizes).with_int("axis", 0));
    Some(sizes)
}

/// The sizes of a `Gather`: those of the data without the axis, and those of the indices.
fn gathered(node: &NodeProto, infos: &[Info], made: &mut Vec<NodeProto>, site: &mut Site) -> Option<String> {
    let (rank, indices) = (infos[0].rank?, infos[1].rank?);
    let axis = node.int_or("axis", 0);
    let axis = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok().filter(|&axis| axis < rank)?;
    let before = part((node, 0), (0, axis), axis, made, site);
    let after = part((node, 0), (axis + 1, rank), rank - axis - 1, made, site);
    let chosen = part((node, 1), (0, indices), indices, made, site);
    let sizes = site.name("sizes");
    made.push(new("Concat", &[&before, &after, &chosen], &sizes).with_int("axis", 0));
    Some(sizes)
}
