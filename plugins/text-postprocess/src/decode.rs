//! The best path of CTC.

/// A probability may be outside of 0 to 1 by this much, because quantised models round.
const TOLERANCE: f32 = 0.01;
/// The sum of the probabilities of a step differs from 1 by less than this.
const SUM_TOLERANCE: f64 = 1e-3;

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
pub fn check(output: &str, scores: &[f32], classes: usize, ready: bool) -> Result<(), String> {
    if ready {
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
    if scores.chunks_exact(classes).all(is_distribution) {
        return Err(format!(
            "output `{output}`: the scores of each step are already probabilities, so their softmax would be meaningless: \
             set the configuration key `scores` to `ready`"
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
