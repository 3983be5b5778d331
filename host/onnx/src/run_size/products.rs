//! The shapes of matrix products and of sums of products.

use std::collections::HashMap;

use super::axes;

/// The shape of a matrix product (NumPy's `matmul`).
pub(super) fn product(left: &[i64], right: &[i64]) -> Option<Vec<i64>> {
    let (mut left, mut right) = (left.to_vec(), right.to_vec());
    let (is_row, is_column) = (left.len() == 1, right.len() == 1);
    if is_row {
        left.insert(0, 1);
    }
    if is_column {
        right.push(1);
    }
    let (columns, _) = (right.pop()?, right.pop()?);
    left.pop()?;
    let rows = left.pop()?;
    let mut result = axes::broadcast(&[&left, &right])?;
    if !is_row {
        result.push(rows);
    }
    if !is_column {
        result.push(columns);
    }
    Some(result)
}

/// The shape of a sum of products over labelled axes, without an ellipsis.
pub(super) fn einsum(equation: &str, shapes: &[&[i64]]) -> Option<Vec<i64>> {
    let equation: String = equation.chars().filter(|letter| !letter.is_whitespace()).collect();
    let (terms, result) = equation.split_once("->")?;
    let mut sizes = HashMap::new();
    let terms: Vec<&str> = terms.split(',').collect();
    (terms.len() == shapes.len()).then_some(())?;
    for (term, shape) in terms.iter().zip(shapes) {
        (term.chars().count() == shape.len()).then_some(())?;
        sizes.extend(term.chars().zip(shape.iter().copied()));
    }
    result.chars().map(|label| sizes.get(&label).copied()).collect()
}
