//! Checks of what a graph takes, returns and contains: element types, and numbers that the engine cannot represent.

use rten_onnx::onnx::{DataType, TensorProto, ValueInfoProto};

use super::kinds;
use crate::rejected::{OTHER_BACKEND, Reason, Rejected};
use crate::tensor;
use crate::types::Info;

/// Checks a constant of the model.
pub(crate) fn check_constant(name: &str, tensor: &TensorProto) -> Result<(), Rejected> {
    let of = |why: String| Rejected::model(format!("constant `{name}`: {why}; {OTHER_BACKEND}"));
    let ty = tensor.data_type.unwrap_or(kinds::UNDEFINED);
    check_type(ty).map_err(|reason| of(format!("{} {}", crate::ENGINE, reason.why)))?;
    if ty == DataType::DOUBLE
        && tensor::floats(tensor).is_some_and(|values| values.iter().any(|&value| exceeds_float(value)))
    {
        return Err(of("the engine computes DOUBLE as FLOAT, and a value exceeds the range of FLOAT".into()));
    }
    Ok(())
}

fn exceeds_float(value: f64) -> bool {
    value.is_finite() && (value as f32).is_infinite()
}

/// Checks an element type.
pub(crate) fn check_type(ty: DataType) -> Result<(), Reason> {
    match ty {
        DataType::FLOAT
        | DataType::FLOAT16
        | DataType::DOUBLE
        | DataType::INT32
        | DataType::INT64
        | DataType::BOOL
        | DataType::UINT8
        | DataType::INT8 => Ok(()),
        other => Err(Reason::unsupported(format!("does not support the element type {}", kinds::name(other)))),
    }
}

/// Checks an input of a graph.
pub(crate) fn check_input(value: &ValueInfoProto, info: &Info, is_main: bool) -> Result<(), Rejected> {
    if is_main && value.r#type.as_ref().is_none_or(|ty| ty.tensor_type.is_some() && info.ty.is_none()) {
        return Err(Rejected::model(format!(
            "input `{}`: the file declares no element type: export the model again",
            value.name.as_deref().unwrap_or_default()
        )));
    }
    check_value("input", value, info, is_main)
}

/// Checks an output of a graph.
pub(crate) fn check_output(value: &ValueInfoProto, info: &Info, is_main: bool) -> Result<(), Rejected> {
    let declared = Info::declared(value).ty;
    if let (Some(declared), Some(computed)) = (declared, info.ty)
        && declared != computed
        && is_main
    {
        return Err(Rejected::model(format!(
            "output `{}`: the file declares the element type {}, but the model computes {}: export the model again",
            value.name.as_deref().unwrap_or_default(),
            kinds::name(declared),
            kinds::name(computed)
        )));
    }
    if info.exceeds_32_bits {
        let name = value.name.as_deref().unwrap_or_default();
        return Err(Rejected::model(format!(
            "output `{name}`: {} computes 64-bit integers as 32-bit integers, and a value exceeds them; {OTHER_BACKEND}",
            crate::ENGINE
        )));
    }
    check_value("output", value, info, is_main)
}

fn check_value(what: &str, value: &ValueInfoProto, info: &Info, is_main: bool) -> Result<(), Rejected> {
    let name = value.name.as_deref().unwrap_or_default();
    let of = |why: &str| Rejected::model(format!("{what} `{name}`: {} {why}; {OTHER_BACKEND}", crate::ENGINE));
    if let Some(ty) = info.ty {
        kinds::check_result(ty, what).map_err(|reason| of(&reason.why))?;
    }
    let is_other = value.r#type.as_ref().is_some_and(|ty| ty.tensor_type.is_none());
    if is_main && is_other {
        return Err(of("supports only tensors here, not sequences, maps or optional values"));
    }
    Ok(())
}
