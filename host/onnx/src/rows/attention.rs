//! Attention: each query of a row looks at the keys and values of the same row.

use rten_onnx::onnx::NodeProto;

use super::value::{Rows, Value, free_or_unknown};
use crate::node;

/// Attention of the standard and of onnxruntime. The first `given` inputs, and masks and caches after them, have the rows
/// first.
pub(super) fn attention(node: &NodeProto, inputs: &[&Value], given: usize) -> Vec<Value> {
    let count = node.output.len();
    let Some(query) = inputs.first() else { return vec![Value::unknown("is not valid"); count] };
    if query.rows != Rows::Along(0) {
        return vec![free_or_unknown(inputs, "is not analysed"); count];
    }
    let has = |index: usize| node.input.get(index).is_some_and(|name| !name.is_empty());
    let fits = (0..inputs.len()).filter(|&index| has(index)).all(|index| {
        let input = inputs[index];
        // A mask of the standard with fewer dimensions has no batch: its first axis would be that of the queries.
        let has_batch =
            given < 3 || !node::is_standard(node.domain.as_deref()) || index < given || input.rank() == Some(4);
        let is_row =
            has_batch && input.rows == Rows::Along(0) && input.size(0).is_some() && input.size(0) == query.size(0);
        // A constant that has as many dimensions as a mask must be the same for all rows.
        let is_same = input.is_free()
            && input.sizes.as_ref().is_some_and(|sizes| sizes.len() < 4 || sizes[0].as_number() == Some(1));
        is_row || index >= given && is_same
    });
    if !fits {
        return vec![Value::unknown("has masks or states that are not analysed"); count];
    }
    let first = match inputs.get(1) {
        // The standard's results are as wide as the values, which are not followed here.
        Some(_) => Value::new(
            Rows::Along(0),
            query.sizes.clone().map(|mut sizes| {
                if let (Some(last), Some(value)) =
                    (sizes.last_mut(), inputs.get(2).and_then(|value| value.sizes.as_ref()?.last()))
                {
                    *last = value.clone();
                }
                sizes
            }),
        ),
        None => (*query).clone(),
    };
    let others = Value::new(Rows::Along(0), None);
    std::iter::once(first).chain(std::iter::repeat(others)).take(count).collect()
}
