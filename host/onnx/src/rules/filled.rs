//! Values without elements, of which the engine returns memory that it never wrote (`GlobalAveragePool`, `GlobalMaxPool`,
//! `GatherElements`), for which it panics, or of which it returns the least or largest INT32 instead of the least or largest
//! INT64 or BOOL (`ReduceMax`, `ReduceMin`). The node fails while the model runs instead, also if the model computes the
//! sizes. Where a size is known, or an empty value cannot reach the engine's fault, no check is added.

use rten_onnx::onnx::{DataType, NodeProto};

use super::guard;
use crate::node::{Attributes, Edit, new, title};
use crate::site::Site;
use crate::types::Info;

/// Dimensions that may not be 0.
enum Part {
    /// From this one on; a negative number counts from the last.
    From(i64),
    /// These.
    Axes(Vec<i64>),
}

/// Operators of images whose result has elements if their inputs have some, and keeps the sizes or fails.
const KEEPING: [&str; 15] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Conv",
    "ConvTranspose",
    "HardSigmoid",
    "HardSwish",
    "InstanceNormalization",
    "LeakyRelu",
    "MaxPool",
    "Mul",
    "PRelu",
    "Relu",
    "Sigmoid",
];

/// Lets a node fail while it runs if it gets a value without elements that the engine cannot compute. `replaced` are the
/// nodes of its rule.
pub(super) fn guard(node: &NodeProto, mut replaced: Vec<NodeProto>, site: &mut Site) -> Vec<NodeProto> {
    for (index, part) in needed(node, &replaced, site) {
        let Some(input) = node.input(index) else { continue };
        if is_filled(&site.info(node, index), &part) {
            continue;
        }
        let checked = site.name("filled");
        let mut made = checks(input, &part, node, &checked, site);
        for name in replaced.iter_mut().flat_map(|node| &mut node.input).filter(|name| *name == input) {
            name.clone_from(&checked);
        }
        made.append(&mut replaced);
        replaced = made;
    }
    replaced
}

