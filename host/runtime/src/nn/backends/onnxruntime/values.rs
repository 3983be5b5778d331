//! Tensors of the host as values of ONNX Runtime, and back.

use half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};
use half::vec::HalfBitsVecExt as _;
use half::{bf16, f16};
use ort::session::SessionInputValue;
use ort::value::{
    DynValue, PrimitiveTensorElementType, Tensor as OwnedTensor, TensorElementType, TensorRef, ValueType,
};

use crate::nn::error::{Misfit, RunError};
use crate::tensor::{Strings, Tensor, TensorType, join_strings};

/// A type of the library whose elements are bytes in row-major order.
trait Element: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static {
    /// The bytes as elements; `None` if they are not aligned, or are no elements.
    fn view(bytes: &[u8]) -> Option<&[Self]>;
    /// A copy of the bytes as elements; `None` if they are no elements.
    fn copy(bytes: &[u8]) -> Option<Vec<Self>>;
    /// The elements as bytes.
    fn bytes(elements: &[Self]) -> &[u8];
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Element for $number {
            fn view(bytes: &[u8]) -> Option<&[Self]> {
                bytemuck::try_cast_slice(bytes).ok()
            }

            fn copy(bytes: &[u8]) -> Option<Vec<Self>> {
                Some(bytemuck::allocation::pod_collect_to_vec(bytes))
            }

            fn bytes(elements: &[Self]) -> &[u8] {
                bytemuck::cast_slice(elements)
            }
        }
    )*};
}

numbers!(f32 f64 u8 u16 u32 u64 i8 i16 i32 i64);

macro_rules! halves {
    ($($half:ty)*) => {$(
        impl Element for $half {
            fn view(bytes: &[u8]) -> Option<&[Self]> {
                let bits: &[u16] = bytemuck::try_cast_slice(bytes).ok()?;
                Some(bits.reinterpret_cast())
            }

            fn copy(bytes: &[u8]) -> Option<Vec<Self>> {
                Some(bytemuck::allocation::pod_collect_to_vec::<u8, u16>(bytes).reinterpret_into())
            }

            fn bytes(elements: &[Self]) -> &[u8] {
                bytemuck::cast_slice(elements.reinterpret_cast())
            }
        }
    )*};
}

halves!(f16 bf16);

/// Not every byte is an element.
impl Element for bool {
    fn view(bytes: &[u8]) -> Option<&[Self]> {
        bytemuck::checked::try_cast_slice(bytes).ok()
    }

    fn copy(bytes: &[u8]) -> Option<Vec<Self>> {
        Self::view(bytes).map(<[Self]>::to_vec)
    }

    fn bytes(elements: &[Self]) -> &[u8] {
        bytemuck::cast_slice(elements)
    }
}

/// Calls a macro with the host's types and those of the library.
macro_rules! for_each_type {
    ($call:ident) => {
        $call! {
            Fp16 Float16 f16,
            Fp32 Float32 f32,
            Fp64 Float64 f64,
            Bf16 Bfloat16 bf16,
            Bool Bool bool,
            U8 Uint8 u8,
            U16 Uint16 u16,
            U32 Uint32 u32,
            U64 Uint64 u64,
            I8 Int8 i8,
            I16 Int16 i16,
            I32 Int32 i32,
            I64 Int64 i64,
        }
    };
}

/// The host's name of an element type; `None` if the host does not support it.
pub(super) fn element_type(ty: TensorElementType) -> Option<TensorType> {
    macro_rules! types {
        ($($own:ident $library:ident $element:ty,)*) => {
            match ty {
                $(TensorElementType::$library => Some(TensorType::$own),)*
                TensorElementType::String => Some(TensorType::Bytes),
                _ => None,
            }
        };
    }
    for_each_type!(types)
}

/// A view of the host's bytes, or a copy if they are not aligned: an empty or a shared buffer may start anywhere.
pub(super) fn value(tensor: &Tensor) -> Result<SessionInputValue<'_>, RunError> {
    fn view<T: Element>(tensor: &Tensor) -> Result<SessionInputValue<'_>, RunError> {
        let shape: Vec<usize> = tensor.dimensions.iter().map(|&size| size as usize).collect();
        if let Some(data) = T::view(&tensor.data) {
            return Ok(TensorRef::from_array_view((shape, data)).map_err(RunError::backend)?.into());
        }
        let wrong = || RunError::backend(format!("a byte of a tensor is no element of the type {}", tensor.ty));
        let data = T::copy(&tensor.data).ok_or_else(wrong)?;
        Ok(OwnedTensor::from_array((shape, data)).map_err(RunError::backend)?.into())
    }
    macro_rules! views {
        ($($own:ident $library:ident $element:ty,)*) => {
            match tensor.ty {
                $(TensorType::$own => view::<$element>(tensor),)*
                TensorType::Bytes => strings(tensor),
            }
        };
    }
    for_each_type!(views)
}

/// A copy of an output.
pub(super) fn output(value: &DynValue) -> Result<Tensor, RunError> {
    fn extract<T: Element>(value: &DynValue, ty: TensorType) -> Result<Tensor, RunError> {
        let (shape, data) = value.try_extract_tensor::<T>().map_err(RunError::backend)?;
        let dimensions = shape.iter().map(|&size| size as u32).collect();
        Ok(Tensor::new(dimensions, ty, T::bytes(data).to_vec()))
    }
    let ValueType::Tensor { ty, .. } = value.dtype() else {
        return Err(RunError::OutputType("not a tensor".to_owned()));
    };
    macro_rules! copies {
        ($($own:ident $library:ident $element:ty,)*) => {
            match ty {
                $(TensorElementType::$library => extract::<$element>(value, TensorType::$own),)*
                TensorElementType::String => string_output(value),
                _ => Err(RunError::OutputType(format!("of the type {ty}"))),
            }
        };
    }
    for_each_type!(copies)
}

/// The library's strings are texts that end with NUL.
pub(super) fn check_strings(tensor: &Tensor) -> Result<(), Misfit> {
    let misfit = |(index, reason)| Misfit::Number(format!("string {index} {reason}; a model takes UTF-8 without NUL"));
    Strings::of(tensor).texts().map(drop).map_err(misfit)
}

/// A copy of the strings.
fn strings(tensor: &Tensor) -> Result<SessionInputValue<'_>, RunError> {
    let texts =
        Strings::of(tensor).texts().map_err(|(index, reason)| RunError::backend(format!("string {index} {reason}")))?;
    let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
    let shape: Vec<usize> = tensor.dimensions.iter().map(|&size| size as usize).collect();
    Ok(OwnedTensor::from_string_array((shape, texts.as_slice())).map_err(RunError::backend)?.into())
}

/// A copy of an output with strings.
fn string_output(value: &DynValue) -> Result<Tensor, RunError> {
    let (shape, texts) = value
        .try_extract_strings()
        .map_err(|error| RunError::OutputType(format!("strings that cannot be read ({error})")))?;
    let dimensions = shape.iter().map(|&size| size as u32).collect();
    let bytes = join_strings(&texts).ok_or_else(|| RunError::OutputType("a string above 4 GiB".to_owned()))?;
    Ok(Tensor::new(dimensions, TensorType::Bytes, bytes))
}
