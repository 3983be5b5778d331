//! Tensors: dimensions, element type, and bytes in row-major little-endian order. `wasi:nn` defines them so, but with
//! fewer element types; guests see the others as the next wider type ([`TensorType::in_wasi_nn`]). Guests pass tensors of
//! strings on, but cannot read them.

mod bytes;
mod convert;
mod elements;
mod strings;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

pub use bytes::TensorBytes;
pub use convert::OutOfRange;
pub use elements::Element;
pub(crate) use elements::Elements;
pub use strings::{Strings, join_strings};

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TensorType {
    /// Half precision (IEEE 754 binary16).
    Fp16,
    /// Single precision.
    Fp32,
    /// Double precision.
    Fp64,
    /// The upper half of single precision.
    Bf16,
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, one byte.
    U8,
    /// Unsigned, two bytes.
    U16,
    /// Unsigned, four bytes.
    U32,
    /// Unsigned, eight bytes.
    U64,
    /// Signed, one byte.
    I8,
    /// Signed, two bytes.
    I16,
    /// Signed, four bytes.
    I32,
    /// Signed, eight bytes.
    I64,
    /// Strings: each has four bytes with its length before it, as in the Open Inference Protocol.
    Bytes,
}

impl TensorType {
    /// All types.
    pub const ALL: [Self; 14] = [
        Self::Fp16,
        Self::Fp32,
        Self::Fp64,
        Self::Bf16,
        Self::Bool,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::Bytes,
    ];

    /// Bytes of one element; `None` for strings, which have different sizes.
    pub fn size(self) -> Option<usize> {
        Some(match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::Fp16 | Self::Bf16 | Self::U16 | Self::I16 => 2,
            Self::Fp32 | Self::U32 | Self::I32 => 4,
            Self::Fp64 | Self::U64 | Self::I64 => 8,
            Self::Bytes => return None,
        })
    }

    /// The name in messages and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fp16 => "fp16",
            Self::Fp32 => "fp32",
            Self::Fp64 => "fp64",
            Self::Bf16 => "bf16",
            Self::Bool => "bool",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::Bytes => "bytes",
        }
    }

    /// The type with which guests see a tensor. `wasi:nn` does not have all types, and cases cannot be added to its
    /// enumeration without breaking the plugins that were built before. A missing type is shown as the next wider one
    /// that `wasi:nn` has; an element of U64 above the maximum of I64 cannot be shown, and strings have no wider type.
    pub fn in_wasi_nn(self) -> Self {
        match self {
            Self::Bool => Self::U8,
            Self::I8 | Self::I16 | Self::U16 => Self::I32,
            Self::U32 | Self::U64 => Self::I64,
            Self::Fp16 | Self::Fp32 | Self::Fp64 | Self::Bf16 | Self::U8 | Self::I32 | Self::I64 | Self::Bytes => self,
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A tensor that the host holds. A clone shares the bytes.
#[derive(Clone)]
pub struct Tensor {
    /// Sizes of the dimensions, outermost first.
    pub dimensions: Vec<u32>,
    /// Type of the elements.
    pub ty: TensorType,
    /// The elements.
    pub data: TensorBytes,
    /// True if a guest made the tensor in its own store, so that its bytes count against that store's cap.
    pub(crate) counted: bool,
    /// What is released with the tensor and its clones: its bytes in the limit of the request.
    pub(crate) held: Option<Arc<dyn Any + Send + Sync>>,
}

/// Named tensors that one stage passes to the next.
pub type Tensors = Vec<(String, Tensor)>;

impl Tensor {
    /// The elements in row-major order.
    pub fn elements(&self) -> impl Iterator<Item = Element> + '_ {
        let elements = Elements::of(self);
        (0..elements.len()).map(move |index| elements.get(index))
    }

    /// Makes a tensor. `data` holds the product of `dimensions` elements of `ty`.
    pub fn new(dimensions: Vec<u32>, ty: TensorType, data: Vec<u8>) -> Self {
        Self::with_bytes(dimensions, ty, data.into())
    }

    /// Makes a tensor of bytes that may be shared.
    pub fn with_bytes(dimensions: Vec<u32>, ty: TensorType, data: TensorBytes) -> Self {
        Self { dimensions, ty, data, counted: false, held: None }
    }

    /// Checks that the data has exactly the size that dimensions and type need.
    ///
    /// # Errors
    /// If the number of bytes differs.
    pub fn check_size(&self) -> Result<(), SizeMismatch> {
        let product = |one: usize| self.dimensions.iter().try_fold(one, |all, &size| all.checked_mul(size as usize));
        let needed = product(self.ty.size().unwrap_or(1));
        let held = self.data.len();
        let fits = match self.ty.size() {
            Some(_) => needed == Some(held),
            None => needed.is_some() && needed == Strings::of(self).count(),
        };
        match fits {
            true => Ok(()),
            false => Err(SizeMismatch { dimensions: self.dimensions.clone(), ty: self.ty, needed, held }),
        }
    }
}

/// A tensor whose bytes are more or fewer than its shape and type need.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "shape {dimensions:?} of {ty} needs {} {}, the tensor holds {held} bytes{}",
    needed.map_or("too many".to_owned(), |number| number.to_string()),
    if ty.size().is_some() { "bytes" } else { "strings" },
    if ty.size().is_some() { "" } else { " with another number of strings" }
)]
pub struct SizeMismatch {
    /// Sizes of the dimensions.
    pub dimensions: Vec<u32>,
    /// Type of the elements.
    pub ty: TensorType,
    /// The bytes that are needed, or the strings; `None` if the number is too large for the machine.
    pub needed: Option<usize>,
    /// The bytes that are there.
    pub held: usize,
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({:?} {}, {} bytes)", self.dimensions, self.ty, self.data.len())
    }
}
