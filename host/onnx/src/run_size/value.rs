//! What is known about a value of a run.

use crate::types::MOST_DIMENSIONS;

/// Values with at most so many elements are followed, because they can be sizes.
pub(super) const KEPT_ELEMENTS: u64 = 64;

/// A value of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Value {
    /// The sizes of the dimensions.
    pub(super) dims: Option<Vec<i64>>,
    /// The elements of a small value of numbers.
    pub(super) elements: Option<Vec<f64>>,
}

impl Value {
    pub(super) fn of_dims(dims: Vec<i64>) -> Self {
        Self { dims: Some(dims), elements: None }
    }

    pub(super) fn of(dims: Option<Vec<i64>>) -> Self {
        Self { dims, elements: None }
    }

    /// A list of numbers.
    pub(super) fn list(elements: Vec<f64>) -> Self {
        let elements = Some(elements).filter(|elements| elements.len() as u64 <= KEPT_ELEMENTS);
        Self { dims: elements.as_ref().map(|elements| vec![elements.len() as i64]), elements }
    }

    pub(super) fn scalar(element: f64) -> Self {
        Self { dims: Some(Vec::new()), elements: Some(vec![element]) }
    }

    /// Nothing is known about a value that has a negative size, or more dimensions than any tensor.
    pub(super) fn if_valid(self) -> Self {
        match &self.dims {
            Some(dims) if dims.len() > MOST_DIMENSIONS || dims.iter().any(|&size| size < 0) => Self::default(),
            _ => self,
        }
    }

    pub(super) fn rank(&self) -> Option<usize> {
        self.dims.as_ref().map(Vec::len)
    }

    /// The number of elements; the largest number if it is larger.
    pub(super) fn count(&self) -> Option<u64> {
        let dims = self.dims.as_ref()?;
        if dims.iter().any(|&size| size < 0) {
            return None;
        }
        if dims.contains(&0) {
            return Some(0);
        }
        Some(dims.iter().fold(1, |product: u64, &size| product.saturating_mul(size.unsigned_abs())))
    }

    /// The elements as integers.
    pub(super) fn integers(&self) -> Option<Vec<i64>> {
        // Numbers that large are no sizes, but can be the end of a slice.
        Some(self.elements.as_ref()?.iter().map(|&number| number.trunc() as i64).collect())
    }

    /// The only element as an integer.
    pub(super) fn integer(&self) -> Option<i64> {
        match self.integers()?.as_slice() {
            &[number] => Some(number),
            _ => None,
        }
    }
}
