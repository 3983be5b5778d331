//! The element types that an operator of the engine supports.

use rten_onnx::onnx::{DataType, NodeProto};

use crate::node::Edit;
use crate::rejected::Reason;
use crate::site::Site;

/// A set of element types.
pub(super) type Kinds = u8;

/// FLOAT, and FLOAT16 and DOUBLE, which the engine computes as FLOAT.
pub(super) const FLOATS: Kinds = 1;
/// INT32, and INT64 and BOOL, which the engine computes as INT32.
pub(super) const WHOLE: Kinds = 2;
/// UINT8 and INT8.
pub(super) const BYTES: Kinds = 4;
/// Numbers of 32 bits.
pub(super) const NUMBERS: Kinds = FLOATS | WHOLE;
/// All types that the engine knows.
pub(super) const ANY: Kinds = NUMBERS | BYTES;

/// The set that contains a type.
pub(super) fn kind(ty: DataType) -> Kinds {
    match ty {
        DataType::FLOAT | DataType::FLOAT16 | DataType::DOUBLE => FLOATS,
        DataType::INT32 | DataType::INT64 | DataType::BOOL => WHOLE,
        DataType::UINT8 | DataType::INT8 => BYTES,
        _ => 0,
    }
}

/// Checks the element type of an input, if it is known.
pub(super) fn check(node: &NodeProto, index: usize, kinds: Kinds, site: &Site) -> Result<(), Reason> {
    let Some(ty) = node.input(index).and_then(|name| site.values.get(name)).and_then(|info| info.ty) else {
        return Ok(());
    };
    if kind(ty) & kinds != 0 {
        return Ok(());
    }
    Err(Reason::unsupported(format!("does not support the element type {} for input {index}", name(ty))))
}

/// Checks that a node does not compute with DOUBLE, which the engine computes as FLOAT. Constants of DOUBLE may be
/// converted to other types, as some exporters write them.
pub(super) fn check_double(node: &NodeProto, site: &Site) -> Result<(), Reason> {
    let converts = matches!(
        node.op_type.as_deref(),
        Some("Cast" | "CastLike" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" | "Constant")
    );
    let is_double = |index: usize| site.info(node, index).ty == Some(DataType::DOUBLE);
    if !converts && (0..node.input.len()).any(is_double) { Err(double()) } else { Ok(()) }
}

/// Checks the element type of a result.
pub(crate) fn check_result(ty: DataType, operator: &str) -> Result<(), Reason> {
    let from_constant = matches!(operator, "Constant" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze");
    if ty == DataType::DOUBLE && !from_constant { Err(double()) } else { super::check_type(ty) }
}

fn double() -> Reason {
    Reason::with_fix("computes DOUBLE as FLOAT", "export the model in FLOAT")
}

/// The name of a type in the ONNX standard.
pub(super) fn name(ty: DataType) -> String {
    match ty.name() {
        Some(name) => name.to_owned(),
        None => match ty.0 {
            0 => "UNDEFINED".to_owned(),
            25 => "UINT2".to_owned(),
            26 => "INT2".to_owned(),
            other => format!("number {other}"),
        },
    }
}

/// No type.
pub(super) const UNDEFINED: DataType = DataType(0);
