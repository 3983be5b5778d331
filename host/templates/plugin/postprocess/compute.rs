//! What the stage computes, apart from the calls to the host, so that `cargo test` runs it on any machine.

use serde::Serialize;

/// A tensor as the reply shows it.
#[derive(Serialize)]
pub struct Output {
    /// The name of the model's output.
    pub name: String,
    /// The sizes of its dimensions.
    pub shape: Vec<u32>,
    /// Its elements, row-major.
    pub values: Vec<f32>,
}

#[derive(Serialize)]
struct Answer {
    outputs: Vec<Output>,
}

/// The body of the reply.
///
/// # Errors
/// A sentence that names the output with a value that is no finite number: JSON has no word for it.
pub fn json(outputs: Vec<Output>) -> Result<Vec<u8>, String> {
    for output in &outputs {
        if let Some(index) = output.values.iter().position(|value| !value.is_finite()) {
            return Err(format!(
                "value {index} of output `{}` is no finite number",
                output.name
            ));
        }
    }
    serde_json::to_vec(&Answer { outputs })
        .map_err(|error| format!("the reply is not written: {error}"))
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
    fn a_value_that_is_no_number_is_named() {
        let error = json(vec![output(&[0.5, f32::NAN])]).expect_err("JSON has no NaN");
        assert!(error.contains("value 1 of output `logits`"), "{error}");
    }
}
