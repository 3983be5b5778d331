//! How large the numbers around an element are.

use crate::tensor::Elements;

/// The least elements of a slice whose largest value says how large its numbers are. With fewer, all may be small by
/// chance.
const LEAST: usize = 16;

/// The largest absolute value around each element of a row. An output often has channels of different size: coordinates up
/// to 640 next to scores up to 1. So of the slices that contain an element (all elements with the same place on one axis),
/// the one with the smallest numbers counts.
pub(super) struct Scales {
    /// For each axis with enough elements per slice: the distance of its places, their number, and the largest value of
    /// each slice.
    axes: Vec<(usize, usize, Vec<f64>)>,
    /// The largest value of the row.
    pub(super) whole: f64,
}

impl Scales {
    /// `dimensions` are those of the row. Infinities and NaN do not count.
    pub(super) fn of(row: &Elements<'_>, dimensions: &[u32]) -> Self {
        let mut distance = row.len();
        let mut axes = Vec::new();
        for &size in dimensions {
            let size = size as usize;
            distance = distance.checked_div(size).unwrap_or(0);
            if size > 1 && row.len() / size >= LEAST {
                axes.push((distance, size, vec![0.0; size]));
            }
        }
        let mut whole = 0.0_f64;
        for index in 0..row.len() {
            let value = row.get(index).as_f64().abs();
            if value.is_finite() {
                whole = whole.max(value);
                for (distance, size, largest) in &mut axes {
                    let most = &mut largest[index / *distance % *size];
                    *most = f64::max(*most, value);
                }
            }
        }
        Scales { axes, whole }
    }

    /// The largest value around an element.
    pub(super) fn at(&self, index: usize) -> f64 {
        self.axes.iter().map(|(distance, size, largest)| largest[index / distance % size]).fold(self.whole, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Tensor, TensorType};

    #[test]
    fn the_slice_with_the_smallest_numbers_counts() {
        // Two channels of 20 elements: up to 600 and up to 0.5.
        let values: Vec<f32> = (0..40).map(|at| if at < 20 { 600.0 } else { 0.5 }).collect();
        let tensor = |dimensions: &[u32]| {
            Tensor::new(dimensions.to_vec(), TensorType::Fp32, bytemuck::cast_slice(&values).to_vec())
        };
        let wide = tensor(&[1, 2, 20]);
        let scales = Scales::of(&Elements::of(&wide), &wide.dimensions[1..]);
        assert_eq!([0, 19, 20, 39].map(|index| scales.at(index)), [600.0, 600.0, 0.5, 0.5]);
        assert_eq!(scales.whole, 600.0);
        // No slice of a vector has several elements.
        let flat = tensor(&[1, 40]);
        let scales = Scales::of(&Elements::of(&flat), &flat.dimensions[1..]);
        assert_eq!([0, 39].map(|index| scales.at(index)), [600.0; 2]);
    }
}
