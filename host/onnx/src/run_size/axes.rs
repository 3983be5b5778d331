//! Operators that change the axes of a value.

use rten_onnx::onnx::NodeProto;

use super::value::Value;
use crate::node::Attributes;

/// The place of an axis; a negative one counts from the last.
pub(super) fn place(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis.checked_add(i64::try_from(rank).ok()?)? } else { axis };
    usize::try_from(axis).ok().filter(|&axis| axis < rank)
}

fn places(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    axes.iter().map(|&axis| place(axis, rank)).collect()
}

/// The axes of a node: an attribute in older operator sets, input `index` in newer ones. The outer `None` means that they are
/// not known, the inner one that none are given.
pub(super) fn axes(node: &NodeProto, inputs: &[&Value], index: usize) -> Option<Option<Vec<i64>>> {
    if let Some(axes) = node.ints("axes") {
        return Some(Some(axes.to_vec()));
    }
    match node.input.get(index) {
        Some(name) if !name.is_empty() => Some(Some(inputs[index].integers()?)),
        _ => Some(None),
    }
}

/// Broadcasting of several shapes (ONNX, "Multidirectional Broadcasting").
pub(super) fn broadcast(shapes: &[&[i64]]) -> Option<Vec<i64>> {
    let rank = shapes.iter().map(|shape| shape.len()).max()?;
    (0..rank)
        .map(|from_last| {
            let mut sizes = shapes.iter().filter_map(|shape| shape.iter().rev().nth(rank - 1 - from_last)).copied();
            sizes.try_fold(1, |size, other| match (size, other) {
                (1, other) => Some(other),
                (size, 1) => Some(size),
                (size, other) => (size == other).then_some(size),
            })
        })
        .collect()
}

pub(super) fn reshape(input: &Value, shape: &[i64], zero_is_size: bool) -> Option<Vec<i64>> {
    let dims = input.dims.as_ref();
    let mut result = shape.to_vec();
    for (at, size) in result.iter_mut().enumerate() {
        if *size == 0 && !zero_is_size {
            *size = *dims?.get(at)?;
        }
    }
    if let Some(inferred) = result.iter().position(|&size| size == -1) {
        let known: i64 =
            result.iter().filter(|&&size| size != -1).try_fold(1_i64, |product, &size| product.checked_mul(size))?;
        let all = i64::try_from(input.count()?).ok()?;
        result[inferred] = if known > 0 && all % known == 0 { all / known } else { return None };
    }
    Some(result)
}

pub(super) fn flatten(dims: &[i64], axis: i64) -> Option<Vec<i64>> {
    let axis = if axis == dims.len() as i64 { dims.len() } else { place(axis, dims.len())? };
    let product = |sizes: &[i64]| sizes.iter().try_fold(1_i64, |product, &size| product.checked_mul(size));
    Some(vec![product(&dims[..axis])?, product(&dims[axis..])?])
}

pub(super) fn squeeze(dims: &[i64], axes: Option<&[i64]>) -> Option<Vec<i64>> {
    let removed = match axes {
        Some(axes) => places(axes, dims.len())?,
        None => (0..dims.len()).filter(|&at| dims[at] == 1).collect(),
    };
    Some((0..dims.len()).filter(|at| !removed.contains(at)).map(|at| dims[at]).collect())
}

pub(super) fn unsqueeze(dims: &[i64], axes: &[i64]) -> Option<Vec<i64>> {
    let rank = dims.len() + axes.len();
    let added = places(axes, rank)?;
    let mut rest = dims.iter();
    (0..rank).map(|at| if added.contains(&at) { Some(1) } else { rest.next().copied() }).collect()
}

pub(super) fn transpose(node: &NodeProto, dims: &[i64]) -> Option<Vec<i64>> {
    match node.ints("perm") {
        Some(order) => order.iter().map(|&axis| dims.get(usize::try_from(axis).ok()?).copied()).collect(),
        None => Some(dims.iter().rev().copied().collect()),
    }
}

pub(super) fn concat(shapes: &[&Value], axis: i64) -> Option<Vec<i64>> {
    let mut result = shapes.first()?.dims.clone()?;
    let axis = place(axis, result.len())?;
    result[axis] = 0;
    for shape in shapes {
        result[axis] = result[axis].checked_add(*shape.dims.as_ref()?.get(axis)?)?;
    }
    Some(result)
}

/// The outputs of a `Split`. A part is never larger than the whole.
pub(super) fn split(node: &NodeProto, opset: i64, inputs: &[&Value]) -> Vec<Value> {
    let whole = inputs[0].shape().at_most();
    let parts = || {
        let dims = inputs[0].dims.as_ref()?;
        let axis = place(node.int_or("axis", 0), dims.len())?;
        let sizes = split_sizes(node, opset, inputs, dims[axis])?;
        let starts =
            sizes.iter().scan(0, |end: &mut i64, size| Some(std::mem::replace(end, end.saturating_add(*size))));
        let part = |(start, &size): (i64, &i64)| {
            let mut dims = dims.clone();
            dims[axis] = size;
            let range = usize::try_from(start).ok()..usize::try_from(start.saturating_add(size)).ok();
            let elements = inputs[0].elements.as_ref().filter(|_| dims.len() == 1);
            let elements = elements.and_then(|all| all.get(range.start?..range.end?)).map(<[f64]>::to_vec);
            Value { elements, is_whole: inputs[0].is_whole, ..Value::of_dims(dims) }
        };
        Some(starts.zip(&sizes).map(part).collect())
    };
    parts().unwrap_or_else(|| vec![whole; node.output.len()])
}

