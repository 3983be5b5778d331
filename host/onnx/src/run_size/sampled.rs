//! Operators that read an image at given places, and operators that create values of a stated size.

use rten_onnx::onnx::NodeProto;

use super::axes;
use super::value::Value;
use crate::node::Attributes;

/// The first output.
pub(super) fn first(node: &NodeProto, operator: &str, inputs: &[&Value]) -> Option<Value> {
    let dims = |index: usize| inputs.get(index)?.dims.as_ref();
    let integer = |index: usize| inputs.get(index)?.integer();
    let given = |index: usize| node.input.get(index).is_some_and(|name| !name.is_empty());
    let of = Value::of_dims;
    Some(match operator {
        "GridSample" => {
            let (image, grid) = (dims(0)?, dims(1)?);
            let places = grid.get(1..grid.len().checked_sub(1)?)?;
            of([image.get(..2)?, places].concat())
        }
        "AffineGrid" => {
            let size = inputs.get(1)?.integers()?;
            let places = size.get(2..)?;
            of([&size[..1], places, &[places.len() as i64]].concat())
        }
        "RoiAlign" => {
            let size = |name: &str| node.int_or(name, 1);
            of(vec![*dims(1)?.first()?, *dims(0)?.get(1)?, size("output_height"), size("output_width")])
        }
        "MaxRoiPool" => of([&[*dims(1)?.first()?, *dims(0)?.get(1)?], node.ints("pooled_shape")?].concat()),
        "Col2Im" => {
            let (blocks, image) = (dims(0)?, inputs.get(1)?.integers()?);
            let block: i64 = inputs.get(2)?.integers()?.iter().try_fold(1_i64, |all, &size| all.checked_mul(size))?;
            (block > 0).then_some(())?;
            of([&[*blocks.first()?, blocks.get(1)? / block], image.as_slice()].concat())
        }
        "MaxUnpool" => of(unpooled(node, inputs)?),
        "Det" => of(dims(0)?.get(..dims(0)?.len().checked_sub(2)?)?.to_vec()),
        "RandomNormal" | "RandomUniform" => of(node.ints("shape")?.to_vec()),
        "Multinomial" => of(vec![*dims(0)?.first()?, node.int_or("sample_size", 1)]),
        "HannWindow" | "HammingWindow" | "BlackmanWindow" => of(vec![integer(0)?]),
        "MelWeightMatrix" => of(vec![integer(1)?.checked_div(2)?.checked_add(1)?, integer(0)?]),
        "CenterCropPad" => {
            let (mut result, sizes) = (dims(0)?.clone(), inputs.get(1)?.integers()?);
            let axes: Vec<i64> = node.ints("axes").map_or_else(|| (0..sizes.len() as i64).collect(), <[i64]>::to_vec);
            for (&axis, &size) in axes.iter().zip(&sizes) {
                let place = axes::place(axis, result.len())?;
                result[place] = size;
            }
            of(result)
        }
        "DFT" => of(transformed(node, inputs)?),
        "STFT" => {
            let (signal, step) = (dims(0)?, integer(1)?);
            let frame = if given(3) { integer(3)? } else { *dims(2)?.first()? };
            (step > 0 && frame > 0).then_some(())?;
            let frames = signal.get(1)?.checked_sub(frame)?.max(-step) / step + 1;
            let bins = if node.int_or("onesided", 1) == 1 { frame / 2 + 1 } else { frame };
            of(vec![*signal.first()?, frames, bins, 2])
        }
        _ => return None,
    })
}

/// `MaxUnpool`: the inverse of the pool, or a stated shape.
fn unpooled(node: &NodeProto, inputs: &[&Value]) -> Option<Vec<i64>> {
    if node.input.get(2).is_some_and(|name| !name.is_empty()) {
        return inputs.get(2)?.integers();
    }
    let dims = inputs[0].dims.as_ref()?;
    let kernel = node.ints("kernel_shape")?;
    let at =
        |name: &str, index: usize, default: i64| node.ints(name).map_or(Some(default), |list| list.get(index).copied());
    let size = |(index, &kernel): (usize, &i64)| {
        let size = dims.get(index + 2)?.checked_sub(1)?.checked_mul(at("strides", index, 1)?)?;
        size.checked_add(kernel)?.checked_sub(at("pads", index, 0)?)?.checked_sub(at(
            "pads",
            index + kernel_axes(node),
            0,
        )?)
    };
    let sizes = kernel.iter().enumerate().map(size).collect::<Option<Vec<_>>>()?;
    Some([dims.get(..2)?, &sizes].concat())
}

fn kernel_axes(node: &NodeProto) -> usize {
    node.ints("kernel_shape").map_or(0, <[i64]>::len)
}

/// A Fourier transform: of the stated length, and complex unless it is an inverse one of one side.
fn transformed(node: &NodeProto, inputs: &[&Value]) -> Option<Vec<i64>> {
    let given = |index: usize| node.input.get(index).is_some_and(|name| !name.is_empty());
    let mut dims = inputs[0].dims.clone()?;
    let axis = match node.int("axis") {
        Some(axis) => axis,
        None if given(2) => inputs.get(2)?.integer()?,
        // The default of operator set 17 is another one; the larger of both is not known.
        None => return None,
    };
    let (place, is_one_sided, is_inverse) =
        (axes::place(axis, dims.len())?, node.int_or("onesided", 0) == 1, node.int_or("inverse", 0) == 1);
    if given(1) {
        dims[place] = inputs.get(1)?.integer()?;
    }
    if is_one_sided && is_inverse {
        return None;
    }
    if is_one_sided {
        dims[place] = dims[place] / 2 + 1;
    }
    *dims.last_mut()? = 2;
    Some(dims)
}
