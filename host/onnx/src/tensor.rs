//! Reads and creates constant tensors.

use std::cell::RefCell;

use rten_onnx::onnx::{DataLocation, DataType, TensorProto};

/// True if the data are in another file.
pub(crate) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == Some(DataLocation::EXTERNAL)
}

/// The elements as integers, if the type is an integer type or boolean and the data are in the model.
pub(crate) fn integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    if is_external(tensor) {
        return None;
    }
    let raw = tensor.raw_data.as_ref().map(RefCell::borrow);
    let from_raw = |size: usize, read: fn(&[u8]) -> Option<i64>| {
        raw.as_ref().map(|raw| raw.chunks_exact(size).map(read).collect::<Option<Vec<_>>>())
    };
    let narrow = || Some(tensor.int32_data.iter().map(|&value| i64::from(value)).collect());
    match tensor.data_type? {
        DataType::INT64 => from_raw(8, |bytes| Some(i64::from_le_bytes(bytes.try_into().ok()?)))
            .unwrap_or_else(|| Some(tensor.int64_data.clone())),
        DataType::INT32 => {
            from_raw(4, |bytes| Some(i32::from_le_bytes(bytes.try_into().ok()?).into())).unwrap_or_else(narrow)
        }
        DataType::INT8 => from_raw(1, |bytes| Some((*bytes.first()? as i8).into())).unwrap_or_else(narrow),
        DataType::UINT8 => from_raw(1, |bytes| Some((*bytes.first()?).into())).unwrap_or_else(narrow),
        DataType::BOOL => from_raw(1, |bytes| Some((*bytes.first()? != 0).into())).unwrap_or_else(narrow),
        _ => None,
    }
}

/// The elements as numbers, if the type is FLOAT or DOUBLE and the data are in the model.
pub(crate) fn floats(tensor: &TensorProto) -> Option<Vec<f64>> {
    if is_external(tensor) {
        return None;
    }
    let raw = tensor.raw_data.as_ref().map(RefCell::borrow);
    match (tensor.data_type?, raw) {
        (DataType::FLOAT, Some(raw)) => {
            Some(raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes).into()).collect())
        }
        (DataType::FLOAT, None) => Some(tensor.float_data.iter().map(|&value| value.into()).collect()),
        (DataType::DOUBLE, Some(raw)) => {
            Some(raw.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
        }
        (DataType::DOUBLE, None) => Some(tensor.double_data.clone()),
        _ => None,
    }
}

/// True if `is_kind` is true for an element of a constant of FLOAT, DOUBLE or FLOAT16. Data in other files are not
/// read.
pub(crate) fn contains(tensor: &TensorProto, is_kind: fn(f32) -> bool) -> bool {
    let Some(raw) = tensor.raw_data.as_ref().map(RefCell::borrow) else {
        return tensor.float_data.iter().any(|&value| is_kind(value))
            || tensor.double_data.iter().any(|&value| is_kind(value as f32))
            || tensor.data_type == Some(DataType::FLOAT16)
                && tensor.int32_data.iter().any(|&bits| is_kind(from_half(bits as u16)));
    };
    bytes_contain(tensor.data_type, &raw, is_kind)
}

/// True if `is_kind` is true for an element in bytes of FLOAT, DOUBLE or FLOAT16.
pub(crate) fn bytes_contain(ty: Option<DataType>, bytes: &[u8], is_kind: fn(f32) -> bool) -> bool {
    match ty {
        Some(DataType::FLOAT) => bytes.as_chunks().0.iter().any(|&bytes| is_kind(f32::from_le_bytes(bytes))),
        Some(DataType::DOUBLE) => bytes.as_chunks().0.iter().any(|&bytes| is_kind(f64::from_le_bytes(bytes) as f32)),
        Some(DataType::FLOAT16) => {
            bytes.as_chunks().0.iter().any(|&bytes| is_kind(from_half(u16::from_le_bytes(bytes))))
        }
        _ => false,
    }
}

/// NaN, infinity or 0, as the bits of a number of 16 bits say (IEEE 754); the value of a finite number is not needed.
fn from_half(bits: u16) -> f32 {
    match bits & 0x7FFF {
        0x7C00 => f32::INFINITY,
        0x7C01.. => f32::NAN,
        _ => 0.0,
    }
}

/// A one-dimensional tensor of INT64.
pub(crate) fn of_ints(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        dims: vec![values.len() as i64],
        data_type: Some(DataType::INT64),
        raw_data: Some(RefCell::new(values.iter().flat_map(|value| value.to_le_bytes()).collect())),
        name: Some(name.into()),
        ..TensorProto::default()
    }
}

/// A scalar of the given type; FLOAT for every type that the engine computes as FLOAT.
pub(crate) fn scalar(name: &str, ty: DataType, value: f32) -> TensorProto {
    let (data_type, bytes) = match ty {
        DataType::INT64 => (ty, (value as i64).to_le_bytes().to_vec()),
        DataType::INT32 => (ty, (value as i32).to_le_bytes().to_vec()),
        DataType::UINT8 => (ty, vec![value as u8]),
        DataType::INT8 => (ty, vec![value as i8 as u8]),
        DataType::BOOL => (ty, vec![u8::from(value != 0.0)]),
        _ => (DataType::FLOAT, value.to_le_bytes().to_vec()),
    };
    TensorProto {
        data_type: Some(data_type),
        raw_data: Some(RefCell::new(bytes)),
        name: Some(name.into()),
        ..TensorProto::default()
    }
}

/// A tensor of FLOAT.
pub(crate) fn of_floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type: Some(DataType::FLOAT),
        raw_data: Some(RefCell::new(values.iter().flat_map(|value| value.to_le_bytes()).collect())),
        name: Some(name.into()),
        ..TensorProto::default()
    }
}
