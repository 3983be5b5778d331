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

/// True if a constant of FLOAT, DOUBLE or FLOAT16 contains NaN. Data in other files are not read.
pub(crate) fn has_nan(tensor: &TensorProto) -> bool {
    let Some(raw) = tensor.raw_data.as_ref().map(RefCell::borrow) else {
        return tensor.float_data.iter().any(|value| value.is_nan())
            || tensor.double_data.iter().any(|value| value.is_nan());
    };
    match tensor.data_type {
        Some(DataType::FLOAT) => raw.as_chunks().0.iter().any(|&bytes| f32::from_le_bytes(bytes).is_nan()),
        Some(DataType::DOUBLE) => raw.as_chunks().0.iter().any(|&bytes| f64::from_le_bytes(bytes).is_nan()),
        // All exponent bits are set and the mantissa is not 0 (IEEE 754).
        Some(DataType::FLOAT16) => raw.as_chunks().0.iter().any(|&bytes| u16::from_le_bytes(bytes) & 0x7FFF > 0x7C00),
        _ => false,
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
