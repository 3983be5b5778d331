//! How much the outputs of two chips differ for the same inputs.
//!
//! Outputs are compared by name. Two outputs of the same shape are compared element by element, as numbers: they may have
//! different types. Outputs that cannot be compared have a [`Mismatch`] instead of figures.

mod figures;

pub use figures::{Figures, Scores};

use crate::tensor::{Tensor, Tensors};

/// The differences between two sets of outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Each output by name, first those of the reference in their order, then those that only the other set has.
    pub outputs: Vec<(String, Result<Figures, Mismatch>)>,
}

/// Why two outputs cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mismatch {
    /// Only one of the sets has the output.
    Name,
    /// The shapes differ, the bytes do not fit the shape, or one side has strings and the other one numbers.
    Shape,
    /// An element is NaN on one side only.
    Nan,
    /// An element is infinite on one side only, or infinite with another sign.
    Infinite,
}

impl Mismatch {
    /// The name in reports and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Shape => "shape",
            Self::Nan => "nan",
            Self::Infinite => "infinite",
        }
    }
}

impl Comparison {
    /// Compares outputs with those of the reference.
    pub fn new(reference: &Tensors, other: &Tensors) -> Self {
        let find = |tensors: &'_ Tensors, name: &str| tensors.iter().position(|(known, _)| known == name);
        let mut outputs = Vec::with_capacity(reference.len());
        for (name, tensor) in reference {
            let compared = match find(other, name) {
                Some(place) => compare(tensor, &other[place].1),
                None => Err(Mismatch::Name),
            };
            outputs.push((name.clone(), compared));
        }
        let added = other.iter().filter(|(name, _)| find(reference, name).is_none());
        outputs.extend(added.map(|(name, _)| (name.clone(), Err(Mismatch::Name))));
        Self { outputs }
    }

    /// The first output that cannot be compared.
    pub fn mismatch(&self) -> Option<(&str, Mismatch)> {
        self.outputs.iter().find_map(|(name, compared)| Some((name.as_str(), compared.err()?)))
    }

    /// The largest differences of all outputs that can be compared, and the sum of their scores. `None` if there are none.
    pub fn largest(&self) -> Option<Figures> {
        self.outputs.iter().filter_map(|(_, compared)| compared.ok()).reduce(Figures::largest)
    }
}

