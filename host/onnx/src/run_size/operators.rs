//! The outputs of each operator.

use rten_onnx::onnx::{DataType, NodeProto};

use super::value::{KEPT_ELEMENTS, Value};
use super::{attention, axes, constants, dependent, einsum, numbers, products, sampled, sequences, windows};
use crate::infer;
use crate::node::Attributes;

/// What is known about the outputs of a node of the standard operator set.
pub(super) fn outputs(node: &NodeProto, opset: i64, inputs: &[&Value]) -> Vec<Value> {
    let operator = node.op_type.as_deref().unwrap_or_default();
    let is_most = inputs.iter().any(|input| input.is_most);
    let is_whole = is_whole(node, operator, inputs);
    let mut outputs = known_outputs(node, operator, opset, inputs);
    for (index, output) in outputs.iter_mut().enumerate() {
        output.is_most |= is_most;
        output.is_whole |= is_whole && index == 0;
    }
    outputs
}

fn known_outputs(node: &NodeProto, operator: &str, opset: i64, inputs: &[&Value]) -> Vec<Value> {
    let several = |shapes: Option<Vec<Vec<i64>>>| shapes.unwrap_or_default().into_iter().map(Value::of_dims).collect();
    match operator {
        "Split" => axes::split(node, opset, inputs),
        "RNN" | "GRU" | "LSTM" => several(recurrent(node, inputs)),
        "TopK" => {
            let values = top(node, inputs).unwrap_or_else(|| inputs[0].shape().at_most());
            vec![values.clone(), values]
        }
        "MaxPool" => {
            let values = Value::of(windows::windows(node, inputs[0], None));
            vec![values.clone(), values]
        }
        "Dropout" => vec![inputs[0].shape(), inputs[0].shape()],
        "Attention" => attention::outputs(node, inputs),
        "DynamicQuantizeLinear" => vec![inputs[0].shape(), Value::of_dims(Vec::new()), Value::of_dims(Vec::new())],
        "Unique" => dependent::unique(node, inputs[0]),
        _ => vec![first(node, operator, opset, inputs).unwrap_or_default()],
    }
}

/// True if the first output has an integer type, as far as it is known.
fn is_whole(node: &NodeProto, operator: &str, inputs: &[&Value]) -> bool {
    match operator {
        "Shape" | "Size" | "SequenceLength" | "NonZero" | "ArgMax" | "ArgMin" => true,
        "Cast" => {
            node.int("to").is_some_and(|to| [DataType::INT64, DataType::INT32].iter().any(|ty| i64::from(ty.0) == to))
        }
        "Where" => inputs.iter().skip(1).all(|input| input.is_whole),
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Min" | "Max" | "Sum" | "Concat" | "Range" => {
            inputs.iter().all(|input| input.is_whole)
        }
        "ConstantOfShape" | "Constant" => false,
        _ => inputs.first().is_some_and(|input| input.is_whole),
    }
}

/// The largest value that the engine needs in addition to the outputs of a node: the scores of attention, or a step of
/// a product.
pub(super) fn inner(node: &NodeProto, inputs: &[&Value]) -> Option<Value> {
    match node.op_type.as_deref() {
        Some("Attention") => Some(Value::of_dims(attention::scores(node, inputs)?)),
        Some("Einsum") => Some(Value::of_dims(einsum::largest_step(node.text_or("equation", ""), &all_dims(inputs)?)?)),
        _ => None,
    }
}

fn all_dims<'a>(inputs: &[&'a Value]) -> Option<Vec<&'a [i64]>> {
    inputs.iter().map(|input| input.dims.as_deref()).collect()
}

