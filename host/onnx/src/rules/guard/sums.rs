//! Sums of many integers. The estimate in FLOAT stands still when a number is less than half of the last digit of the sum,
//! so the largest number times the count of the numbers decides if there are many.

use rten_onnx::onnx::{DataType, NodeProto};

use crate::bounds::{FEW, GUARDED};
use crate::node::{Attributes, Edit, cast, new};
use crate::site::Site;

/// What the updates of a scatter may add if the engine counts them wrongly: with [`GUARDED`], it fits into 32 bits.
const ADDED: f32 = 130_000_000.0;

/// For a sum, what each number makes of a sum of many numbers at most (0 for few), and the largest that passes. `estimate`
/// has the absolute values of the inputs of `node`, and gives `magnitude`. `None` if there are few numbers for certain.
pub(super) fn largest(
    node: &NodeProto,
    estimate: &NodeProto,
    magnitude: &str,
    site: &mut Site,
    nodes: &mut Vec<NodeProto>,
) -> Option<(String, f32)> {
    let operator = estimate.op_type.as_deref()?;
    let (index, largest) = match operator {
        "CumSum" | "ReduceL1" | "ReduceSum" | "ReduceSumSquare" => (0, GUARDED as f32),
        "Scatter" | "ScatterElements" | "ScatterND" if estimate.text_or("reduction", "none") == "add" => (2, ADDED),
        _ => return None,
    };
    let known = site.info(node, index).sizes.and_then(|sizes| sizes.into_iter().collect::<Option<Vec<i64>>>());
    if known.is_some_and(|sizes| sizes.iter().map(|&size| size as f64).product::<f64>() <= FEW) {
        return None;
    }
    let mut name = |purpose: &str| site.name(purpose);
    let (numbers, size, count) = (estimate.input(index)?.to_owned(), name("size"), name("count"));
    let mut factor = count.clone();
    match operator {
        "CumSum" => {
            let shape = name("shape");
            nodes.push(new("Shape", &[&numbers], &shape));
            nodes.push(new("Gather", &[&shape, estimate.input(1)?], &size).with_int("axis", 0));
            nodes.push(cast(&size, DataType::FLOAT, &count));
        }
        _ => {
            nodes.push(new("Size", &[&numbers], &size));
            nodes.push(cast(&size, DataType::FLOAT, &count));
        }
    }
    if operator.starts_with("Reduce") {
        // The numbers of one sum.
        let (sums, results) = (name("size"), name("count"));
        factor = name("factor");
        nodes.push(new("Size", &[magnitude], &sums));
        nodes.push(cast(&sums, DataType::FLOAT, &results));
        nodes.push(new("Div", &[&count, &results], &factor));
    }
    let (is_many, number, many, sum) = (name("is_many"), name("number"), name("many"), name("sum"));
    let few = site.scalar(DataType::FLOAT, FEW as f32);
    nodes.push(new("Greater", &[&factor, &few], &is_many));
    nodes.push(cast(&is_many, DataType::FLOAT, &number));
    nodes.push(new("Mul", &[&factor, &number], &many));
    let mut size = numbers;
    if operator == "ReduceSumSquare" {
        let square = site.name("square");
        nodes.push(new("Mul", &[&size, &size], &square));
        size = square;
    }
    nodes.push(new("Mul", &[&size, &many], &sum));
    Some((sum, largest))
}
