//! The tensors of ONNX's node tests: files with one `TensorProto` (or another value).

use std::path::Path;

use half::{bf16, f16};
use plimsoll_runtime::tensor::{Tensor, TensorType};
use rten_onnx::onnx::{DataType, TensorProto};
use rten_onnx::protobuf::{DecodeMessage, ValueReader};

use super::strings;

/// The relative and absolute tolerance of ONNX's own runner.
const RELATIVE: f64 = 1e-3;
pub(crate) const ABSOLUTE: f64 = 1e-7;

/// The numbers of bytes.
macro_rules! numbers {
    ($bytes:expr, $ty:ty) => {
        $bytes.as_chunks().0.iter().map(|&bytes| <$ty>::from_le_bytes(bytes) as f64).collect()
    };
}

/// A tensor with its elements as numbers.
pub(crate) struct Numbers {
    shape: Vec<usize>,
    ty: DataType,
    values: Vec<f64>,
    /// The elements of INT64 and UINT64, of which `values` may be rounded.
    whole: Vec<i128>,
}

/// The value of a file.
pub(crate) enum Value {
    Tensor(Numbers),
    /// A tensor of strings.
    Strings(Tensor),
    /// A sequence, an optional value, or a tensor of a type that the host does not have.
    Other(String),
}

impl Value {
    /// Converts the value to a tensor of the type that the model's input takes.
    pub(crate) fn to_tensor(&self, ty: Option<TensorType>) -> Result<Tensor, String> {
        match self {
            Value::Tensor(numbers) => numbers.to_tensor(ty.ok_or("the input has no known type")?),
            Value::Strings(tensor) => Ok(tensor.clone()),
            Value::Other(what) => Err(format!("an input is {what}")),
        }
    }
}

/// Reads a file of a test.
pub(crate) fn read(path: &Path) -> Result<Value, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let Ok(tensor) = TensorProto::decode(ValueReader::from_buf(bytes.clone())) else {
        return Ok(Value::Other("not a tensor".into()));
    };
    let ty = tensor.data_type.unwrap_or(DataType(0));
    let raw = tensor.raw_data.as_ref().map(|raw| raw.borrow().clone());
    let small = |values: &[i32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
    let shape = || tensor.dims.iter().map(|&size| usize::try_from(size).expect("a size")).collect::<Vec<_>>();
    if ty == DataType::STRING {
        return Ok(Value::Strings(strings::tensor(&shape(), &bytes)?));
    }
    let values: Vec<f64> = match (ty, raw.clone()) {
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
        (DataType::INT16, Some(raw)) => numbers!(raw, i16),
        (DataType::UINT16, Some(raw)) => numbers!(raw, u16),
        (DataType::UINT32, Some(raw)) => numbers!(raw, u32),
        (DataType::UINT64, Some(raw)) => numbers!(raw, u64),
        (DataType::FLOAT16, Some(raw)) => {
            raw.as_chunks().0.iter().map(|&bytes| half(u16::from_le_bytes(bytes))).collect()
        }
        (DataType::BFLOAT16, Some(raw)) => {
            raw.as_chunks().0.iter().map(|&bytes| upper_half(u16::from_le_bytes(bytes))).collect()
        }
        (DataType::FLOAT, None) => tensor.float_data.iter().map(|&value| value.into()).collect(),
        (DataType::DOUBLE, None) => tensor.double_data.clone(),
        (DataType::INT64, None) => tensor.int64_data.iter().map(|&value| value as f64).collect(),
        (
            DataType::INT32 | DataType::UINT8 | DataType::BOOL | DataType::INT8 | DataType::INT16 | DataType::UINT16,
            None,
        ) => small(&tensor.int32_data),
        (DataType::BFLOAT16, None) => tensor.int32_data.iter().map(|&bits| upper_half(bits as u16)).collect(),
        (DataType::FLOAT16, None) => tensor.int32_data.iter().map(|&bits| half(bits as u16)).collect(),
        (other, _) => return Ok(Value::Other(format!("of the type {other}"))),
    };
    let whole = match (ty, &raw) {
        (DataType::INT64, Some(raw)) => wholes(raw, i64::from_le_bytes),
        (DataType::UINT64, Some(raw)) => wholes(raw, u64::from_le_bytes),
        (DataType::INT64, None) => tensor.int64_data.iter().map(|&value| value.into()).collect(),
        _ => Vec::new(),
    };
    Ok(Value::Tensor(Numbers { shape: shape(), ty, values, whole }))
}

/// Integers of 64 bits, exactly.
fn wholes<T: Into<i128>>(bytes: &[u8], read: fn([u8; 8]) -> T) -> Vec<i128> {
    bytes.as_chunks().0.iter().map(|&bytes| read(bytes).into()).collect()
}

