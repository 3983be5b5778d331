//! Operators of onnxruntime that are not in the standard (`com.microsoft`), as its optimiser and quantiser write them.

use rten_onnx::onnx::NodeProto;

use super::Proof;
use super::attention::attention;
use super::layout::from_front;
use super::parts::is_one_number;
use super::reductions::gemm;
use super::rules;
use super::size::Size;
use super::value::{Rows, Value, free_or_unknown, mixed};
use super::windows::image;
use crate::node::Attributes;

/// The outputs of a node.
pub(super) fn contrib(proof: &mut Proof, node: &NodeProto, operator: &str, inputs: &[&Value]) -> Vec<Value> {
    let count = node.output.len();
    let absent = Value::new(Rows::Free, None);
    let input = |index: usize| inputs.get(index).copied().unwrap_or(&absent);
    let has = |index: usize| node.input.get(index).is_some_and(|name| !name.is_empty());
    let given = |indices: &[usize]| indices.iter().filter(|&&at| has(at)).map(|&at| input(at)).collect::<Vec<_>>();
    let are_numbers = |indices: &[usize]| indices.iter().all(|&at| is_one_number(input(at)));
    let scales = || free_or_unknown(inputs, "has scales that are not one constant");
    let first = match operator {
        // The same as those of the standard.
        "DequantizeLinear" | "Gelu" | "MatMulInteger" | "QuantizeLinear" | "GridSample" | "Trilu" => {
            let standard = NodeProto { domain: None, ..node.clone() };
            return rules::apply(proof, &standard, inputs);
        }
        "QuickGelu" => input(0).clone(),
        "FastGelu" | "BiasGelu" | "BiasAdd" | "BiasDropout" => {
            proof.elementwise(&given(&[0, 1, 2][..inputs.len().min(if operator == "BiasAdd" { 3 } else { 2 })]))
        }
        "QLinearSigmoid" | "QLinearLeakyRelu" => match are_numbers(&[1, 2, 3, 4]) {
            true => input(0).clone(),
            false => scales(),
        },
        "QLinearAdd" | "QLinearMul" => match are_numbers(&[1, 2, 4, 5, 6, 7]) {
            true => proof.elementwise(&[input(0), input(3)]),
            false => scales(),
        },
        "QLinearConcat" => {
            let values: Vec<usize> = (2..inputs.len()).step_by(3).collect();
            let others: Vec<usize> = (0..inputs.len()).filter(|at| !values.contains(at)).collect();
            match are_numbers(&others) {
                true => proof.concat(&given(&values), node.int_or("axis", 1)),
                false => scales(),
            }
        }
        "QLinearSoftmax" => match (&input(0).rows, input(0).rank()) {
            _ if !are_numbers(&[1, 2, 3, 4]) => scales(),
            (Rows::Along(rows), Some(rank)) => match from_front(node.int_or("axis", -1), rank) {
                // Before operator set 13, all axes from `axis` on are one.
                Some(axis) if node.int_or("opset", 0) >= 13 && *rows != axis || *rows < axis => input(0).clone(),
                Some(_) => mixed("normalises rows together"),
                None => Value::unknown("is not valid"),
            },
            _ => proof.without_sizes(input(0), "works along an axis whose position is not known"),
        },
        "QLinearGlobalAveragePool"
        | "QLinearAveragePool"
        | "FusedConv"
        | "NhwcConv"
        | "NhwcFusedConv"
        | "NhwcMaxPool"
        | "QLinearConv"
        | "GroupNorm" => image(proof, node, operator, inputs),
        "QGemm" => match are_numbers(&[1, 2, 7, 8]) && [4, 5, 6].iter().all(|&at| input(at).is_free()) {
            true => gemm(proof, node, &given(&[0, 3])),
            false => scales(),
        },
        "FusedGemm" => gemm(proof, node, inputs),
        "FusedMatMul" | "TransposeMatMul" => fused_matmul(proof, node, input(0), input(1)),
        "MatMulIntegerToFloat" => match are_numbers(&[2, 4]) && [3, 5, 6].iter().all(|&at| input(at).is_free()) {
            true => proof.matmul(input(0), input(1)),
            false => scales(),
        },
        "DynamicQuantizeMatMul" | "DynamicQuantizeLSTM" => match input(0).rows {
            Rows::Along(_) => mixed("uses one scale for all rows"),
            _ => free_or_unknown(inputs, "is not analysed"),
        },
        "MatMulNBits" | "MatMulBnb4" => match (&input(0).rows, input(0).sizes.clone(), node.int("N")) {
            (Rows::Along(axis), Some(mut sizes), Some(width))
                if axis + 1 < sizes.len() && inputs[1..].iter().all(|weight| weight.is_free()) =>
            {
                let last = sizes.len() - 1;
                sizes[last] = Size::number(width);
                Value::new(Rows::Along(*axis), Some(sizes))
            }
            _ => free_or_unknown(inputs, "multiplies rows in a way that is not analysed"),
        },
        "SimplifiedLayerNormalization" | "LayerNormalization" => {
            let standard = NodeProto { domain: None, ..node.clone() };
            return rules::apply(proof, &standard, inputs);
        }
        "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization" => {
            // The third one is the scale; the bias of the addition is the last.
            if inputs.iter().skip(2).any(|weight| !weight.is_free()) {
                return vec![Value::unknown("has weights that are not constant"); count];
            }
            let sum = proof.elementwise(&[input(0), input(1)]);
            let normal = match (&sum.rows, sum.rank()) {
                (Rows::Along(rows), Some(rank)) if rows + 1 >= rank => mixed("normalises rows together"),
                (Rows::Along(_), None) => Value::unknown("normalises a value of unknown rank"),
                _ => sum,
            };
            let statistics = Value { sizes: None, ..normal.clone() };
            return [normal.clone(), statistics.clone(), statistics, normal].into_iter().take(count).collect();
        }
        "EmbedLayerNormalization" => {
            let is_row = |at: usize| !has(at) || input(at).rows == Rows::Along(0);
            let fits = is_row(0)
                && is_row(1)
                && is_row(7)
                && (2..7).chain(8..9).all(|at| input(at).is_free() || is_row(at) && at > 7);
            let value = match fits {
                true => Value::new(Rows::Along(0), None),
                false => free_or_unknown(inputs, "is not analysed"),
            };
            let width = input(2).size(1).cloned();
            let sizes = input(0).sizes.clone().zip(width).map(|(mut sizes, width)| {
                sizes.push(width);
                sizes
            });
            let embedded = Value { sizes: sizes.filter(|_| fits), ..value.clone() };
            let lengths = Value { sizes: input(0).size(0).map(|rows| vec![rows.clone()]).filter(|_| fits), ..value };
            return [embedded.clone(), lengths, embedded].into_iter().take(count).collect();
        }
        // The weights are the second and third input.
        "Attention" if input(1).is_free() && input(2).is_free() => {
            let rows: Vec<usize> = [0].into_iter().chain(3..inputs.len()).filter(|&at| has(at)).collect();
            let named = NodeProto {
                input: rows.iter().map(|&at| node.input[at].clone()).collect(),
                output: node.output.clone(),
                ..NodeProto::default()
            };
            let outputs = attention(&named, &rows.iter().map(|&at| input(at)).collect::<Vec<_>>(), 1);
            return outputs
                .into_iter()
                .map(|output| Value { sizes: None, ..output })
                .enumerate()
                .map(|(at, output)| {
                    // As wide as the third part of the weights, unless the file says otherwise.
                    let width =
                        input(1).size(1).and_then(Size::as_number).filter(|_| node.ints("qkv_hidden_sizes").is_none());
                    let sizes = input(0).sizes.clone().zip(width).map(|(mut sizes, width)| {
                        if let Some(last) = sizes.last_mut() {
                            *last = Size::number(width / 3);
                        }
                        sizes
                    });
                    if at == 0 && output.rows == Rows::Along(0) { Value { sizes, ..output } } else { output }
                })
                .collect();
        }
        "MultiHeadAttention" => {
            // The fourth is the bias.
            if !input(3).is_free() {
                return vec![free_or_unknown(inputs, "has weights that are not constant"); count];
            }
            return attention(node, inputs, 3);
        }
        "RotaryEmbedding" => match input(0).rows == Rows::Along(0)
            && (is_one_number(input(1)) || input(1).rows == Rows::Along(0) && input(1).size(0) == input(0).size(0))
            && input(2).is_free()
            && input(3).is_free()
        {
            true => input(0).clone(),
            false => free_or_unknown(inputs, "is not analysed"),
        },
        _ => free_or_unknown(inputs, "is not analysed"),
    };
    let other = Value::unknown("has another output, which is not analysed");
    std::iter::once(first).chain(std::iter::repeat(other)).take(count).collect()
}

fn fused_matmul(proof: &mut Proof, node: &NodeProto, left: &Value, right: &Value) -> Value {
    if node.int_or("transBatchA", 0) != 0 || node.int_or("transBatchB", 0) != 0 {
        return free_or_unknown(&[left, right], "moves the batch");
    }
    let turned = |value: &Value, turns: bool| {
        let mut value = value.clone();
        let Some(rank) = value.rank().filter(|&rank| turns && rank >= 2) else { return value };
        if let Some(sizes) = &mut value.sizes {
            sizes.swap(rank - 1, rank - 2);
        }
        value.rows = match value.rows {
            Rows::Along(axis) if axis + 1 == rank => Rows::Along(axis - 1),
            Rows::Along(axis) if axis + 2 == rank => Rows::Along(axis + 1),
            other => other,
        };
        value
    };
    proof.matmul(&turned(left, node.int_or("transA", 0) == 1), &turned(right, node.int_or("transB", 0) == 1))
}