fn first(node: &NodeProto, operator: &str, opset: i64, inputs: &[&Value]) -> Option<Value> {
    let dims = |index: usize| inputs.get(index)?.dims.as_ref();
    let of = Value::of_dims;
    Some(match operator {
        "Constant" => numbers::constant(node),
        "Identity" | "Cast" | "Floor" | "Ceil" | "Round" | "Sqrt" | "Abs" | "Neg" | "Not" => {
            let input = *inputs.first()?;
            Value { elements: numbers::of_one(node, operator, input), ..input.shape() }
        }
        _ if infer::keeps_sizes(operator) => inputs.first()?.shape(),
        // These keep the sizes of the first input, too.
        "Acos"
        | "Acosh"
        | "Asin"
        | "Asinh"
        | "Atan"
        | "Atanh"
        | "Bernoulli"
        | "BitCast"
        | "BitwiseNot"
        | "Celu"
        | "Cosh"
        | "CumProd"
        | "EyeLike"
        | "GroupNormalization"
        | "Hardmax"
        | "LRN"
        | "LpNormalization"
        | "MeanVarianceNormalization"
        | "Mish"
        | "RMSNormalization"
        | "RandomNormalLike"
        | "RandomUniformLike"
        | "ReverseSequence"
        | "RotaryEmbedding"
        | "Scatter"
        | "ScatterElements"
        | "ScatterND"
        | "Selu"
        | "Shrink"
        | "Sinh"
        | "TensorScatter"
        | "ThresholdedRelu" => inputs.first()?.shape(),
        "Add" | "And" | "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "Div" | "Equal" | "Greater"
        | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Max" | "Mean" | "Min" | "Mod" | "Mul" | "Or" | "Pow" | "Sub"
        | "Sum" | "Where" | "Xor"
            if opset >= 7 =>
        {
            let result = of(axes::broadcast(&all_dims(inputs)?)?);
            let count = result.count().filter(|&count| count <= KEPT_ELEMENTS);
            let elements = count.and_then(|count| numbers::elementwise(node, inputs, count));
            // Those of the larger choice.
            let is_most = operator == "Where" && inputs[0].elements.is_none() && elements.is_some();
            Value { elements, is_most, ..result }
        }
        "MatMul" | "MatMulInteger" => of(products::product(dims(0)?, dims(1)?)?),
        "QLinearMatMul" => of(products::product(dims(0)?, dims(3)?)?),
        "Gemm" => {
            let side = |index: usize, name: &str, at: usize| {
                let place = if node.int_or(name, 0) == 0 { at } else { 1 - at };
                dims(index)?.get(place).copied()
            };
            of(vec![side(0, "transA", 0)?, side(1, "transB", 1)?])
        }
        "Conv" | "ConvInteger" => of(windows::windows(node, inputs.first()?, Some(inputs.get(1)?))?),
        "QLinearConv" => of(windows::windows(node, inputs.first()?, Some(inputs.get(3)?))?),
        "ConvTranspose" => of(windows::transposed(node, inputs.first()?, inputs.get(1)?)?),
        "AveragePool" | "LpPool" => of(windows::windows(node, inputs.first()?, None)?),
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => {
            let sizes = dims(0)?;
            of(sizes.iter().enumerate().map(|(at, &size)| if at < 2 { size } else { 1 }).collect())
        }
        "Resize" | "Upsample" => of(windows::resize(node, operator, opset, inputs)?),
        "DepthToSpace" | "SpaceToDepth" => {
            let (&[batch, channels, height, width], block) = (dims(0)?.as_slice(), node.int("blocksize")?) else {
                return None;
            };
            (block > 0).then_some(())?;
            let square = block.checked_mul(block)?;
            of(match operator {
                "DepthToSpace" => vec![batch, channels / square, height.checked_mul(block)?, width.checked_mul(block)?],
                _ => vec![batch, channels.checked_mul(square)?, height / block, width / block],
            })
        }
        _ => layout(node, operator, opset, inputs)?,
    })
}

