//! Padding, and operators that move elements.

use rten_onnx::onnx::{DataType, NodeProto};

use super::arithmetic::rank_needed;
use super::{Replaced, guard, keep};
use crate::infer;
use crate::node::{Attributes, Edit, cast, new, title};
use crate::rejected::Reason;
use crate::site::Site;
use crate::types::Info;

/// `Pad`.
pub(super) fn pad(node: NodeProto, site: &mut Site) -> Replaced {
    if node.input(3).is_some() {
        return Err(Reason::with_fix("does not support `axes`", "give pads for every dimension"));
    }
    let mode = node.text_or("mode", "constant");
    if mode != "constant"
        && let Some(pads) = stated_pads(&node, site)
        && pads.iter().enumerate().any(|(at, &pad)| pad > 0 && at % (pads.len() / 2).max(1) + 2 < pads.len() / 2)
    {
        let text = format!("pads only the last two dimensions with elements of the value (`mode` = `{mode}`)");
        return Err(Reason::with_fix(text, "pad the others with the mode `constant`"));
    }
    if mode == "reflect" { reflect(node, site) } else { keep(node, site) }
}

/// The pads, if the file states them.
fn stated_pads(node: &NodeProto, site: &Site) -> Option<Vec<i64>> {
    let stated = node.ints("pads").map(<[i64]>::to_vec);
    stated.or_else(|| Some(site.info(node, 1).constant?.iter().map(|&pad| pad as i64).collect()))
}

/// `Pad` by a reflection, which may not be longer than the value, less its edge: the engine computes other numbers for a
/// longer one. Where a size is not known, the node fails while it runs.
fn reflect(node: NodeProto, site: &mut Site) -> Replaced {
    let pads = stated_pads(&node, site);
    // The check adds 0 to the value, which the engine has for these types only.
    let is_number =
        |ty| matches!(ty, DataType::FLOAT | DataType::FLOAT16 | DataType::INT64 | DataType::INT32 | DataType::BOOL);
    let is_checkable = site.info(&node, 0).ty.is_none_or(is_number);
    let uncheckable = || {
        let text = "reflects values of a type of which it cannot check the sizes while the model runs";
        Reason::with_fix(text, "declare the sizes of its input, with constant pads")
    };
    let Some(pads) = pads else {
        if !is_checkable {
            return Err(uncheckable());
        }
        let Some(stated) = node.input(1).map(str::to_owned) else {
            return Err(Reason::with_fix("has no `pads`", "export the model again"));
        };
        return Ok(checked_reflection(node, &stated, true, site));
    };
    if pads.iter().any(|&pad| pad < 0) {
        return Err(Reason::with_fix("does not cut off values where it reflects", "use `Slice` for negative pads"));
    }
    let sizes = site.info(&node, 0).sizes;
    let rank = pads.len() / 2;
    let size = |at: usize| sizes.as_ref().and_then(|sizes| *sizes.get(at % rank.max(1))?);
    let mut is_known = true;
    for (at, &pad) in pads.iter().enumerate().filter(|(_, pad)| **pad > 0) {
        match size(at) {
            Some(size) if pad < size => {}
            Some(size) => {
                let text = format!("cannot reflect {pad} elements of a dimension of {size}");
                return Err(Reason::with_fix(text, "use smaller pads"));
            }
            None => is_known = false,
        }
    }
    if is_known {
        return keep(node, site);
    }
    if !is_checkable {
        return Err(uncheckable());
    }
    // A dimension that is not padded may have any size.
    let least: Vec<i64> = pads.iter().map(|&pad| if pad > 0 { pad } else { -1 }).collect();
    let least = site.ints(&least);
    Ok(checked_reflection(node, &least, false, site))
}

/// A reflection that fails while it runs if one of the pads is not smaller than its dimension, or is negative.
fn checked_reflection(mut node: NodeProto, pads: &str, may_be_negative: bool, site: &mut Site) -> Vec<NodeProto> {
    let mut n = |purpose: &str| site.name(purpose);
    let (shape, ends, twice, missing) = (n("shape"), n("shape"), n("shapes"), n("missing"));
    let (number, negative, below, both, checked) = (n("number"), n("negative"), n("below"), n("both"), n("checked"));
    let one = site.ints(&[1]);
    let text = format!("{}the value is too small for its reflection at node `{}`", guard::CHECK, title(&node));
    let input = std::mem::replace(&mut node.input[0], checked.clone());
    let mut nodes = vec![
        new("Shape", &[&input], &shape),
        new("Identity", &[&shape], &ends),
        new("Concat", &[&shape, &ends], &twice).with_int("axis", 0),
        new("Sub", &[pads, &twice], &missing),
    ];
    if may_be_negative {
        nodes.extend([
            new("Neg", &[pads], &negative),
            new("Sub", &[&negative, &one], &below),
            new("Concat", &[&missing, &below], &both).with_int("axis", 0),
        ]);
    }
    nodes.push(cast(if may_be_negative { &both } else { &missing }, DataType::FLOAT, &number));
    nodes.extend(guard::check(&number, -1.0, text, &input, &checked, site));
    nodes.push(node);
    nodes
}

