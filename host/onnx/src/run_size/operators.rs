//! The outputs of each operator.

use rten_onnx::onnx::NodeProto;

use super::products::{einsum, product};
use super::value::Value;
use super::{axes, numbers, windows};
use crate::infer;
use crate::node::Attributes;

/// What is known about the outputs of a node of the standard operator set.
pub(super) fn outputs(node: &NodeProto, opset: i64, inputs: &[&Value]) -> Vec<Value> {
    let operator = node.op_type.as_deref().unwrap_or_default();
    let several = |shapes: Option<Vec<Vec<i64>>>| shapes.unwrap_or_default().into_iter().map(Value::of_dims).collect();
    match operator {
        "Split" => several(axes::split(node, opset, inputs)),
        "RNN" | "GRU" | "LSTM" => several(recurrent(node, inputs)),
        "TopK" => {
            let values = Value::of(top(node, inputs));
            vec![values.clone(), values]
        }
        "MaxPool" => {
            let values = Value::of(windows::windows(node, inputs[0], None));
            vec![values.clone(), values]
        }
        "Dropout" => vec![shape_of(inputs[0]), shape_of(inputs[0])],
        _ => vec![first(node, operator, opset, inputs).unwrap_or_default()],
    }
}

/// The largest value that the engine needs beside the outputs of a node: the scores of attention.
pub(super) fn inner(node: &NodeProto, inputs: &[&Value]) -> Option<Value> {
    if node.op_type.as_deref() != Some("Attention") {
        return None;
    }
    let (query, key) = (inputs.first()?.dims.as_ref()?, inputs.get(1)?.dims.as_ref()?);
    let heads = if query.len() == 4 { *query.get(1)? } else { node.int("q_num_heads")? };
    let (batch, longest) = (query.first()?, |dims: &[i64]| dims.get(dims.len().checked_sub(2)?).copied());
    Some(Value::of_dims(vec![*batch, heads, longest(query)?, longest(key)?]))
}

fn shape_of(value: &Value) -> Value {
    Value::of(value.dims.clone())
}

fn first(node: &NodeProto, operator: &str, opset: i64, inputs: &[&Value]) -> Option<Value> {
    let dims = |index: usize| inputs.get(index)?.dims.as_ref();
    let of = Value::of_dims;
    Some(match operator {
        "Constant" => numbers::constant(node),
        "Identity" | "Cast" | "Floor" | "Ceil" => {
            let input = *inputs.first()?;
            let elements = input.elements.as_ref().and_then(|elements| numbers::rounded(node, operator, elements));
            Value { dims: input.dims.clone(), elements }
        }
        _ if infer::keeps_sizes(operator) => shape_of(inputs.first()?),
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
        | "DynamicQuantizeLinear"
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
        | "ThresholdedRelu" => shape_of(inputs.first()?),
        "Add" | "And" | "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "Div" | "Equal" | "Greater"
        | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Max" | "Mean" | "Min" | "Mod" | "Mul" | "Or" | "Pow" | "Sub"
        | "Sum" | "Where" | "Xor"
            if opset >= 7 =>
        {
            let shapes = inputs.iter().map(|input| input.dims.as_deref()).collect::<Option<Vec<_>>>()?;
            let result = of(axes::broadcast(&shapes)?);
            let count = result.count().filter(|&count| count <= super::value::KEPT_ELEMENTS);
            Value { elements: count.and_then(|count| numbers::elementwise(operator, inputs, count)), ..result }
        }
        "MatMul" | "MatMulInteger" => of(product(dims(0)?, dims(1)?)?),
        "QLinearMatMul" => of(product(dims(0)?, dims(3)?)?),
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
            let is_small = result.count().is_some_and(|count| count <= super::value::KEPT_ELEMENTS);
            let elements = inputs[0].elements.as_ref().filter(|elements| elements.len() == 1 && is_small);
            Value { elements: elements.map(|one| vec![one[0]; result.count().unwrap_or_default() as usize]), ..result }
        }
        "Tile" if opset >= 6 => of(axes::tile(dims(0)?, &list(1)?)?),
        "Concat" => {
            let result = of(axes::concat(inputs, node.int_or("axis", 1))?);
            // A chain of these doubles the list each time.
            let is_short =
                result.rank() == Some(1) && result.count().is_some_and(|count| count <= super::value::KEPT_ELEMENTS);
            let lists = || inputs.iter().map(|input| input.elements.clone()).collect::<Option<Vec<_>>>();
            Value { elements: is_short.then(lists).flatten().map(|lists| lists.concat()), ..result }
        }
        "Slice" => axes::slice(node, inputs)?,
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
        "GatherElements" => shape_of(inputs.get(1)?),
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
                Some(value) => super::of_attribute(value)?.elements.and_then(|elements| elements.first().copied()),
                None => Some(0.0),
            };
            let count = result.count().filter(|&count| count <= super::value::KEPT_ELEMENTS);
            Value { elements: count.zip(one).map(|(count, one)| vec![one; count as usize]), ..result }
        }
        "Range" => of(vec![numbers::range(inputs)?]),
        "OneHot" => {
            let (indices, depth) = (dims(0)?, inputs.get(1)?.integer()?);
            let axis = node.int_or("axis", -1);
            let place = axes::place(axis, indices.len() + 1)?;
            let mut sizes = indices.clone();
            sizes.insert(place, depth);
            of(sizes)
        }
        "ArgMax" | "ArgMin" => of(axes::reduce(node, dims(0)?, Some(&[node.int_or("axis", 0)]))?),
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceMean" | "ReduceL1" | "ReduceL2"
        | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceSumSquare" => {
            of(axes::reduce(node, dims(0)?, axes::axes(node, inputs, 1)?.as_deref())?)
        }
        "Einsum" => {
            let shapes = inputs.iter().map(|input| input.dims.as_deref()).collect::<Option<Vec<_>>>()?;
            of(einsum(node.text_or("equation", ""), &shapes)?)
        }
        _ => return None,
    })
}

fn top(node: &NodeProto, inputs: &[&Value]) -> Option<Vec<i64>> {
    let mut dims = inputs[0].dims.clone()?;
    let count = match node.int("k") {
        Some(count) => count,
        None => inputs.get(1)?.integer()?,
    };
    let axis = axes::place(node.int_or("axis", -1), dims.len())?;
    dims[axis] = count;
    Some(dims)
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
