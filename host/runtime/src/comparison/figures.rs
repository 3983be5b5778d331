//! The figures of a comparison of two outputs.

use super::Mismatch;
use crate::tensor::{Element, Elements, Strings, Tensor, TensorType};

/// The best of these many scores of a row count for `top5`.
const TOP: usize = 5;

/// How much two outputs of the same shape differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// The largest difference of two elements.
    pub absolute: f64,
    /// The largest difference, divided by the largest magnitude of any element on either side: from 0 to 2. A quotient for
    /// each element would say little, because elements near zero have large ones.
    pub relative: f64,
    /// 1 minus the cosine of the angle between the outputs as vectors: from 0 (same direction) to 2.
    pub cosine_distance: f64,
    /// The integers, booleans and strings that are not equal. They can be classes, tokens or positions, so that the size of
    /// a difference says nothing.
    pub unequal_integers: u64,
    /// The agreement of the best scores, if the output has scores.
    pub scores: Option<Scores>,
}

/// The agreement of scores, by rows. An output has scores if its elements are floating-point numbers, and its shape is
/// `[classes]` or `[rows, classes]` with at least two classes; further axes of one element are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scores {
    /// The rows.
    pub rows: u64,
    /// The rows whose best class is the same on both sides. If several classes have the best score, it is enough if both
    /// sides have one of them in common; but if all classes have it on one side only, that side has no best class.
    pub top1: u64,
    /// The rows with more than five classes.
    pub wide: u64,
    /// Those of them whose best class on the side of the reference is among the best five on the other side. Of five classes
    /// or fewer, each is among the best five.
    pub top5: u64,
}

impl Scores {
    /// The sum of two agreements.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            top1: self.top1 + other.top1,
            wide: self.wide + other.wide,
            top5: self.top5 + other.top5,
        }
    }
}

impl Figures {
    /// The larger of each figure, and the sums of the integers and the scores.
    #[must_use]
    pub fn largest(self, other: Self) -> Self {
        Self {
            absolute: self.absolute.max(other.absolute),
            relative: self.relative.max(other.relative),
            cosine_distance: self.cosine_distance.max(other.cosine_distance),
            unequal_integers: self.unequal_integers + other.unequal_integers,
            scores: match (self.scores, other.scores) {
                (Some(one), Some(other)) => Some(one.plus(other)),
                (one, other) => one.or(other),
            },
        }
    }

    /// Compares two tensors of the same shape, whose bytes fit it.
    pub(super) fn of(reference: &Tensor, other: &Tensor) -> Result<Self, Mismatch> {
        match (reference.ty, other.ty) {
            (TensorType::Bytes, TensorType::Bytes) => return Ok(Self::of_strings(reference, other)),
            // A number is no text.
            (TensorType::Bytes, _) | (_, TensorType::Bytes) => return Err(Mismatch::Shape),
            _ => {}
        }
        let (one, two) = (Elements::of(reference), Elements::of(other));
        let mut absolute = 0.0_f64;
        let mut magnitude = 0.0_f64;
        let mut unequal_integers = 0;
        for index in 0..one.len() {
            let (of_one, of_two) = (one.get(index), two.get(index));
            let (a, b) = (of_one.as_f64(), of_two.as_f64());
            if a.is_nan() || b.is_nan() {
                if a.is_nan() && b.is_nan() {
                    continue;
                }
                return Err(Mismatch::Nan);
            }
            if a.is_infinite() || b.is_infinite() {
                if a == b {
                    continue;
                }
                return Err(Mismatch::Infinite);
            }
            let difference = of_one.difference(of_two);
            let are_integers = matches!((of_one, of_two), (Element::Integer(_), Element::Integer(_)));
            unequal_integers += u64::from(are_integers && difference > 0.0);
            absolute = absolute.max(difference);
            magnitude = magnitude.max(a.abs()).max(b.abs());
        }
        let relative = if absolute > 0.0 { (absolute / magnitude).min(2.0) } else { 0.0 };
        // The difference of the largest numbers of either sign is infinite, and no mean could have it.
        let absolute = absolute.min(f64::MAX);
        let cosine_distance = if absolute > 0.0 { cosine_distance(&one, &two, magnitude) } else { 0.0 };
        Ok(Self { absolute, relative, cosine_distance, unequal_integers, scores: scores(reference, &one, &two) })
    }
}

impl Figures {
    /// Two strings are equal (0) or not (1).
    fn of_strings(reference: &Tensor, other: &Tensor) -> Self {
        let unequal = Strings::of(reference).zip(Strings::of(other)).filter(|(one, two)| one != two).count() as u64;
        let differs = if unequal > 0 { 1.0 } else { 0.0 };
        Self { absolute: differs, relative: differs, cosine_distance: differs, unequal_integers: unequal, scores: None }
    }
}

/// 1 minus the cosine of the angle between two vectors. `magnitude` is the largest of their elements, and not zero: the
/// squares of very large and very small numbers are no numbers of `f64`, so the elements are divided by it.
fn cosine_distance(one: &Elements<'_>, two: &Elements<'_>, magnitude: f64) -> f64 {
    let (mut product, mut square_of_one, mut square_of_two) = (0.0, 0.0, 0.0);
    for index in 0..one.len() {
        let (a, b) = (one.get(index).as_f64() / magnitude, two.get(index).as_f64() / magnitude);
        if a.is_finite() && b.is_finite() {
            product += a * b;
            square_of_one += a * a;
            square_of_two += b * b;
        }
    }
    let length = f64::sqrt(square_of_one) * f64::sqrt(square_of_two);
    if length > 0.0 { (1.0 - product / length).clamp(0.0, 2.0) } else { 1.0 }
}

fn scores(tensor: &Tensor, one: &Elements<'_>, two: &Elements<'_>) -> Option<Scores> {
    let is_float = matches!(tensor.ty, TensorType::Fp16 | TensorType::Bf16 | TensorType::Fp32 | TensorType::Fp64);
    let mut shape = tensor.dimensions.as_slice();
    while let [rest @ .., 1] = shape
        && rest.len() >= 2
    {
        shape = rest;
    }
    let classes = match shape {
        [classes] | [_, classes] if is_float && *classes >= 2 => *classes as usize,
        _ => return None,
    };
    // A score that is not a number is the worst.
    let score = |of: &Elements<'_>, place: usize| match of.get(place).as_f64() {
        score if score.is_nan() => f64::NEG_INFINITY,
        score => score,
    };
    let mut scores = Scores::default();
    for row in 0..one.len() / classes {
        let places = row * classes..(row + 1) * classes;
        let best = places.clone().map(|place| score(one, place)).fold(f64::NEG_INFINITY, f64::max);
        // A device that returns the same number for every class has found none.
        let is_flat = |of: &Elements<'_>| places.clone().all(|place| score(of, place) == score(of, places.start));
        let is_wide = classes > TOP;
        scores.rows += 1;
        scores.wide += u64::from(is_wide);
        if is_flat(one) != is_flat(two) {
            continue;
        }
        // Of several best classes, the one that the other side prefers.
        let of_best = places.clone().filter(|&place| score(one, place) == best).map(|place| score(two, place));
        let given = of_best.fold(f64::NEG_INFINITY, f64::max);
        let better = places.filter(|&place| score(two, place) > given).count();
        scores.top1 += u64::from(better == 0);
        scores.top5 += u64::from(is_wide && better < TOP);
    }
    Some(scores)
}