/// Compares two tensors.
///
/// # Errors
/// Why they cannot be compared.
pub fn compare(reference: &Tensor, other: &Tensor) -> Result<Figures, Mismatch> {
    let fits = |tensor: &Tensor| tensor.check_size().is_ok();
    if reference.dimensions != other.dimensions || !fits(reference) || !fits(other) {
        return Err(Mismatch::Shape);
    }
    Figures::of(reference, other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::TensorType;

    #[test]
    fn strings_are_equal_or_not() {
        let strings = |texts: &[&str]| {
            Tensor::new(vec![texts.len() as u32], TensorType::Bytes, crate::tensor::join_strings(texts).expect("short"))
        };
        let same = compare(&strings(&["a", "bc"]), &strings(&["a", "bc"])).expect("compared");
        assert_eq!((same.absolute, same.unequal_integers), (0.0, 0));
        let other = compare(&strings(&["a", "bc"]), &strings(&["ab", "c"])).expect("compared");
        assert_eq!((other.relative, other.unequal_integers), (1.0, 2));
        assert_eq!(compare(&strings(&["1"]), &floats(&[1], &[1.0])), Err(Mismatch::Shape));
    }

    fn floats(shape: &[u32], values: &[f32]) -> Tensor {
        Tensor::new(shape.to_vec(), TensorType::Fp32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn halves(shape: &[u32], bits: &[u16]) -> Tensor {
        Tensor::new(shape.to_vec(), TensorType::Fp16, bits.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    #[test]
    fn equal_tensors_do_not_differ_also_where_both_are_nan_or_infinite() {
        let values = floats(&[2, 3], &[0.1, f32::NAN, f32::INFINITY, 0.3, 0.7, -0.2]);
        let figures = compare(&values, &values).expect("comparable");
        assert_eq!((figures.absolute, figures.relative, figures.cosine_distance), (0.0, 0.0, 0.0));
        assert_eq!(figures.scores, Some(Scores { rows: 2, top1: 2, ..Scores::default() }));
        let empty = compare(&floats(&[0, 4], &[]), &floats(&[0, 4], &[])).expect("comparable");
        assert_eq!((empty.absolute, empty.scores), (0.0, Some(Scores::default())));
    }

    #[test]
    fn the_largest_differences_are_found() {
        let figures = compare(&floats(&[4], &[1.0, 2.0, -4.0, 0.0]), &floats(&[4], &[1.0, 2.5, -4.0, 0.25]));
        let figures = figures.expect("comparable");
        assert_eq!((figures.absolute, figures.relative), (0.5, 0.125), "of the largest magnitude, 4");
        assert!((1e-4..1e-2).contains(&figures.cosine_distance), "{figures:?}");
        let opposite = compare(&floats(&[2], &[1.0, 0.0]), &floats(&[2], &[-1.0, 0.0])).expect("comparable");
        assert_eq!((opposite.relative, opposite.cosine_distance), (2.0, 2.0));
        let zero = compare(&floats(&[2], &[0.0, 0.0]), &floats(&[2], &[0.0, 1.0])).expect("comparable");
        assert_eq!((zero.relative, zero.cosine_distance), (1.0, 1.0));
        let tiny = |values: [f64; 2]| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            Tensor::new(vec![2], TensorType::Fp64, bytes)
        };
        for scale in [1e-300, 1e300] {
            let figures = compare(&tiny([scale, 0.0]), &tiny([0.0, scale])).expect("comparable");
            assert_eq!((figures.absolute, figures.relative, figures.cosine_distance), (scale, 1.0, 1.0));
        }
        let apart = compare(&tiny([f64::MAX, 0.0]), &tiny([-f64::MAX, 0.0])).expect("comparable");
        assert_eq!((apart.absolute, apart.relative), (f64::MAX, 2.0), "their difference is no number of f64");
        // 64-bit integers that are one number in f64.
        let long = |value: i64| Tensor::new(vec![1], TensorType::I64, value.to_le_bytes().to_vec());
        let figures = compare(&long(i64::MAX), &long(i64::MAX - 1)).expect("comparable");
        assert_eq!((figures.absolute, figures.scores), (1.0, None), "integers are no scores");
        assert_eq!((figures.unequal_integers, figures.relative < 1e-18), (1, true), "another token");
    }

    #[test]
    fn types_may_differ_and_shapes_may_not() {
        // 1.5, the smallest number of half precision, and the largest.
        let figures = compare(&floats(&[3], &[1.5, 5.960_464_5e-8, 65504.0]), &halves(&[3], &[0x3e00, 1, 0x7bff]));
        assert_eq!(figures.expect("comparable").absolute, 0.0);
        let upper = Tensor::new(vec![1], TensorType::Bf16, vec![0x80, 0x3f]);
        assert_eq!(compare(&floats(&[1], &[1.0]), &upper).expect("comparable").absolute, 0.0);
        assert_eq!(compare(&floats(&[1, 2], &[1.0, 2.0]), &floats(&[2, 1], &[1.0, 2.0])), Err(Mismatch::Shape));
        let short = Tensor::new(vec![2], TensorType::Fp32, vec![0; 4]);
        assert_eq!(compare(&short, &short), Err(Mismatch::Shape), "the bytes do not fit");
    }

    #[test]
    fn nan_and_infinity_on_one_side_are_named() {
        let one = floats(&[2], &[1.0, 2.0]);
        assert_eq!(compare(&one, &floats(&[2], &[1.0, f32::NAN])), Err(Mismatch::Nan));
        assert_eq!(compare(&floats(&[2], &[f32::NAN, 2.0]), &one), Err(Mismatch::Nan));
        assert_eq!(compare(&one, &floats(&[2], &[f32::INFINITY, 2.0])), Err(Mismatch::Infinite));
        let (up, down) = (floats(&[1], &[f32::INFINITY]), floats(&[1], &[f32::NEG_INFINITY]));
        assert_eq!(compare(&up, &down), Err(Mismatch::Infinite));
        assert_eq!(compare(&halves(&[1], &[0x7e00]), &halves(&[1], &[0x7c00])), Err(Mismatch::Nan));
    }

    #[test]
    fn scores_are_rows_of_floats_whose_best_is_compared() {
        let scores = |shape: &[u32], one: &[f32], other: &[f32]| {
            compare(&floats(shape, one), &floats(shape, other)).expect("comparable").scores
        };
        let one = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.9];
        let mut near = one;
        near[5] = 0.95;
        let mut far = one;
        far[6] = 0.05;
        let rows = |others: [[f32; 7]; 2]| scores(&[2, 7], &[one, one].concat(), &others.concat());
        assert_eq!(rows([one, near]), Some(Scores { rows: 2, top1: 1, wide: 2, top5: 2 }));
        assert_eq!(rows([far, near]), Some(Scores { rows: 2, top1: 0, wide: 2, top5: 1 }));
        assert_eq!(
            scores(&[1, 7, 1, 1], &one, &near),
            Some(Scores { rows: 1, top1: 0, wide: 1, top5: 1 }),
            "axes of one element"
        );
        let same = Some(Scores { rows: 1, top1: 1, ..Scores::default() });
        assert_eq!(scores(&[3], &[0.5, 0.5, 0.1], &[0.5, 0.6, 0.1]), same, "two are best on one side");
        assert_eq!(scores(&[3], &[0.5, 0.4, 0.1], &[0.5, 0.5, 0.1]), same, "two are best on the other side");
        let other = Some(Scores { rows: 1, ..Scores::default() });
        for flat in [[0.0; 3], [0.3; 3], [f32::NAN; 3]] {
            if flat[0].is_finite() {
                assert_eq!(scores(&[3], &[0.5, 0.4, 0.1], &flat), other, "no class is the best one");
                assert_eq!(scores(&[3], &flat, &[0.5, 0.4, 0.1]), other, "no class is the best one");
            }
            assert_eq!(scores(&[3], &flat, &flat), same, "neither side has a best class");
        }
        assert_eq!(scores(&[2, 1], &[0.5, 0.4], &[0.5, 0.5]), None, "one number for each row");
        assert_eq!(scores(&[1, 2, 2], &[0.0; 4], &[0.0; 4]), None, "a map");
    }

    #[test]
    fn outputs_are_compared_by_name() {
        let one = floats(&[1], &[1.0]);
        let outputs = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), one.clone())).collect::<Tensors>();
        let comparison = Comparison::new(&outputs(&["a", "b"]), &outputs(&["c", "a"]));
        let found: Vec<_> = comparison.outputs.iter().map(|(name, compared)| (name.as_str(), compared.err())).collect();
        assert_eq!(found, [("a", None), ("b", Some(Mismatch::Name)), ("c", Some(Mismatch::Name))]);
        assert_eq!(comparison.mismatch(), Some(("b", Mismatch::Name)));
        let same = Comparison::new(&outputs(&["a", "b"]), &outputs(&["b", "a"]));
        assert_eq!((same.mismatch(), same.largest().map(|figures| figures.absolute)), (None, Some(0.0)));
        assert_eq!(Comparison::new(&Tensors::new(), &Tensors::new()).largest(), None);
    }
}
