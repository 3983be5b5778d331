//! The shape of a matrix product.

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