/// The inputs that need elements, with the dimensions that may not be 0.
fn needed(node: &NodeProto, replaced: &[NodeProto], site: &Site) -> Vec<(usize, Part)> {
    let axis = |default: i64| node.int_or("axis", default);
    let one = |part: Part| vec![(0, part)];
    match node.op_type.as_deref().unwrap_or_default() {
        "GlobalAveragePool" | "GlobalMaxPool" => one(Part::From(2)),
        "GatherElements" | "ArgMax" | "ArgMin" => one(Part::Axes(vec![axis(0)])),
        operator @ ("ReduceMax" | "ReduceMin") if !has_limits_of_the_engine(node, site) => {
            let is_kept = replaced.iter().any(|other| other.op_type.as_deref() == Some(operator));
            is_kept.then(|| (0, reduced(node, site))).into_iter().collect()
        }
        // The estimate of a run (`run_size`) knows the sizes of other values.
        "BatchNormalization" | "InstanceNormalization" if is_computed(node, site) => one(Part::From(0)),
        "LayerNormalization" | "RMSNormalization" if !scale_needs_elements(node, replaced, site) => {
            one(Part::From(axis(-1)))
        }
        "Conv" => {
            let data = pads_nothing(node, replaced, site).then_some((0, Part::From(2)));
            data.into_iter().chain([(1, Part::From(1))]).collect()
        }
        "ConvTranspose" => vec![(1, Part::From(0))],
        "Resize" if node.input(3).is_some() => one(Part::From(if site.info(node, 0).rank == Some(4) { 2 } else { 0 })),
        "ScatterND" => one(Part::From(site.info(node, 1).size(-1).unwrap_or(1))),
        "Attention" if site.info(node, 1).rank != Some(3) => vec![(1, Part::Axes(vec![1]))],
        "Slice" => backwards(node, site).map(one).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// True if the least and the largest number of a value's type are those of the type in which the engine computes it.
fn has_limits_of_the_engine(node: &NodeProto, site: &Site) -> bool {
    let exact = [DataType::FLOAT, DataType::FLOAT16, DataType::INT32];
    site.info(node, 0).ty.is_some_and(|ty| exact.contains(&ty))
}

/// The dimensions over which a node reduces.
fn reduced(node: &NodeProto, site: &Site) -> Part {
    let computed = || Some(site.info(node, 1).constant?.iter().map(|&axis| axis as i64).collect());
    let axes = node.ints("axes").map(<[i64]>::to_vec).or_else(computed);
    axes.filter(|axes| !axes.is_empty()).map_or(Part::From(0), Part::Axes)
}

/// True if a dimension cannot be 0, as far as it is known.
fn is_filled(info: &Info, part: &Part) -> bool {
    let has_elements = |axis: i64| info.size(axis).is_some_and(|size| size > 0);
    match part {
        Part::From(start) => info.rank.is_some_and(|rank| {
            let rank = rank as i64;
            let start = if *start < 0 { rank + start } else { *start };
            (start.max(0)..rank).all(has_elements)
        }),
        Part::Axes(axes) => axes.iter().all(|&axis| has_elements(axis)),
    }
}

/// True if the size of the first input can follow from numbers, or from an operator that can leave nothing.
fn is_computed(node: &NodeProto, site: &Site) -> bool {
    let producer = node.input(0).and_then(|name| site.uses.producer(name));
    site.info(node, 0).is_dependent || producer.is_some_and(|producer| !KEEPING.contains(&producer.operator.as_str()))
}

/// True if the engine reports an error for a value without elements, because the scale has more than one element in each
/// dimension that is normalized.
fn scale_needs_elements(node: &NodeProto, replaced: &[NodeProto], site: &Site) -> bool {
    let is_kept = replaced.iter().any(|other| other.op_type == node.op_type && other.input.get(1) == node.input.get(1));
    let axis = node.int_or("axis", -1);
    let normalized = if axis < 0 { axis.checked_neg() } else { site.info(node, 0).rank.map(|rank| rank as i64 - axis) };
    let (Some(normalized), true) = (normalized, is_kept) else { return false };
    (1..=normalized).all(|from_end| site.info(node, 1).size(-from_end).is_some_and(|size| size > 1))
}

/// True if a convolution can have a result although an image has no pixels, of padding only.
fn pads_nothing(node: &NodeProto, replaced: &[NodeProto], site: &Site) -> bool {
    let Some(node) = replaced.iter().find(|other| other.op_type == node.op_type) else { return true };
    if node.text_or("auto_pad", "NOTSET").starts_with("SAME") {
        let producer = node.input(0).and_then(|name| site.uses.producer(name));
        return producer.is_none_or(|producer| !KEEPING.contains(&producer.operator.as_str()));
    }
    let pads = node.ints("pads").unwrap_or_default();
    let spatial = pads.len() / 2;
    let kernel = |axis: usize| match node.ints("kernel_shape") {
        Some(kernel) => kernel.get(axis).copied(),
        None => site.info(node, 1).size(2 + axis as i64),
    };
    (0..spatial).any(|axis| {
        let padding = pads[axis].saturating_add(pads[spatial + axis]);
        let dilation = node.ints("dilations").and_then(|dilations| dilations.get(axis).copied()).unwrap_or(1);
        padding > 0 && kernel(axis).is_none_or(|size| padding > size.saturating_sub(1).saturating_mul(dilation))
    })
}

/// The dimensions that a `Slice` takes backwards; `None` if it takes none backwards.
fn backwards(node: &NodeProto, site: &Site) -> Option<Part> {
    node.input(4)?;
    let Some(steps) = site.info(node, 4).constant else { return Some(Part::From(0)) };
    if steps.iter().all(|&step| step > 0.0) {
        return None;
    }
    let Some(axes) = site.info(node, 3).constant.filter(|axes| axes.len() == steps.len()) else {
        return Some(Part::From(0));
    };
    let backwards = axes.iter().zip(&steps).filter(|&(_, &step)| step < 0.0);
    Some(Part::Axes(backwards.map(|(&axis, _)| axis as i64).collect()))
}

/// `checked = Reshape(x, Shape(x) + zeros[number of dimensions of 0])`, of which only `zeros[0]` exists.
fn checks(input: &str, part: &Part, node: &NodeProto, checked: &str, site: &mut Site) -> Vec<NodeProto> {
    let (shape, part_of_shape, list) = (site.name("shape"), site.name("part"), site.ints(&[0]));
    let (is_zero, zeros, zero, same) = (site.name("is_zero"), site.name("zeros"), site.name("zero"), site.name("same"));
    let sizes = match part {
        Part::From(0) => new("Identity", &[&shape], &part_of_shape),
        Part::From(start) => {
            let (starts, ends) = (site.ints(&[*start]), site.ints(&[i64::from(i32::MAX)]));
            new("Slice", &[&shape, &starts, &ends], &part_of_shape)
        }
        Part::Axes(axes) => {
            let axes = site.ints(axes);
            new("Gather", &[&shape, &axes], &part_of_shape).with_int("axis", 0)
        }
    };
    let mut gather = new("Gather", &[&list, &zeros], &zero).with_int("axis", 0);
    gather.name = Some(format!(
        "{}node `{}` ({}) would get a value without elements, which the backend cannot compute{}{checked}",
        guard::EMPTY,
        title(node),
        node.op_type.as_deref().unwrap_or_default(),
        guard::NUMBERED
    ));
    vec![
        new("Shape", &[input], &shape),
        sizes,
        new("Equal", &[&part_of_shape, &list], &is_zero),
        // The engine represents BOOL as INT32. Of no elements, the sum is 0.
        new("ReduceSum", &[&is_zero], &zeros).with_int("keepdims", 0),
        gather,
        new("Add", &[&shape, &zero], &same),
        new("Reshape", &[input, &same], checked),
    ]
}