fn split_sizes(node: &NodeProto, opset: i64, inputs: &[&Value], size: i64) -> Option<Vec<i64>> {
    let count = i64::try_from(node.output.len()).ok()?;
    if let Some(sizes) = node.ints("split") {
        return Some(sizes.to_vec());
    }
    if node.input.get(1).is_some_and(|name| !name.is_empty()) {
        return inputs[1].integers();
    }
    // Since operator set 18 the last part may be smaller.
    let part = if opset < 18 { size / count } else { size.saturating_add(count - 1) / count };
    Some((0..count).map(|at| part.min((size - at * part).max(0))).collect())
}

/// The sizes and, of a list, the elements that a `Slice` keeps.
pub(super) fn slice(node: &NodeProto, inputs: &[&Value]) -> Option<Value> {
    let given = |index: usize| node.input.get(index).is_some_and(|name| !name.is_empty());
    let list = |name: &str, index: usize| match node.ints(name) {
        Some(numbers) => Some(numbers.to_vec()),
        None => inputs.get(index)?.integers(),
    };
    let mut dims = inputs[0].dims.clone()?;
    let (starts, ends) = (list("starts", 1)?, list("ends", 2)?);
    let axes =
        if node.ints("axes").is_some() || given(3) { list("axes", 3)? } else { (0..starts.len() as i64).collect() };
    let steps = if given(4) { inputs[4].integers()? } else { vec![1; starts.len()] };
    let mut kept = inputs[0].elements.clone().filter(|_| dims.len() == 1);
    for (at, &axis) in axes.iter().enumerate() {
        let axis = place(axis, dims.len())?;
        let (size, step) = (dims[axis], *steps.get(at)?);
        let from_front = |bound: i64| if bound < 0 { bound.saturating_add(size) } else { bound };
        let (start, end) = (from_front(*starts.get(at)?), from_front(*ends.get(at)?));
        let (first, length) = match step {
            0 => return None,
            1.. => {
                let (start, end) = (start.clamp(0, size), end.clamp(0, size));
                (start, (end - start).max(0).checked_add(step - 1)? / step)
            }
            _ => {
                let (start, end) = (start.clamp(-1, size - 1), end.clamp(-1, size - 1));
                let back = step.checked_neg()?;
                (start, (start - end).max(0).checked_add(back - 1)? / back)
            }
        };
        dims[axis] = length;
        kept = kept.and_then(|elements| {
            (0..length).map(|index| elements.get(usize::try_from(first + index * step).ok()?).copied()).collect()
        });
    }
    Some(Value { elements: kept, ..Value::of_dims(dims) })
}

pub(super) fn tile(dims: &[i64], repeats: &[i64]) -> Option<Vec<i64>> {
    (dims.len() == repeats.len())
        .then(|| dims.iter().zip(repeats).map(|(&size, &times)| Some(size.saturating_mul(times.max(0)))).collect())?
}

pub(super) fn pad(node: &NodeProto, inputs: &[&Value]) -> Option<Vec<i64>> {
    let mut dims = inputs[0].dims.clone()?;
    let pads = match node.ints("pads") {
        Some(pads) => pads.to_vec(),
        None => inputs.get(1)?.integers()?,
    };
    let axes = match axes(node, inputs, 3)? {
        Some(axes) => places(&axes, dims.len())?,
        None => (0..dims.len()).collect(),
    };
    for (at, &axis) in axes.iter().enumerate() {
        let (before, after) = (*pads.get(at)?, *pads.get(at + axes.len())?);
        dims[axis] = dims[axis].checked_add(before)?.checked_add(after)?;
    }
    Some(dims)
}

pub(super) fn reduce(node: &NodeProto, dims: &[i64], axes: Option<&[i64]>) -> Option<Vec<i64>> {
    if axes.is_none_or(<[i64]>::is_empty) && node.int_or("noop_with_empty_axes", 0) == 1 {
        return Some(dims.to_vec());
    }
    let reduced = match axes {
        Some(axes) if !axes.is_empty() => places(axes, dims.len())?,
        _ => (0..dims.len()).collect(),
    };
    let keeps = node.int_or("keepdims", 1) == 1;
    let size = |at: usize| match (reduced.contains(&at), keeps) {
        (false, _) => Some(dims[at]),
        (true, true) => Some(1),
        (true, false) => None,
    };
    Some((0..dims.len()).filter_map(size).collect())
}
