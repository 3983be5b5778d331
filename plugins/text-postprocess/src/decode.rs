//! The best path of CTC.

use postprocess_core::scores::{self, Form, SUM_TOLERANCE, TOLERANCE};

/// A step at which a class begins.
pub struct Step {
    /// The number of the step, from 0.
    pub index: usize,
    /// Its best class.
    pub class: usize,
    /// The probability of this class.
    pub probability: f32,
}

/// Checks that the scores have the configured form. `scores` has `classes` numbers for each step, all finite.
///
/// # Errors
/// If they are probabilities and should not be, or the other way round. The message names the output.
pub fn check(output: &str, scores: &[f32], classes: usize, form: Form) -> Result<(), String> {
    if form == Form::Logits {
        return Ok(());
    }
    if form == Form::Ready {
        let wrong = scores.iter().find(|score| !(-TOLERANCE..=1.0 + TOLERANCE).contains(*score));
        return match wrong {
            None => Ok(()),
            Some(score) => Err(format!(
                "output `{output}`: the score {score} is not a probability from 0 to 1: set the configuration key `scores` to \
                 `softmax` if the model returns logits"
            )),
        };
    }
    let is_distribution = |step: &[f32]| {
        let sum: f64 = step.iter().map(|score| f64::from(*score)).sum();
        step.iter().all(|score| *score >= 0.0) && (sum - 1.0).abs() < SUM_TOLERANCE
    };
    let steps = scores.chunks_exact(classes);
    let distributions = steps.clone().filter(|step| is_distribution(step)).count();
    // Probabilities of 8 bits do not have the sum 1, because small ones become 0.
    if 2 * distributions > steps.len() || scores::are_like_probabilities(scores, classes) {
        return Err(format!(
            "output `{output}`: the scores of the steps are already probabilities (all of them from 0 to 1, or most steps with \
             the sum 1), so their softmax would be meaningless: set the configuration key `scores` to `ready`, or to `logits` \
             if the model returns logits that look so"
        ));
    }
    Ok(())
}

/// The steps at which another class than in the step before is the best, blanks included.
pub fn best_path(scores: &[f32], classes: usize, ready: bool) -> impl Iterator<Item = Step> {
    let mut last = None;
    scores.chunks_exact(classes).enumerate().filter_map(move |(index, scores)| {
        let (class, best) =
            scores.iter().copied().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best })?;
        if last.replace(class) == Some(class) {
            return None;
        }
        // The softmax of the greatest score.
        let others = || scores.iter().map(|score| f64::from(*score - best).exp()).sum::<f64>();
        let probability = if ready { best } else { (1.0 / others()) as f32 };
        Some(Step { index, class, probability })
    })
}

/// A text of Arabic script in the order of reading, from one in the order of the image (`pred_reverse` of PaddleOCR). Runs
/// of Latin letters, digits and some other characters keep their order.
pub fn reversed(text: &str) -> String {
    let is_kept = |character: char| character.is_ascii_alphanumeric() || " :*./%+-".contains(character);
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run = rest.find(|character| !is_kept(character)).unwrap_or(rest.len());
        let (part, after) = rest.split_at(if run == 0 { first.len_utf8() } else { run });
        parts.push(part);
        rest = after;
    }
    parts.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(scores: &[f32], classes: usize, form: Form) -> bool {
        check("o", scores, classes, form).is_err_and(|message| message.contains("`o`") && message.contains("`logits`"))
    }

    #[test]
    fn probabilities_of_few_bits_are_not_logits() {
        // 0.9, 0.0999 and 0.0001 in bf16: the sum is 1 - 0.00136. A number below 0 in another step is not enough for logits.
        let step = [0.898_437_5, 0.100_097_656_25, 0.000_1];
        let steps = [step, step, [-0.2, 1.1, 0.0]].concat();
        assert!(is_refused(&steps, 3, Form::Softmax));
        // 8 bits, with a scale of 1/256: most classes become 0.
        let eight = [37.0 / 256.0, 2.0 / 256.0, 0.0, 0.0, 36.0 / 256.0, 1.0 / 256.0, 0.0, 0.0];
        assert!(is_refused(&eight, 4, Form::Softmax));
        for form in [Form::Ready, Form::Logits] {
            assert_eq!(check("o", &eight, 4, form), Ok(()));
        }
    }

    #[test]
    fn logits_are_not_probabilities() {
        assert_eq!(check("o", &[4.0, 0.5, 0.1, 0.2, 0.3, 0.5], 3, Form::Softmax), Ok(()));
        assert_eq!(check("o", &[0.4, -0.5, 0.1, 0.2, 0.3, 0.1], 3, Form::Softmax), Ok(()));
        // One step of two has the sum 1 by chance.
        assert_eq!(check("o", &[0.2, 0.3, 0.5, 4.0, -1.0, 0.5], 3, Form::Softmax), Ok(()));
    }
}
