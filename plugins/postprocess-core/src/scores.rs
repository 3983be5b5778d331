//! Checks scores, converts them into probabilities and selects the best ones.

/// A probability may be outside of 0 to 1 by this much, because quantised models round.
const TOLERANCE: f32 = 0.01;
/// The sum of probabilities differs from 1 by less than this. BF16 has 8 bits.
const SUM_TOLERANCE: f64 = 5e-3;

/// What the scores of the model are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Logits. Scores that look like probabilities are refused.
    Softmax,
    /// Probabilities.
    Ready,
    /// Logits, whatever they look like.
    Logits,
}

/// The values of the configuration key `scores`.
pub const FORMS: &[(&str, Form)] = &[("softmax", Form::Softmax), ("ready", Form::Ready), ("logits", Form::Logits)];

/// Checks that the scores, all finite or masked, have the configured form.
///
/// # Errors
/// If they are probabilities and should not be, or the other way round. The message says what to configure.
pub fn check_form(scores: &[f32], form: Form) -> Result<(), String> {
    match form {
        Form::Logits => Ok(()),
        Form::Ready => match scores.iter().position(|score| !(-TOLERANCE..=1.0 + TOLERANCE).contains(score)) {
            None => Ok(()),
            Some(class) => Err(format!(
                "the score {} of class {class} is not a probability from 0 to 1: set the configuration key `scores` to \
                 `softmax` if the model returns logits",
                scores[class]
            )),
        },
        Form::Softmax => {
            let sum: f64 = scores.iter().map(|score| f64::from(*score)).sum();
            if scores.len() < 2 || scores.iter().any(|score| *score < 0.0) || (sum - 1.0).abs() >= SUM_TOLERANCE {
                return Ok(());
            }
            Err("the scores are probabilities already (none is below 0, and their sum is 1), so their softmax would be \
                 wrong: set the configuration key `scores` to `ready`, or to `logits` if the model returns logits that can \
                 have this sum"
                .into())
        }
    }
}

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