/// The number of a BFLOAT16: the upper half of a FLOAT.
fn upper_half(bits: u16) -> f64 {
    f32::from_bits(u32::from(bits) << 16).into()
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

/// The end of a difference between two values that have no elements, and the same number of dimensions.
pub(super) const EMPTY: &str = ", both without elements";

impl Numbers {
    /// The elements of a tensor of the host.
    pub(crate) fn of(tensor: &Tensor) -> Self {
        let bytes: &[u8] = &tensor.data;
        let (ty, values) = match tensor.ty {
            TensorType::Fp32 => (DataType::FLOAT, numbers!(bytes, f32)),
            TensorType::Fp64 => (DataType::DOUBLE, numbers!(bytes, f64)),
            TensorType::I8 => (DataType::INT8, numbers!(bytes, i8)),
            TensorType::I16 => (DataType::INT16, numbers!(bytes, i16)),
            TensorType::I32 => (DataType::INT32, numbers!(bytes, i32)),
            TensorType::I64 => (DataType::INT64, numbers!(bytes, i64)),
            TensorType::Bool => (DataType::BOOL, numbers!(bytes, u8)),
            TensorType::U8 => (DataType::UINT8, numbers!(bytes, u8)),
            TensorType::U16 => (DataType::UINT16, numbers!(bytes, u16)),
            TensorType::U32 => (DataType::UINT32, numbers!(bytes, u32)),
            TensorType::U64 => (DataType::UINT64, numbers!(bytes, u64)),
            TensorType::Fp16 => {
                (DataType::FLOAT16, bytes.as_chunks().0.iter().map(|&bytes| half(u16::from_le_bytes(bytes))).collect())
            }
            TensorType::Bf16 => {
                let number = |&bytes: &[u8; 2]| upper_half(u16::from_le_bytes(bytes));
                (DataType::BFLOAT16, bytes.as_chunks().0.iter().map(number).collect())
            }
            // Strings are compared as they are.
            TensorType::Bytes => (DataType::STRING, Vec::new()),
        };
        let whole = match ty {
            DataType::INT64 => wholes(bytes, i64::from_le_bytes),
            DataType::UINT64 => wholes(bytes, u64::from_le_bytes),
            _ => Vec::new(),
        };
        Numbers { shape: tensor.dimensions.iter().map(|&size| size as usize).collect(), ty, values, whole }
    }

    /// True if a tensor with these elements may stand for one of the expected type. rten has FLOAT, INT32, INT8 and UINT8
    /// only: it returns FLOAT16 as FLOAT, and integers of other types and booleans as INT32. In `infer-wasm`, INT8 is returned
    /// as INT32 too. All other backends
    /// return the type of the model.
    pub(crate) fn has_type(&self, expected: &Numbers, backend: &str) -> bool {
        let is_rten = backend != "onnxruntime";
        self.ty == expected.ty
            || is_rten && (self.ty, expected.ty) == (DataType::FLOAT, DataType::FLOAT16)
            || is_rten && self.ty == DataType::INT32 && matches!(expected.ty, DataType::INT64 | DataType::BOOL)
            || backend == "infer-wasm" && (self.ty, expected.ty) == (DataType::INT32, DataType::INT8)
    }

    pub(crate) fn ty(&self) -> DataType {
        self.ty
    }

    fn to_tensor(&self, ty: TensorType) -> Result<Tensor, String> {
        let bytes = |to: &dyn Fn(f64) -> Vec<u8>| self.values.iter().flat_map(|&value| to(value)).collect::<Vec<u8>>();
        let data = match ty {
            TensorType::Fp32 => bytes(&|value| (value as f32).to_le_bytes().into()),
            TensorType::Fp64 => bytes(&|value| value.to_le_bytes().into()),
            TensorType::U8 | TensorType::Bool => bytes(&|value| vec![value as u8]),
            TensorType::U16 => bytes(&|value| (value as u16).to_le_bytes().into()),
            TensorType::U32 => bytes(&|value| (value as u32).to_le_bytes().into()),
            TensorType::U64 if self.ty == DataType::UINT64 => {
                self.whole.iter().flat_map(|&value| (value as u64).to_le_bytes()).collect()
            }
            TensorType::U64 => bytes(&|value| (value as u64).to_le_bytes().into()),
            TensorType::I8 => bytes(&|value| (value as i8).to_le_bytes().into()),
            TensorType::I16 => bytes(&|value| (value as i16).to_le_bytes().into()),
            // The numbers are those of the type, so they are exact.
            TensorType::Fp16 => bytes(&|value| f16::from_f64(value).to_le_bytes().into()),
            TensorType::Bf16 => bytes(&|value| bf16::from_f64(value).to_le_bytes().into()),
            TensorType::Bytes => return Err("numbers are no strings".to_owned()),
            TensorType::I32 if self.ty != DataType::INT64 => bytes(&|value| (value as i32).to_le_bytes().into()),
            TensorType::I32 | TensorType::I64 => {
                let data = match self.ty {
                    DataType::INT64 => self.whole.iter().flat_map(|&value| (value as i64).to_le_bytes()).collect(),
                    _ => bytes(&|value| (value as i64).to_le_bytes().into()),
                };
                return Ok(Tensor::new(self.dimensions(), TensorType::I64, data));
            }
        };
        Ok(Tensor::new(self.dimensions(), ty, data))
    }

    fn dimensions(&self) -> Vec<u32> {
        self.shape.iter().map(|&size| size as u32).collect()
    }

    /// The first difference beyond the relative and the given absolute tolerance. Integers and booleans must be equal.
    pub(crate) fn difference(&self, expected: &Numbers, absolute: f64) -> Option<String> {
        if self.shape != expected.shape {
            let are_empty = [&self.shape, &expected.shape].iter().all(|shape| shape.contains(&0));
            let empty = if are_empty && self.shape.len() == expected.shape.len() { EMPTY } else { "" };
            return Some(format!("shape {:?} instead of {:?}{empty}", self.shape, expected.shape));
        }
        if self.whole.len() == self.values.len() && expected.whole.len() == expected.values.len() {
            let at = self.whole.iter().zip(&expected.whole).position(|(found, expected)| found != expected)?;
            return Some(format!("element {at} is {} instead of {}", self.whole[at], expected.whole[at]));
        }
        let is_exact =
            !matches!(expected.ty, DataType::FLOAT | DataType::DOUBLE | DataType::FLOAT16 | DataType::BFLOAT16);
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
