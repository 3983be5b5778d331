//! The tensors of ONNX's node tests: files with one `TensorProto` (or another value).

use std::path::Path;

use plimsoll_runtime::tensor::{Tensor, TensorType};
use rten_onnx::onnx::{DataType, TensorProto};
use rten_onnx::protobuf::{DecodeMessage, ValueReader};

/// The relative and absolute tolerance of ONNX's own runner.
const RELATIVE: f64 = 1e-3;
pub(crate) const ABSOLUTE: f64 = 1e-7;

/// A tensor with its elements as numbers.
pub(crate) struct Numbers {
    shape: Vec<usize>,
    ty: DataType,
    values: Vec<f64>,
}

/// The value of a file.
pub(crate) enum Value {
    Tensor(Numbers),
    /// A sequence, an optional value, or a tensor of a type that the host does not have.
    Other(String),
}

impl Value {
    /// Converts the value to a tensor of the type that the model's input takes.
    pub(crate) fn to_tensor(&self, ty: Option<TensorType>) -> Result<Tensor, String> {
        match self {
            Value::Tensor(numbers) => numbers.to_tensor(ty.ok_or("the input has no known type")?),
            Value::Other(what) => Err(format!("an input is {what}")),
        }
    }
}

/// Reads a file of a test.
pub(crate) fn read(path: &Path) -> Result<Value, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let Ok(tensor) = TensorProto::decode(ValueReader::from_buf(bytes)) else {
        return Ok(Value::Other("not a tensor".into()));
    };
    let ty = tensor.data_type.unwrap_or(DataType(0));
    let raw = tensor.raw_data.as_ref().map(|raw| raw.borrow().clone());
    let small = |values: &[i32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
    let values: Vec<f64> = match (ty, raw) {
        (DataType::FLOAT, Some(raw)) => {
            raw.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes).into()).collect()
        }
        (DataType::DOUBLE, Some(raw)) => raw.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect(),
        (DataType::INT64, Some(raw)) => {
            raw.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f64).collect()
        }
        (DataType::INT32, Some(raw)) => {
            raw.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes).into()).collect()
        }
        (DataType::UINT8 | DataType::BOOL, Some(raw)) => raw.into_iter().map(f64::from).collect(),
        (DataType::INT8, Some(raw)) => raw.into_iter().map(|byte| f64::from(byte as i8)).collect(),
        (DataType::FLOAT16, Some(raw)) => {
            raw.as_chunks().0.iter().map(|&bytes| half(u16::from_le_bytes(bytes))).collect()
        }
        (DataType::FLOAT, None) => tensor.float_data.iter().map(|&value| value.into()).collect(),
        (DataType::DOUBLE, None) => tensor.double_data.clone(),
        (DataType::INT64, None) => tensor.int64_data.iter().map(|&value| value as f64).collect(),
        (DataType::INT32 | DataType::UINT8 | DataType::BOOL | DataType::INT8, None) => small(&tensor.int32_data),
        (DataType::FLOAT16, None) => tensor.int32_data.iter().map(|&bits| half(bits as u16)).collect(),
        (other, _) => return Ok(Value::Other(format!("of the type {other}"))),
    };
    let shape = tensor.dims.iter().map(|&size| usize::try_from(size).expect("a size")).collect();
    Ok(Value::Tensor(Numbers { shape, ty, values }))
}

/// The number of a half (IEEE 754 binary16).
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    match exponent {
        31 if mantissa == 0.0 => sign * f64::INFINITY,
        31 => f64::NAN,
        0 => sign * mantissa * 2f64.powi(-24),
        _ => sign * (1.0 + mantissa / 1024.0) * 2f64.powi(exponent - 15),
    }
}

/// True if a tensor of a test has integers that DOUBLE does not have, so that this reader would change them.
pub(crate) fn has_large_integers(set: &Path) -> bool {
    let is_large = |value: &f64| value.abs() >= 9_007_199_254_740_992.0 && value.is_finite();
    let of = |value: Value| match value {
        Value::Tensor(numbers) => is_whole(numbers.ty) && numbers.values.iter().any(is_large),
        _ => false,
    };
    let files = std::fs::read_dir(set).expect("a folder").map(|entry| entry.expect("readable").path());
    files.into_iter().any(|file| read(&file).is_ok_and(of))
}

fn is_whole(ty: DataType) -> bool {
    matches!(ty, DataType::INT64 | DataType::UINT64)
}

impl Numbers {
    /// The elements of a tensor of the host.
    pub(crate) fn of(tensor: &Tensor) -> Self {
        let bytes: &[u8] = &tensor.data;
        let (ty, values) = match tensor.ty {
            TensorType::Fp32 => {
                (DataType::FLOAT, bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes).into()).collect())
            }
            TensorType::Fp64 => {
                (DataType::DOUBLE, bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect())
            }
            TensorType::I32 => {
                (DataType::INT32, bytes.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes).into()).collect())
            }
            TensorType::I64 => {
                (DataType::INT64, bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f64).collect())
            }
            TensorType::U8 => (DataType::UINT8, bytes.iter().map(|&byte| byte.into()).collect()),
            TensorType::Fp16 => {
                (DataType::FLOAT16, bytes.as_chunks().0.iter().map(|&bytes| half(u16::from_le_bytes(bytes))).collect())
            }
            TensorType::Bf16 => panic!("no backend returns bf16"),
        };
        Numbers { shape: tensor.dimensions.iter().map(|&size| size as usize).collect(), ty, values }
    }

    fn to_tensor(&self, ty: TensorType) -> Result<Tensor, String> {
        let bytes = |to: &dyn Fn(f64) -> Vec<u8>| self.values.iter().flat_map(|&value| to(value)).collect::<Vec<u8>>();
        let data = match ty {
            TensorType::Fp32 => bytes(&|value| (value as f32).to_le_bytes().into()),
            TensorType::Fp64 => bytes(&|value| value.to_le_bytes().into()),
            TensorType::U8 => bytes(&|value| vec![value as u8]),
            TensorType::I32 if self.ty != DataType::INT64 => bytes(&|value| (value as i32).to_le_bytes().into()),
            TensorType::I32 | TensorType::I64 => {
                let data = bytes(&|value| (value as i64).to_le_bytes().into());
                return Ok(Tensor::new(self.dimensions(), TensorType::I64, data));
            }
            other => return Err(format!("an input of the type {other}")),
        };
        Ok(Tensor::new(self.dimensions(), ty, data))
    }

    fn dimensions(&self) -> Vec<u32> {
        self.shape.iter().map(|&size| size as u32).collect()
    }

    /// The first difference beyond the relative and the given absolute tolerance. Integers and booleans must be equal.
    pub(crate) fn difference(&self, expected: &Numbers, absolute: f64) -> Option<String> {
        if self.shape != expected.shape {
            return Some(format!("shape {:?} instead of {:?}", self.shape, expected.shape));
        }
        let is_exact = !matches!(expected.ty, DataType::FLOAT | DataType::DOUBLE | DataType::FLOAT16);
        let differs = |(&found, &expected): (&f64, &f64)| {
            let is_same = found == expected || found.is_nan() && expected.is_nan();
            let allowed = if is_exact { 0.0 } else { absolute + RELATIVE * expected.abs() };
            let difference = (found - expected).abs();
            !is_same && (difference.is_nan() || difference > allowed)
        };
        let at = self.values.iter().zip(&expected.values).position(differs)?;
        Some(format!("element {at} is {} instead of {}", self.values[at], expected.values[at]))
    }
}
