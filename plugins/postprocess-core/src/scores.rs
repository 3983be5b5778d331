//! Checks scores, converts them into probabilities and selects the best ones.

/// A probability may be outside of 0 to 1 by this much, because quantised models round.
pub const TOLERANCE: f32 = 0.01;
/// The sum of probabilities differs from 1 by less than this. BF16 has 8 bits.
pub const SUM_TOLERANCE: f64 = 5e-3;
/// So few scores may all be from 0 to 1 although they are logits.
const FEW_CLASSES: usize = 2;

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
pub fn check_form(scores: &[f64], form: Form) -> Result<(), String> {
    match form {
        Form::Logits => Ok(()),
        Form::Ready => match scores.iter().position(|score| !is_probability(*score)) {
            None => Ok(()),
            Some(class) => Err(format!(
                "the score {} of class {class} is not a probability from 0 to 1: set the configuration key `scores` to \
                 `softmax` if the model returns logits",
                scores[class]
            )),
        },
        Form::Softmax => {
            let sum: f64 = scores.iter().sum();
            let has_sum = (sum - 1.0).abs() < SUM_TOLERANCE && scores.iter().all(|score| *score >= 0.0);
            if scores.len() < 2 || !(has_sum || are_like_probabilities(scores, scores.len())) {
                return Ok(());
            }
            Err("the scores are probabilities already (all of them are from 0 to 1), so their softmax would be wrong: set the \
                 configuration key `scores` to `ready`, or to `logits` if the model returns logits in this range"
                .into())
        }
    }
}

/// True if all scores of so many classes are from 0 to 1. Logits of three or more classes are hardly ever; but probabilities of
/// 8 bits do not have the sum 1, because small ones are rounded to 0, and those of independent classes have any sum.
pub fn are_like_probabilities<T: Copy + Into<f64>>(scores: &[T], classes: usize) -> bool {
    classes > FEW_CLASSES && scores.iter().all(|score| is_probability((*score).into()))
}

fn is_probability(score: f64) -> bool {
    (f64::from(-TOLERANCE)..=f64::from(1.0 + TOLERANCE)).contains(&score)
}

/// The class of the first score that is NaN or infinite in f32, which replies have. For softmax, a score of -∞ is valid if another score is finite.
pub fn first_invalid(scores: &[f64], is_softmax: bool) -> Option<usize> {
    let is_masked = |score: f64| is_softmax && score as f32 == f32::NEG_INFINITY;
    match scores.iter().position(|&score| !(score as f32).is_finite() && !is_masked(score)) {
        None if scores.iter().all(|&score| is_masked(score)) => Some(0),
        found => found,
    }
}

/// The softmax of the scores. The greatest score is subtracted first so that no exponential overflows. A score of -∞
/// (a masked class) has probability 0.
pub fn softmax(scores: &[f64]) -> Vec<f32> {
    let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut powers: Vec<f32> = scores.iter().map(|score| ((score - greatest) as f32).exp()).collect();
    let sum: f64 = powers.iter().map(|power| f64::from(*power)).sum();
    powers.iter_mut().for_each(|power| *power = (f64::from(*power) / sum) as f32);
    powers
}

/// The indices of the `count` greatest values, or of all values if there are fewer. The greatest value comes first;
/// for equal values, the lower index comes first. No value is NaN. These are the scores of the model: their probabilities
/// are rounded, so different scores may have equal ones.
pub fn best(values: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    // -0 is equal to 0, also in this order, if 0 is added.
    order.sort_by(|&a, &b| (values[b] + 0.0).total_cmp(&(values[a] + 0.0)));
    order.truncate(count);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(scores: &[f64]) -> bool {
        let found = check_form(scores, Form::Softmax);
        assert_eq!(check_form(scores, Form::Logits), Ok(()), "the way out");
        found.is_err_and(|message| message.contains("`scores` to `ready`") && message.contains("`logits`"))
    }

    #[test]
    fn probabilities_of_8_bits_are_not_logits() {
        // The softmax of 1,000 classes in steps of 1/256: most of them become 0, and the sum is 0.883.
        let mut scores = vec![0.0; 1_000];
        scores[..2].copy_from_slice(&[225.0 / 256.0, 1.0 / 256.0]);
        assert!(is_refused(&scores));
    }

    #[test]
    fn probabilities_of_independent_classes_are_not_logits() {
        assert!(is_refused(&[0.9, 0.8, 0.995]));
        // By rounding, one of them is a little over 1.
        assert!(is_refused(&[1.004, 0.0, -0.004]));
    }

    #[test]
    fn logits_are_accepted() {
        for scores in [&[0.5, 0.49][..], &[1.2, 0.2, 0.1], &[0.5, 0.4, -0.1], &[f64::NEG_INFINITY, 0.4, 0.6]] {
            assert_eq!(check_form(scores, Form::Softmax), Ok(()), "{scores:?}");
        }
    }

    #[test]
    fn the_order_is_that_of_the_scores_and_not_of_rounded_probabilities() {
        // Both have the probability 0.5 in f32.
        assert_eq!(best(&[0.01, 0.010_000_001], 1), [1]);
        assert_eq!(best(&[0.499_999_99, 0.500_000_01], 1), [1]);
        // The first two have the probability 0.
        assert_eq!(best(&[-200.0, -150.0, 0.0], 3), [2, 1, 0]);
        // Equal scores: the lower index first.
        assert_eq!(best(&[-0.0, 0.0, -0.0], 3), [0, 1, 2]);
    }

    #[test]
    fn logits_that_f32_does_not_have_are_not_rounded() {
        let probabilities = softmax(&[16_777_216.0, 16_777_217.0]);
        assert!((probabilities[1] - 0.731_058_6).abs() < 1e-6, "{probabilities:?}");
        assert_eq!(first_invalid(&[1e300, 0.0], true), Some(0));
        assert_eq!(first_invalid(&[f64::NEG_INFINITY, 0.0], true), None);
        assert_eq!(first_invalid(&[f64::NEG_INFINITY, 0.0], false), Some(0));
    }
}
