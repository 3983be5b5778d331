//! What is known about a value of a run.

use crate::types::MOST_DIMENSIONS;

/// Values with at most this many elements are followed, because they can be sizes.
pub(super) const KEPT_ELEMENTS: u64 = 64;

/// Larger sizes are not distinguished, so that sums and products of a few of them are exact.
const LARGEST_SIZE: i64 = 1 << 40;

/// A value of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Value {
    /// The sizes of the dimensions; those of the largest tensor of a sequence.
    pub(super) dims: Option<Vec<i64>>,
    /// The elements of a small value of numbers.
    pub(super) elements: Option<Vec<f64>>,
    /// True for numbers of an integer type, as far as it is known.
    pub(super) is_whole: bool,
    /// True if sizes and elements are the largest that are possible, because they depend on numbers.
    pub(super) is_most: bool,
    /// How many tensors a sequence has; `None` for a tensor.
    pub(super) length: Option<i64>,
}

impl Value {
    pub(super) fn of_dims(dims: Vec<i64>) -> Self {
        Self { dims: Some(dims), ..Self::default() }
    }

    pub(super) fn of(dims: Option<Vec<i64>>) -> Self {
        Self { dims, ..Self::default() }
    }

    /// A list of numbers.
    pub(super) fn list(elements: Vec<f64>) -> Self {
        let elements = Some(elements).filter(|elements| elements.len() as u64 <= KEPT_ELEMENTS);
        Self { dims: elements.as_ref().map(|elements| vec![elements.len() as i64]), elements, ..Self::default() }
    }

    pub(super) fn scalar(element: f64) -> Self {
        Self { dims: Some(Vec::new()), elements: Some(vec![element]), ..Self::default() }
    }

    /// A sequence of tensors.
    pub(super) fn sequence(length: i64, dims: Option<Vec<i64>>) -> Self {
        Self { length: Some(length), ..Self::of(dims) }
    }

    /// The value without its elements.
    pub(super) fn shape(&self) -> Self {
        Self { dims: self.dims.clone(), is_most: self.is_most, length: self.length, ..Self::default() }
    }

    /// The sizes are the largest that are possible.
    pub(super) fn at_most(self) -> Self {
        Self { is_most: true, ..self }
    }

    /// Nothing is known about a value that has a negative size, or more dimensions than any tensor.
    pub(super) fn if_valid(mut self) -> Self {
        let dims = self.dims.iter_mut().flatten().chain(&mut self.length);
        dims.for_each(|size| *size = (*size).min(LARGEST_SIZE));
        match &self.dims {
            Some(dims) if dims.len() > MOST_DIMENSIONS || dims.iter().any(|&size| size < 0) => Self::default(),
            _ => self,
        }
    }

    /// A value that is one of two: the larger of their sizes. If their numbers of dimensions differ, the one with more
    /// elements counts.
    pub(super) fn larger(&self, other: &Self) -> Self {
        if self == other {
            return self.clone();
        }
        let (Some(dims), Some(others)) = (&self.dims, &other.dims) else { return Self::default() };
        if dims.len() != others.len() {
            let larger = if self.count() < other.count() { other } else { self };
            return larger.shape().at_most();
        }
        let length = self.length.max(other.length);
        let dims = dims.iter().zip(others).map(|(&size, &other)| size.max(other)).collect();
        Self { length, ..Self::of_dims(dims) }.at_most()
    }

    /// True if no size is larger than that of another value, or one of both is not known.
    pub(super) fn fits_into(&self, other: &Self) -> bool {
        match (&self.dims, &other.dims) {
            (Some(dims), Some(others)) => {
                let sizes = dims.iter().chain(&self.length).zip(others.iter().chain(&other.length));
                dims.len() == others.len() && sizes.into_iter().all(|(size, other)| size <= other)
            }
            _ => true,
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
        let sizes = dims.iter().chain(&self.length);
        Some(sizes.fold(1, |product: u64, &size| product.saturating_mul(size.unsigned_abs())))
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

    /// The only element of a condition that is certain.
    pub(super) fn is_true(&self) -> Option<bool> {
        match self.elements.as_deref()? {
            &[number] if !self.is_most => Some(number != 0.0),
            _ => None,
        }
    }
}
