//! The computation, which needs no host, so that `cargo test` can test it on this machine.

/// The values, stretched so that the least one is 0 and the greatest one is 1. Equal values stay as they are.
pub fn stretched(values: Vec<f32>) -> Vec<f32> {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if greatest <= least {
        return values;
    }
    values.into_iter().map(|value| (value - least) / (greatest - least)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_stretched() {
        assert_eq!(stretched(vec![2.0, 4.0, 3.0]), [0.0, 1.0, 0.5]);
        assert_eq!(stretched(vec![2.0, 2.0]), [2.0, 2.0]);
        assert!(stretched(Vec::new()).is_empty());
    }
}
