//! The vector of an output: its shape, pooling and length.

use plimsoll_sdk::model::shape_text;

/// How one vector is made of several tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The output is one vector.
    None,
    /// The first token.
    First,
    /// The mean of all tokens.
    Mean,
}

/// The number of tokens, or `None` if it is dynamic. Without pooling it is 1.
///
/// # Errors
/// If `shape` is not one vector, or not a list of tokens. The message names the output and suggests solutions.
pub fn tokens(output: &str, shape: &[Option<u32>], pooling: Pooling) -> Result<Option<u32>, String> {
    let can_be_one = |size: &Option<u32>| size.is_none_or(|size| size == 1);
    let is_empty = shape.is_empty() || shape.contains(&Some(0));
    let (expected, tokens) = match (pooling, shape) {
        // A shape like [8, 1] may be one number for each of 8 images.
        (Pooling::None, [_]) if !is_empty => return Ok(Some(1)),
        (Pooling::None, [image, rest @ ..])
            if !is_empty && can_be_one(image) && rest.iter().filter(|size| !can_be_one(size)).count() <= 1 =>
        {
            return Ok(Some(1));
        }
        (Pooling::None, _) => ("one vector of shape [D], [1, D], [1, D, 1, 1] or [1, 1, D]", None),
        (_, [image, tokens, _]) if !is_empty && can_be_one(image) => ("", Some(*tokens)),
        _ => ("tokens of shape [1, T, D]", None),
    };
    tokens.ok_or_else(|| {
        format!(
            "output `{output}` has the shape {}, but the plugin expects {expected}: set the configuration key `pooling` to \
             the form of this output, set `output` to another one, or use another postprocess plugin",
            shape_text(shape)
        )
    })
}

/// One vector from the elements of `tokens` tokens.
pub fn pool(elements: &[f64], tokens: u32, pooling: Pooling) -> Vec<f64> {
    let dimensions = elements.len() / tokens.max(1) as usize;
    let mut vector: Vec<f64> = elements[..dimensions].to_vec();
    if pooling == Pooling::Mean {
        for token in elements[dimensions..].chunks_exact(dimensions) {
            vector.iter_mut().zip(token).for_each(|(sum, number)| *sum += number);
        }
        vector.iter_mut().for_each(|sum| *sum /= f64::from(tokens));
    }
    vector
}

/// Elements below this are made larger before they are squared, because their squares would vanish in f64.
const SMALL: f64 = 1e-100;

/// Divides a vector by its Euclidean length. The elements are in the range of f32, so their squares do not overflow.
///
/// # Errors
/// If the length is 0. The message names the output.
pub fn normalise(output: &str, vector: &mut [f64]) -> Result<(), String> {
    let greatest = vector.iter().fold(0.0_f64, |greatest, number| greatest.max(number.abs()));
    if greatest > 0.0 && greatest < SMALL {
        vector.iter_mut().for_each(|number| *number /= greatest);
    }
    let length = vector.iter().map(|number| number * number).sum::<f64>().sqrt();
    if length == 0.0 {
        return Err(format!("output `{output}`: all elements are 0, so the vector has no direction"));
    }
    vector.iter_mut().for_each(|number| *number /= length);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_of_small_numbers_has_the_length_1() {
        // The second is less than the least f32, and the square of the third is less than the least f64.
        for unit in [1.0, 1e-46, 1e-200, 1e-310] {
            let mut vector = pool(&[3.0 * unit, 4.0 * unit], 1, Pooling::None);
            normalise("o", &mut vector).expect("a direction");
            assert!((vector[0] - 0.6).abs() < 1e-9 && (vector[1] - 0.8).abs() < 1e-9, "{unit}: {vector:?}");
        }
        assert!(normalise("o", &mut [0.0, 0.0]).is_err());
    }
}
