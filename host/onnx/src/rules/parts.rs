//! Splitting into a number of parts.

use rten_onnx::onnx::NodeProto;

use super::{Replaced, keep};
use crate::node::{Attributes, Edit, new};
use crate::site::Site;

/// The operator set from which on the last part may be smaller than the others.
const UNEVEN: i64 = 18;

/// `Split` into a number of parts. The engine fails if the last ones have no elements: each part becomes
/// `Slice(x, i * ceil(size / parts), (i + 1) * ceil(size / parts))`.
pub(super) fn split(node: NodeProto, site: &mut Site) -> Replaced {
    let axis = node.int_or("axis", 0);
    let parts = node.output.len() as i64;
    let is_even = site.info(&node, 0).size(axis).is_some_and(|size| size > 0 && size % parts == 0);
    if site.opset < UNEVEN || node.input(1).is_some() || is_even {
        return keep(node, site);
    }
    let input = node.input[0].as_str();
    let (axes, parts_less_one, parts_list) = (site.ints(&[axis]), site.ints(&[parts - 1]), site.ints(&[parts]));
    let mut n = |purpose: &str| site.name(purpose);
    let (shape, size, sum, length) = (n("shape"), n("size"), n("sum"), n("length"));
    let mut nodes = vec![
        new("Shape", &[input], &shape),
        new("Gather", &[&shape, &axes], &size).with_int("axis", 0),
        new("Add", &[&size, &parts_less_one], &sum),
        new("Div", &[&sum, &parts_list], &length),
    ];
    for (index, output) in node.output.iter().enumerate().filter(|(_, output)| !output.is_empty()) {
        let (first, last) = (site.ints(&[index as i64]), site.ints(&[index as i64 + 1]));
        let (start, end) = (site.name("start"), site.name("end"));
        nodes.push(new("Mul", &[&length, &first], &start));
        nodes.push(new("Mul", &[&length, &last], &end));
        nodes.push(new("Slice", &[input, &start, &end, &axes], output));
    }
    Ok(nodes)
}
