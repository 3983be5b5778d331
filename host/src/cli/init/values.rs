//! What the numbers of an output look like: probabilities or not.

use plimsoll_runtime::tensor::{Tensor, TensorType};

/// A probability may be outside of 0 to 1 by this much, because quantised models round. The shipped plugins tolerate as much.
const TOLERANCE: f64 = 0.01;

/// What the numbers of an output look like for one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Values {
    /// No image went through the pipeline yet.
    Unknown,
    /// All are from 0 to 1, and the sum over the classes is 1.
    Distribution,
    /// All are from 0 to 1, with other sums.
    Fractions,
    /// Others, as logits are.
    Other,
}

impl Values {
    /// All that an image can show.
    pub(in crate::cli) const SHOWN: [Self; 3] = [Self::Distribution, Self::Fractions, Self::Other];

    /// Those of an output.
    pub(in crate::cli) fn of(tensor: &Tensor) -> Self {
        let classes = tensor.dimensions.iter().copied().rfind(|size| *size > 1).unwrap_or(1) as usize;
        if !is_float_type(tensor.ty) {
            return Self::Other;
        }
        let numbers: Vec<_> = tensor.elements().map(|element| element.as_f64()).collect();
        if !numbers.iter().all(|number| (-TOLERANCE..=1.0 + TOLERANCE).contains(number)) {
            return Self::Other;
        }
        let has_sum = |row: &[f64]| (row.iter().sum::<f64>() - 1.0).abs() < TOLERANCE;
        if classes > 1 && numbers.chunks(classes).all(has_sum) { Self::Distribution } else { Self::Fractions }
    }

    /// True if all numbers are from 0 to 1.
    pub(in crate::cli) fn are_probabilities(self) -> bool {
        matches!(self, Self::Distribution | Self::Fractions)
    }
}

/// True for the types of scores that the shipped plugins read.
pub(in crate::cli) fn is_float_type(ty: TensorType) -> bool {
    matches!(ty, TensorType::Fp32 | TensorType::Fp16 | TensorType::Bf16 | TensorType::Fp64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_told_from_logits() {
        use Values::{Distribution, Fractions, Other};
        for (shape, values, expected) in [
            (&[1, 3][..], &[0.7, 0.2, 0.1][..], Distribution),
            (&[1, 3], &[0.9, 0.8, 0.995], Fractions),
            (&[1, 3], &[0.0, 0.0, 0.0], Fractions),
            (&[1, 3], &[0.7, 0.2, -0.5], Other),
            (&[1, 3], &[0.7, 0.2, f32::NAN], Other),
            (&[1, 3], &[0.7, 0.2, 1.5], Other),
            (&[1, 2], &[0.5, 0.5], Distribution),
            (&[1, 2], &[0.5, 0.1], Fractions),
            (&[1, 2, 2], &[0.5, 0.5, 0.9, 0.1], Distribution),
            (&[1, 2, 2], &[0.5, 0.5, 0.9, 0.9], Fractions),
            (&[1, 3, 1, 1], &[0.7, 0.2, 0.1], Distribution),
            (&[1, 1], &[1.0], Fractions),
        ] {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let tensor = Tensor::new(shape.to_vec(), TensorType::Fp32, bytes);
            assert_eq!(Values::of(&tensor), expected, "{shape:?} {values:?}");
        }
        let bytes = Tensor::new(vec![1, 2], TensorType::U8, vec![0, 1]);
        assert_eq!(Values::of(&bytes), Other, "integers are no probabilities");
    }
}
