//! Operators that join the elements of an axis: products of matrices, softmax, reductions, recurrent networks.

use rten_onnx::onnx::NodeProto;

use super::Proof;
use super::layout::from_front;
use super::size::Size;
use super::value::{Rows, Value, free_or_unknown, mixed};
use crate::node::Attributes;

pub(super) fn gemm(proof: &mut Proof, node: &NodeProto, inputs: &[&Value]) -> Value {
    let turned = |value: &Value, turns: bool| {
        let mut value = value.clone();
        if turns {
            value.sizes = value.sizes.map(|sizes| sizes.into_iter().rev().collect());
            value.rows = match value.rows {
                Rows::Along(axis) => Rows::Along(1 - axis.min(1)),
                other => other,
            };
        }
        value
    };
    let [left, right, rest @ ..] = inputs else { return Value::unknown("is not valid") };
    let product =
        proof.matmul(&turned(left, node.int_or("transA", 0) != 0), &turned(right, node.int_or("transB", 0) != 0));
    match rest {
        [bias] if bias.rank().is_some() || !bias.is_free() => proof.elementwise(&[&product, bias]),
        _ => product,
    }
}

pub(super) fn softmax(proof: &mut Proof, node: &NodeProto, input: &Value) -> Value {
    let is_old = proof.opset < 13;
    let (Rows::Along(rows), Some(rank)) = (&input.rows, input.rank()) else {
        return proof.without_sizes(input, "works along an axis whose position is not known");
    };
    let Some(axis) = from_front(node.int_or("axis", if is_old { 1 } else { -1 }), rank) else {
        return Value::unknown("is not valid");
    };
    // Before operator set 13, all axes from `axis` on are one.
    let joins = if is_old { *rows >= axis } else { *rows == axis };
    if joins { mixed("normalises rows together") } else { input.clone() }
}

pub(super) fn reduce(
    proof: &mut Proof,
    node: &NodeProto,
    input: &Value,
    axes: Option<Vec<i64>>,
    is_input: bool,
) -> Value {
    let keeps = node.int_or("keepdims", 1) == 1;
    // The engines read other numbers differently.
    if ["keepdims", "noop_with_empty_axes"].iter().any(|name| !matches!(node.int_or(name, 0), 0 | 1)) {
        return Value::unknown("has a number other than 0 and 1 as a choice");
    }
    let Some(sizes) = &input.sizes else {
        return proof.without_sizes(input, "reduces axes whose position is not known");
    };
    let axes = match axes {
        Some(axes) if axes.is_empty() && node.int_or("noop_with_empty_axes", 0) == 1 => return input.clone(),
        Some(axes) if !axes.is_empty() => axes,
        None if is_input => return proof.without_sizes(input, "reduces axes that are not known"),
        None if node.int_or("noop_with_empty_axes", 0) == 1 => return input.clone(),
        _ => (0..sizes.len() as i64).collect(),
    };
    let Some(axes) = axes.iter().map(|&axis| from_front(axis, sizes.len())).collect::<Option<Vec<_>>>() else {
        return Value::unknown("is not valid");
    };
    let rows = match input.rows {
        Rows::Along(axis) if axes.contains(&axis) => return mixed("joins rows"),
        Rows::Along(axis) if keeps => Rows::Along(axis),
        Rows::Along(axis) => Rows::Along(axis - axes.iter().filter(|&&other| other < axis).count()),
        ref other => other.clone(),
    };
    let size = |(axis, size): (usize, &Size)| match axes.contains(&axis) {
        true if keeps => Some(Size::number(1)),
        true => None,
        false => Some(size.clone()),
    };
    Value::new(rows, Some(sizes.iter().enumerate().filter_map(size).collect()))
}

/// Recurrent networks: the second axis has the rows, the first the time.
pub(super) fn recurrent(proof: &mut Proof, node: &NodeProto, inputs: &[&Value]) -> Vec<Value> {
    let count = node.output.len();
    let Some(input) = inputs.first() else { return vec![Value::unknown("is not valid"); count] };
    let is_given = |index: usize| node.input.get(index).is_some_and(|name| !name.is_empty());
    let place = usize::from(node.int_or("layout", 0) == 0);
    let fits = |index: usize, place: usize| {
        !is_given(index)
            || inputs[index].rows == Rows::Along(place)
            || inputs[index].is_free() && {
                // A constant state that is not the same for all rows would fix the number of rows.
                inputs[index].size(place).and_then(Size::as_number) == Some(1)
            }
    };
    let weights_are_free = [1, 2, 3, 7].iter().all(|&index| inputs.get(index).is_none_or(|input| input.is_free()));
    let value = match &input.rows {
        Rows::Along(axis) if *axis != place && input.rank() == Some(3) && *axis < 2 => {
            mixed("treats rows as time steps")
        }
        Rows::Along(axis) if *axis == place && weights_are_free && fits(4, 0) && fits(5, place) && fits(6, place) => {
            Value::new(Rows::Along(1), None)
        }
        Rows::Along(_) => Value::unknown("has states or weights that are not analysed"),
        _ => return vec![free_or_unknown(inputs, "is not analysed"); count],
    };
    let is_separate = value.rows == Rows::Along(1);
    let hidden = node.int("hidden_size").map_or_else(|| proof.symbol(), Size::number);
    let directions = Size::number(if node.text_or("direction", "forward") == "bidirectional" { 2 } else { 1 });
    (0..count)
        .map(|output| {
            if !is_separate {
                return value.clone();
            }
            let time = input.size(1 - place).cloned().unwrap_or_else(|| proof.symbol());
            let rows = input.size(place).cloned().unwrap_or_else(Size::rows);
            let (place, sizes) = match (output, place) {
                (0, 1) => (2, vec![time, directions.clone(), rows, hidden.clone()]),
                (0, _) => (0, vec![rows, time, directions.clone(), hidden.clone()]),
                (_, 1) => (1, vec![directions.clone(), rows, hidden.clone()]),
                _ => (0, vec![rows, directions.clone(), hidden.clone()]),
            };
            Value::new(Rows::Along(place), Some(sizes))
        })
        .collect()
}

/// Operators of classical machine learning: the first axis has the rows.
pub(super) fn machine_learning(operator: &str, inputs: &[&Value]) -> Value {
    let rows_first = matches!(
        operator,
        "Binarizer"
            | "CategoryMapper"
            | "FeatureVectorizer"
            | "Imputer"
            | "LabelEncoder"
            | "LinearClassifier"
            | "LinearRegressor"
            | "Normalizer"
            | "OneHotEncoder"
            | "SVMClassifier"
            | "SVMRegressor"
            | "Scaler"
            | "TreeEnsemble"
            | "TreeEnsembleClassifier"
            | "TreeEnsembleRegressor"
    );
    // It takes the same columns of all rows.
    let extracts = operator == "ArrayFeatureExtractor" && inputs.get(1).is_some_and(|columns| columns.is_free());
    let rows = inputs.iter().all(|input| input.rows == Rows::Along(0) || input.is_free());
    // A list could be one row of several features.
    let has_columns = inputs.iter().all(|input| input.is_free() || input.rank().is_some_and(|rank| rank >= 2));
    match (rows_first || extracts) && rows && has_columns && inputs.iter().any(|input| !input.is_free()) {
        true => Value::new(Rows::Along(0), None),
        false => free_or_unknown(inputs, "is not analysed"),
    }
}
