//! The computation of the stage, without calls to the host, so that `cargo test` runs on the development machine.

use serde::Serialize;

/// A tensor in the reply.
#[derive(Serialize)]
pub struct Output {
    /// The name of the model's output.
    pub name: String,
    /// The sizes of the dimensions.
    pub shape: Vec<u32>,
    /// The elements, row-major.
    pub values: Vec<f32>,
}

#[derive(Serialize)]
struct Answer {
    outputs: Vec<Output>,
}

/// The body of the reply.
///
/// # Errors
/// If a value is not a finite number, because JSON cannot represent it. The text names the output.
pub fn json(outputs: Vec<Output>) -> Result<Vec<u8>, String> {
    for output in &outputs {
        if let Some(index) = output.values.iter().position(|value| !value.is_finite()) {
            return Err(format!(
                "value {index} of output `{}` is not a finite number",
                output.name
            ));
        }
    }
    serde_json::to_vec(&Answer { outputs })
        .map_err(|error| format!("the reply cannot be serialised: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(values: &[f32]) -> Output {
        Output {
            name: "logits".into(),
            shape: vec![1, values.len() as u32],
            values: values.to_vec(),
        }
    }

    #[test]
    fn outputs_become_json() {
        let body = json(vec![output(&[0.1, -1.0, 2.25])]).expect("finite");
        let expected = r#"{"outputs":[{"name":"logits","shape":[1,3],"values":[0.1,-1.0,2.25]}]}"#;
        assert_eq!(String::from_utf8(body).expect("text"), expected);
    }

    #[test]
    fn the_error_names_the_value_that_is_not_finite() {
        let error = json(vec![output(&[0.5, f32::NAN])]).expect_err("JSON has no NaN");
        assert!(error.contains("value 1 of output `logits`"), "{error}");
    }
}
