//! The computation of the stage, without calls to the host, so that `cargo test` runs on the development machine.

use plimsoll_sdk::Failure;

/// The shape of the tensor for a body of `length` bytes: the configured shape, or one row if none is configured.
///
/// # Errors
/// If the body is empty or does not have one byte per element of the shape. The caller gets this failure.
pub fn shape(configured: Option<&[u32]>, length: usize) -> Result<Vec<u32>, Failure> {
    if length == 0 {
        return Err(Failure::InvalidInput("the body is empty".into()));
    }
    let Some(shape) = configured else {
        let length = u32::try_from(length)
            .map_err(|_| Failure::TooLarge("the body is too long for one row".into()))?;
        return Ok(vec![1, length]);
    };
    let needed = shape
        .iter()
        .fold(1u64, |product, &size| product.saturating_mul(size.into()));
    let message =
        || format!("the body has {length} bytes, but a tensor of shape {shape:?} needs {needed}");
    match (length as u64).cmp(&needed) {
        std::cmp::Ordering::Less => Err(Failure::InvalidInput(message())),
        std::cmp::Ordering::Equal => Ok(shape.to_vec()),
        std::cmp::Ordering::Greater => Err(Failure::TooLarge(message())),
    }
}

/// Converts bytes to numbers from 0 to 1.
pub fn scaled(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_becomes_one_row_unless_a_shape_is_configured() {
        assert_eq!(shape(None, 3).expect("a row"), [1, 3]);
        assert_eq!(shape(Some(&[1, 2, 2]), 4).expect("filled"), [1, 2, 2]);
    }

    #[test]
    fn a_body_that_does_not_fill_the_shape_is_refused() {
        assert!(matches!(shape(None, 0), Err(Failure::InvalidInput(_))));
        assert!(matches!(
            shape(Some(&[2, 2]), 3),
            Err(Failure::InvalidInput(_))
        ));
        assert!(matches!(shape(Some(&[2, 2]), 5), Err(Failure::TooLarge(_))));
    }

    #[test]
    fn bytes_are_scaled() {
        assert_eq!(scaled(&[0, 51, 255]), [0.0, 0.2, 1.0]);
    }
}
