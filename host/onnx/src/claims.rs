//! The numbers of dimensions that only the file claims. Where rules depend on them, the model checks them while it
//! runs, because a file may state shapes that are out of date.

use rten_onnx::onnx::{DataType, GraphProto, NodeProto};

use crate::node::{Edit, new};
use crate::rules::CHECK;
use crate::site::Site;
use crate::types::Values;

/// Makes a value, which the last of the nodes computes, fail if it has another number of dimensions:
/// `Reshape(x, Shape(x) + zeros[rank != claimed])`, of which only `zeros[0]` exists.
pub(crate) fn check_output(name: &str, rank: usize, nodes: &mut Vec<NodeProto>, site: &mut Site) {
    let Some(output) = nodes.iter_mut().rev().flat_map(|node| &mut node.output).find(|output| *output == name) else {
        return;
    };
    let unchecked = site.name("unchecked");
    output.clone_from(&unchecked);
    let (shape, zero, checked) = (site.name("shape"), site.name("zero"), site.name("checked"));
    nodes.push(new("Shape", &[&unchecked], &shape));
    nodes.extend(zero_if_rank(name, &shape, rank, &zero, site));
    nodes.push(new("Add", &[&shape, &zero], &checked));
    nodes.push(new("Reshape", &[&unchecked, &checked], name));
}

/// Nodes that give 0 if a shape has the claimed number of dimensions, and fail otherwise.
fn zero_if_rank(name: &str, shape: &str, rank: usize, zero: &str, site: &mut Site) -> [NodeProto; 4] {
    let (length, claimed, list) = (site.name("rank"), site.scalar(DataType::INT64, rank as f32), site.ints(&[0]));
    let (equal, differs) = (site.name("equal"), site.name("differs"));
    let mut gather = new("Gather", &[&list, &differs], zero).with_int("axis", 0);
    gather.name = Some(format!(
        "{CHECK}value `{name}` does not have the {rank} dimensions that the file states (run \
         `onnx.shape_inference.infer_shapes` on the model)"
    ));
    [
        new("Size", &[shape], &length),
        new("Equal", &[&length, &claimed], &equal),
        new("Not", &[&equal], &differs),
        gather,
    ]
}

/// The inputs of a loop's body whose declared number of dimensions does not follow from what the loop starts with and from
/// what each round returns: their names and the claimed numbers.
pub(crate) fn unproven(body: &GraphProto, start: &[crate::types::Info], values: &Values) -> Vec<(String, usize)> {
    let rank = |name: &str| values.get(name).and_then(|info| info.rank);
    body.input
        .iter()
        .enumerate()
        .skip(2)
        .filter_map(|(index, input)| {
            let name = input.name.as_deref()?;
            let claimed = rank(name)?;
            // The first output of a body is its condition.
            let returned = body.output.get(index - 1).and_then(|output| rank(output.name.as_deref()?));
            let is_proven = start.get(index)?.rank == Some(claimed) && returned == Some(claimed);
            (!is_proven).then(|| (name.to_owned(), claimed))
        })
        .collect()
}

/// Makes the condition of a loop's body fail if inputs have other numbers of dimensions.
pub(crate) fn check_inputs(body: &mut GraphProto, claimed: &[(String, usize)], site: &mut Site) {
    let Some(condition) = body.output.first().and_then(|output| output.name.clone()) else { return };
    if claimed.is_empty() {
        return;
    }
    let mut checked = condition;
    for (name, rank) in claimed {
        let (shape, zero, sum) = (site.name("shape"), site.name("zero"), site.name("condition"));
        body.node.push(new("Shape", &[name], &shape));
        body.node.extend(zero_if_rank(name, &shape, *rank, &zero, site));
        // The engine represents BOOL as INT32.
        body.node.push(new("Add", &[&checked, &zero], &sum));
        checked = sum;
    }
    if let Some(output) = body.output.first_mut() {
        output.name = Some(checked);
    }
}
