//! Constants, and the operators whose results are known element by element.

use rten_onnx::onnx::{DataType, NodeProto, TensorProto};

use super::size::Size;
use super::value::{Rows, Value};
use crate::node::Attributes;
use crate::tensor;

/// Forgets the elements of results, except those of operators that compute with sizes: the elements of another result are
/// not those of its input.
pub(super) fn forget(operator: &str, is_standard: bool, outputs: &mut [Value]) {
    let is_followed = is_standard
        && matches!(
            operator,
            "Add"
                | "Cast"
                | "Concat"
                | "Constant"
                | "ConstantOfShape"
                | "Div"
                | "Equal"
                | "Gather"
                | "Identity"
                | "Mul"
                | "Reshape"
                | "Shape"
                | "Size"
                | "Slice"
                | "Squeeze"
                | "Sub"
                | "Unsqueeze"
                | "Where"
        );
    if !is_followed {
        for output in outputs {
            (output.elements, output.ones) = (None, None);
        }
    }
}

/// A constant of the file. Lists of integers are kept, because they are sizes and axes.
pub(super) fn of_constant(constant: &TensorProto) -> Value {
    let sizes = constant.dims.iter().map(|&size| Size::number(size)).collect();
    let mut value = Value::new(Rows::Free, Some(sizes));
    let is_list = constant.dims.len() <= 1 && constant.dims.iter().all(|&size| (0..=64).contains(&size));
    if is_list && matches!(constant.data_type, Some(DataType::INT64 | DataType::INT32)) {
        value.elements = tensor::integers(constant).map(|elements| elements.into_iter().map(Size::number).collect());
    }
    if is_list {
        value.ones = tensor::floats(constant).map(|numbers| numbers.iter().map(|&number| number == 1.0).collect());
    }
    value
}

/// The value of a `Constant`.
pub(super) fn of_constant_node(node: &NodeProto) -> Value {
    if let Some(tensor) = node.attribute("value").and_then(|value| value.t.as_ref()) {
        return of_constant(tensor);
    }
    if let Some(number) = node.int("value_int") {
        return Value::list(vec![Size::number(number)], true);
    }
    if let Some(numbers) = node.ints("value_ints").filter(|numbers| !numbers.is_empty()) {
        return Value::list(numbers.iter().copied().map(Size::number).collect(), false);
    }
    let floats = node.attribute("value_floats").map(|list| &list.floats);
    let sizes = floats.map_or(Vec::new(), |list| vec![Size::number(list.len() as i64)]);
    let ones = floats.map(|list| list.iter().map(|&number| number == 1.0).collect());
    Value { ones, ..Value::new(Rows::Free, Some(sizes)) }
}
