//! Checks scores, converts them into probabilities and selects the best ones.

/// The class of the first score that is NaN or infinite. For softmax, a score of -∞ is valid if another score is finite.
pub fn first_invalid(scores: &[f32], is_softmax: bool) -> Option<usize> {
    let is_masked = |score: f32| is_softmax && score == f32::NEG_INFINITY;
    match scores.iter().position(|&score| !score.is_finite() && !is_masked(score)) {
        None if scores.iter().all(|&score| is_masked(score)) => Some(0),
        found => found,
    }
}

/// The softmax of the scores. The greatest score is subtracted first so that no exponential overflows. A score of -∞
/// (a masked class) has probability 0.
pub fn softmax(mut scores: Vec<f32>) -> Vec<f32> {
    let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0_f64;
    for score in &mut scores {
        *score = (*score - greatest).exp();
        sum += f64::from(*score);
    }
    for score in &mut scores {
        *score = (f64::from(*score) / sum) as f32;
    }
    scores
}

/// The indices of the `count` greatest values, or of all values if there are fewer. The greatest value comes first;
/// for equal values, the lower index comes first.
pub fn best(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order.truncate(count);
    order
}