/// `Expand`. The engine panics if it computes a shape with fewer dimensions than the input.
pub(super) fn expand(mut node: NodeProto, site: &mut Site) -> Replaced {
    match (site.info(&node, 0).rank, site.info(&node, 1).stated_rank()) {
        (Some(rank), Some(length)) if length < rank => {
            let (ones, whole) = (site.ints(&vec![1; rank - length]), site.name("shape"));
            let concat = new("Concat", &[&ones, &node.input[1]], &whole).with_int("axis", 0);
            node.input[1] = whole;
            Ok(vec![concat, node])
        }
        _ => keep(node, site),
    }
}

/// `Shape`. The engine ignores `start` and `end` where it joins operators: `Slice(Shape(x), start, end)`.
pub(super) fn shape(mut node: NodeProto, site: &mut Site) -> Replaced {
    let (start, end) = (node.int_or("start", 0), node.int_or("end", i64::from(i32::MAX)));
    if node.attribute("start").is_none() && node.attribute("end").is_none() {
        return keep(node, site);
    }
    node.remove("start");
    node.remove("end");
    let (starts, ends, all) = (site.ints(&[start]), site.ints(&[end]), site.name("shape"));
    let output = std::mem::replace(&mut node.output[0], all.clone());
    Ok(vec![node, new("Slice", &[&all, &starts, &ends], &output)])
}

/// `Slice`. If the axes are absent, the engine uses the steps as the axes, and needs them in operator sets before 10.
pub(super) fn slice(mut node: NodeProto, site: &mut Site) -> Replaced {
    if node.attribute("axes").is_none()
        && let Some(length) = node.ints("starts").map(<[i64]>::len)
    {
        node.set_ints("axes", &(0..length as i64).collect::<Vec<_>>());
    }
    // It also needs them for fewer starts than dimensions.
    if node.input(1).is_some() && node.input(3).is_none() {
        let lists = [site.info(&node, 1), site.info(&node, 2)];
        if let Some(length) = lists.iter().find_map(|list| list.size(0)) {
            // A declared length can be any number.
            let Some(rank) = lists.iter().find_map(Info::stated_rank) else {
                return Err(Reason::unsupported(format!(
                    "has {length} starts or ends, more than a tensor has dimensions"
                )));
            };
            node.input.resize(node.input.len().max(4), String::new());
            node.input[3] = site.ints(&(0..rank as i64).collect::<Vec<_>>());
        } else if node.input(4).is_some() {
            return Err(Reason::with_fix("needs `axes` if there are `steps`", "give the axes of the slice"));
        }
    }
    check_backward_starts(&node, site)?;
    keep(node, site)
}

/// The engine panics if a slice with a negative step starts before the first element.
fn check_backward_starts(node: &NodeProto, site: &Site) -> Result<(), Reason> {
    let steps = site.info(node, 4);
    let may_be_negative = |index: usize| match &steps.constant {
        Some(steps) => steps.get(index).is_none_or(|&step| step < 0.0),
        None => true,
    };
    if node.input(4).is_none() || steps.constant.as_ref().is_some_and(|steps| steps.iter().all(|&step| step > 0.0)) {
        return Ok(());
    }
    let (data, starts, axes) = (site.info(node, 0), site.info(node, 1), site.info(node, 3));
    let is_valid = |index: usize, start: f64| {
        let axis = axes.constant.as_ref().and_then(|axes| axes.get(index)).map(|&axis| axis as i64);
        let size = axis.and_then(|axis| data.size(axis));
        !may_be_negative(index) || start >= -1.0 || size.is_some_and(|size| start >= -size as f64)
    };
    // onnxruntime reads these as the first element, ONNX as the last.
    let is_open = |end: &f64| *end == i64::MAX as f64 || *end == f64::from(i32::MAX);
    let ends = site.info(node, 2).constant;
    let is_ambiguous = |(index, end): (usize, &f64)| may_be_negative(index) && is_open(end);
    if ends.is_none_or(|ends| ends.iter().enumerate().any(is_ambiguous)) {
        return Err(Reason::with_fix(
            "slices backwards to another end than onnxruntime if the end is the largest integer, or not constant",
            "use constant `ends` such as the least integer",
        ));
    }
    let known =
        starts.constant.is_some_and(|starts| starts.iter().enumerate().all(|(index, &start)| is_valid(index, start)));
    if known {
        Ok(())
    } else {
        Err(Reason::with_fix("cannot slice backwards from a computed start", "use constant `starts`"))
    }
}