/// Operators that move, choose and create elements.
fn layout(node: &NodeProto, operator: &str, opset: i64, inputs: &[&Value]) -> Option<Value> {
    let dims = |index: usize| inputs.get(index)?.dims.as_ref();
    let list = |index: usize| inputs.get(index)?.integers();
    let of = Value::of_dims;
    // A reshape of a small value keeps its elements.
    let same_elements = |dims: Vec<i64>| {
        let result = of(dims);
        let elements = inputs[0].elements.clone().filter(|_| result.count() == inputs[0].count());
        Value { elements, ..result }
    };
    Some(match operator {
        "Shape" => {
            let sizes = dims(0)?;
            let rank = i64::try_from(sizes.len()).ok()?;
            let at = |bound: i64| (if bound < 0 { bound.saturating_add(rank) } else { bound }).clamp(0, rank) as usize;
            let (start, end) = (at(node.int_or("start", 0)), at(node.int_or("end", rank)));
            Value::list(sizes.get(start..end).unwrap_or_default().iter().map(|&size| size as f64).collect())
        }
        "Size" => Value::scalar(inputs.first()?.count()? as f64),
        "Reshape" => {
            let shape = match node.ints("shape") {
                Some(shape) => shape.to_vec(),
                None => list(1)?,
            };
            same_elements(axes::reshape(inputs[0], &shape, node.int_or("allowzero", 0) == 1)?)
        }
        "Flatten" => of(axes::flatten(dims(0)?, node.int_or("axis", 1))?),
        "Squeeze" => same_elements(axes::squeeze(dims(0)?, axes::axes(node, inputs, 1)?.as_deref())?),
        "Unsqueeze" => same_elements(axes::unsqueeze(dims(0)?, &axes::axes(node, inputs, 1)??)?),
        "Transpose" => of(axes::transpose(node, dims(0)?)?),
        "Expand" => {
            let shape = list(1)?;
            let result = of(axes::broadcast(&[dims(0)?, &shape])?);
            let is_small = result.count().is_some_and(|count| count <= KEPT_ELEMENTS);
            let elements = inputs[0].elements.as_ref().filter(|elements| elements.len() == 1 && is_small);
            Value { elements: elements.map(|one| vec![one[0]; result.count().unwrap_or_default() as usize]), ..result }
        }
        "Tile" if opset >= 6 => of(axes::tile(dims(0)?, &list(1)?)?),
        "Concat" => {
            let result = of(axes::concat(inputs, node.int_or("axis", 1))?);
            // A chain of these doubles the list each time.
            let is_short = result.rank() == Some(1) && result.count().is_some_and(|count| count <= KEPT_ELEMENTS);
            let lists = || inputs.iter().map(|input| input.elements.clone()).collect::<Option<Vec<_>>>();
            Value { elements: is_short.then(lists).flatten().map(|lists| lists.concat()), ..result }
        }
        // A part of the input, of whatever size.
        "Slice" => axes::slice(node, inputs).unwrap_or_else(|| inputs[0].shape().at_most()),
        "Pad" => of(axes::pad(node, inputs)?),
        "Gather" => {
            let (data, indices) = (dims(0)?, dims(1)?);
            let axis = axes::place(node.int_or("axis", 0), data.len())?;
            let result = of([&data[..axis], indices.as_slice(), &data[axis + 1..]].concat());
            let element = |&index: &i64| {
                let elements = inputs[0].elements.as_ref()?;
                elements.get(axes::place(index, elements.len())?).copied()
            };
            let elements = list(1).filter(|_| data.len() == 1);
            Value { elements: elements.and_then(|indices| indices.iter().map(element).collect()), ..result }
        }
        "GatherElements" => inputs.get(1)?.shape(),
        "GatherND" => {
            let (data, indices) = (dims(0)?, dims(1)?);
            let batch = usize::try_from(node.int_or("batch_dims", 0)).ok()?;
            let (&depth, outer) = indices.split_last()?;
            let from = batch.checked_add(usize::try_from(depth).ok()?)?;
            of([outer, data.get(from..)?].concat())
        }
        "ConstantOfShape" => {
            let result = of(list(0)?);
            let one = match node.attribute("value") {
                Some(value) => constants::of_attribute(value)?,
                None => Value::scalar(0.0),
            };
            let count = result.count().filter(|&count| count <= KEPT_ELEMENTS);
            let number = one.elements.and_then(|elements| elements.first().copied());
            let elements = count.zip(number).map(|(count, one)| vec![one; count as usize]);
            Value { elements, is_whole: one.is_whole, ..result }
        }
        "Range" => numbers::range(inputs)?,
        "OneHot" => {
            let (indices, depth) = (dims(0)?, inputs.get(1)?.integer()?);
            let axis = node.int_or("axis", -1);
            let place = axes::place(axis, indices.len() + 1)?;
            let mut sizes = indices.clone();
            sizes.insert(place, depth);
            of(sizes)
        }
        "ArgMax" | "ArgMin" => {
            let result = of(axes::reduce(node, dims(0)?, Some(&[node.int_or("axis", 0)]))?);
            // The largest place is the last.
            let last = dims(0)?[axes::place(node.int_or("axis", 0), dims(0)?.len())?] - 1;
            let count = result.count().filter(|&count| count <= KEPT_ELEMENTS);
            let elements = count.map(|count| vec![last as f64; count as usize]);
            Value { elements, is_most: true, ..result }
        }
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceMean" | "ReduceL1" | "ReduceL2"
        | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceSumSquare" => {
            let result = match axes::axes(node, inputs, 1) {
                Some(axes) => of(axes::reduce(node, dims(0)?, axes.as_deref())?),
                // Any axes: at most nothing is reduced.
                None => inputs[0].shape().at_most(),
            };
            let is_one = inputs[0].rank() == Some(1) && result.count() == Some(1);
            let elements = numbers::reduced(operator, inputs[0]).filter(|_| is_one).map(|number| vec![number]);
            Value { elements, ..result }
        }
        "Einsum" => of(einsum::result(node.text_or("equation", ""), &all_dims(inputs)?)?),
        "SequenceConstruct" | "SequenceEmpty" | "SequenceInsert" | "SequenceErase" | "SequenceAt"
        | "SequenceLength" | "SplitToSequence" | "ConcatFromSequence" => sequences::output(node, operator, inputs)?,
        _ => dependent::first(node, operator, inputs).or_else(|| sampled::first(node, operator, inputs))?,
    })
}

fn top(node: &NodeProto, inputs: &[&Value]) -> Option<Value> {
    let mut dims = inputs[0].dims.clone()?;
    let count = match node.int("k") {
        Some(count) => count,
        None => inputs.get(1)?.integer()?,
    };
    let axis = axes::place(node.int_or("axis", -1), dims.len())?;
    dims[axis] = count;
    Some(Value::of_dims(dims))
}

/// The outputs of a recurrent network: all states, the last one, and the last cell of an `LSTM`.
fn recurrent(node: &NodeProto, inputs: &[&Value]) -> Option<Vec<Vec<i64>>> {
    let (&[first, second, _], hidden) = (inputs[0].dims.as_deref()?, node.int("hidden_size")?) else { return None };
    let directions = if node.text_or("direction", "forward") == "bidirectional" { 2 } else { 1 };
    Some(if node.int_or("layout", 0) == 1 {
        let last = vec![first, directions, hidden];
        vec![vec![first, second, directions, hidden], last.clone(), last]
    } else {
        let last = vec![directions, second, hidden];
        vec![vec![first, directions, second, hidden], last.clone(), last]
    })
}
