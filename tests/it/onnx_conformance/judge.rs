//! Whether the outputs of a test are right, and whether the message of a rejected model is complete.

use std::path::Path;

use plimsoll_runtime::tensor::{Tensor, Tensors};

use super::protos::{self, Numbers, Value};

/// Compares the outputs of a run with all expected ones in a folder: their number, their types and their elements.
pub(super) fn compare_outputs(outputs: &Tensors, data: &Path, column: &str, absolute: f64) -> Result<(), String> {
    let file = |index: usize| data.join(format!("output_{index}.pb"));
    let count = (0..).take_while(|&index| file(index).is_file()).count();
    if count == 0 || outputs.len() != count {
        return Err(format!("{} outputs instead of {count}", outputs.len()));
    }
    for (index, (output, tensor)) in outputs.iter().enumerate() {
        let expected = match protos::read(&file(index))? {
            Value::Tensor(expected) => expected,
            Value::Strings(expected) => {
                let is_same = |expected: &Tensor| {
                    (&expected.dimensions, expected.ty, &expected.data) == (&tensor.dimensions, tensor.ty, &tensor.data)
                };
                if is_same(&expected) {
                    continue;
                }
                return Err(format!("{output}: other strings, {tensor:?} instead of {expected:?}"));
            }
            Value::Other(what) => return Err(format!("{output}: {what}")),
        };
        let found = Numbers::of(tensor);
        if !found.has_type(&expected, column) {
            return Err(format!("{output}: the type {} instead of {}", found.ty(), expected.ty()));
        }
        if let Some(difference) = found.difference(&expected, absolute) {
            return Err(format!("{output}: {difference}"));
        }
    }
    Ok(())
}

/// Checks that the message of a rejected model names the file, and what to do; and for a node the operator and its
/// operator set.
pub(super) fn check_message(message: &str) -> Result<(), String> {
    let has_node = !message.contains("node `") || message.contains(", operator set ");
    let has_mend =
        ["use the backend", "export the model", "use `infer-native`"].iter().any(|mend| message.contains(mend));
    if message.contains("model.onnx") && has_node && has_mend {
        return Ok(());
    }
    Err(format!("rejected with a message without file, operator set or mend: {message}"))
}
