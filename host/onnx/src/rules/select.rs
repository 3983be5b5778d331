//! Operators that give indices of elements.

use rten_onnx::onnx::{DataType, NodeProto};

use super::kinds::{self, FLOATS, NUMBERS, kind};
use super::{Replaced, integers};
use crate::node::{Attributes, Edit, cast, new};
use crate::rejected::Reason;
use crate::site::Site;

/// Of equal elements, the engine takes the last. The default of ONNX is the first, which is the last of the reversed
/// elements: `size - 1 - ArgMax(reversed x)`.
pub(super) fn arg(mut node: NodeProto, site: &mut Site) -> Replaced {
    let takes_last = node.int_or("select_last_index", 0) != 0;
    node.remove("select_last_index");
    let mut nodes = super::nan::order(&mut node, site);
    if takes_last {
        nodes.push(node);
        return Ok(nodes);
    }
    let axis = node.int_or("axis", 0);
    let (input, output) = (node.input[0].clone(), node.output[0].clone());
    let (reversed, from_end) = (site.name("reversed"), site.name("from_end"));
    let (starts, ends, axes, steps) =
        (site.ints(&[-1]), site.ints(&[i64::from(i32::MIN)]), site.ints(&[axis]), site.ints(&[-1]));
    node.input[0].clone_from(&reversed);
    node.output[0].clone_from(&from_end);
    let (shape, size, last) = (site.name("shape"), site.name("size"), site.name("last"));
    let (place, one) = (site.scalar(DataType::INT64, axis as f32), site.scalar(DataType::INT64, 1.0));
    nodes.extend([
        new("Slice", &[&input, &starts, &ends, &axes, &steps], &reversed),
        node,
        new("Shape", &[&input], &shape),
        new("Gather", &[&shape, &place], &size),
        new("Sub", &[&size, &one], &last),
        new("Sub", &[&last, &from_end], &output),
    ]);
    Ok(nodes)
}

/// The engine suppresses boxes of other classes and images, and does not divide by the union.
pub(super) fn non_max_suppression(_: NodeProto, _: &mut Site) -> Replaced {
    Err(Reason::with_fix(
        "computes it differently from ONNX (across classes and images, with another overlap)",
        "export the model without it and use a postprocess plugin that suppresses boxes, such as `detect-postprocess`",
    ))
}

/// The engine needs integers as indices and depth.
pub(super) fn one_hot(mut node: NodeProto, site: &mut Site) -> Replaced {
    kinds::check(&node, 2, NUMBERS, site)?;
    let mut nodes = Vec::new();
    for index in 0..2 {
        if site.info(&node, index).ty.is_some_and(|ty| kind(ty) == FLOATS) {
            let whole = site.name("index");
            let made = vec![cast(&node.input[index], DataType::INT32, &whole)];
            nodes.extend(integers::converted(&node, index, DataType::INT32, made, site));
            node.input[index] = whole;
        }
    }
    nodes.push(node);
    Ok(nodes)
}