/// `Scatter` and `ScatterElements`. The engine pairs the rows of data and indices, which is right only if their sizes
/// are equal in all dimensions except `axis`.
pub(super) fn scatter_elements(node: NodeProto, site: &mut Site) -> Replaced {
    let (data, indices) = (site.info(&node, 0), site.info(&node, 1));
    if node.attribute("reduction").is_some() && data.ty == Some(DataType::BOOL) {
        return Err(Reason::unsupported("does not support `reduction` of BOOL"));
    }
    let (Some(sizes), Some(others)) = (&data.sizes, &indices.sizes) else { return Err(rank_needed()) };
    let axis = node.int_or("axis", 0);
    let axis = if axis < 0 { axis + sizes.len() as i64 } else { axis };
    let is_same = |(index, (size, other)): (usize, (&Option<i64>, &Option<i64>))| {
        index as i64 == axis || size.is_some() && size == other
    };
    if !sizes.iter().zip(others).enumerate().all(is_same) {
        return Err(Reason::unsupported(
            "supports only indices with the sizes of the data in all dimensions except `axis`, and needs these sizes",
        ));
    }
    keep(node, site)
}

/// `ScatterND`.
pub(super) fn scatter_nd(node: NodeProto, site: &mut Site) -> Replaced {
    if node.attribute("reduction").is_some() && site.info(&node, 0).ty == Some(DataType::BOOL) {
        return Err(Reason::unsupported("does not support `reduction` of BOOL"));
    }
    keep(node, site)
}

/// `NonZero`.
pub(super) fn non_zero(node: NodeProto, site: &mut Site) -> Replaced {
    if site.info(&node, 0).rank == Some(0) {
        return Err(Reason::with_fix("does not support scalars here", "reshape the input to one dimension"));
    }
    keep(node, site)
}

/// `Squeeze` and `Unsqueeze`. The engine needs the axes as a list.
pub(super) fn axes(mut node: NodeProto, site: &mut Site) -> Replaced {
    let axes = site.info(&node, 1);
    if let (Some(0), Some(&[axis])) = (axes.rank, axes.constant.as_deref()) {
        node.input[1] = site.ints(&[axis as i64]);
    }
    // The engine joins `Reshape(Expand(Unsqueeze(x)))` to one operator that ignores the position of the new dimension. A
    // `Transpose` that changes nothing keeps them apart.
    if node.op_type.as_deref() == Some("Unsqueeze") && site.uses.is_repeated(&node.output[0]) {
        let known = infer::outputs(&node, site.opset, site.values).first().and_then(|output| output.rank);
        let rank = known.ok_or_else(rank_needed)?;
        let (inner, output) = (site.name("unsqueezed"), node.output[0].clone());
        node.output[0].clone_from(&inner);
        let mut transpose = new("Transpose", &[&inner], &output);
        transpose.set_ints("perm", &(0..rank as i64).collect::<Vec<_>>());
        return Ok(vec![node, transpose]);
    }
    keep(node, site)
}

/// A diagonal further away than any dimension is long.
const FURTHEST: i64 = 1 << 30;

/// `Trilu`. The engine adds the diagonal to the place of an element in 32 bits, which wraps.
pub(super) fn trilu(mut node: NodeProto, site: &mut Site) -> Replaced {
    let Some(diagonal) = node.input(1).map(str::to_owned) else { return keep(node, site) };
    if site.info(&node, 1).bound <= FURTHEST as f64 {
        return keep(node, site);
    }
    let ty = site.info(&node, 1).ty.unwrap_or(DataType::INT64);
    let (least, most) = (site.scalar(ty, -FURTHEST as f32), site.scalar(ty, FURTHEST as f32));
    let (raised, limited) = (site.name("raised"), site.name("limited"));
    node.input[1].clone_from(&limited);
    Ok(vec![new("Max", &[&diagonal, &least], &raised), new("Min", &[&raised, &most], &limited), node])
}
