//! Tensors as `wasi:nn` defines them: dimensions, element type, and bytes in row-major little-endian order.

mod bytes;

use std::fmt;

pub use bytes::TensorBytes;

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
    /// Unsigned, one byte.
    U8,
    /// Signed, four bytes.
    I32,
    /// Signed, eight bytes.
    I64,
}

impl TensorType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::Fp16 | Self::Bf16 => 2,
            Self::Fp32 | Self::I32 => 4,
            Self::Fp64 | Self::I64 => 8,
        }
    }

    /// The name in messages and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fp16 => "fp16",
            Self::Fp32 => "fp32",
            Self::Fp64 => "fp64",
            Self::Bf16 => "bf16",
            Self::U8 => "u8",
            Self::I32 => "i32",
            Self::I64 => "i64",
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
}

/// Named tensors that one stage passes to the next.
pub type Tensors = Vec<(String, Tensor)>;

impl Tensor {
    /// Makes a tensor. `data` holds the product of `dimensions` elements of `ty`.
    pub fn new(dimensions: Vec<u32>, ty: TensorType, data: Vec<u8>) -> Self {
        Self::with_bytes(dimensions, ty, data.into())
    }

    /// Makes a tensor of bytes that may be shared.
    pub fn with_bytes(dimensions: Vec<u32>, ty: TensorType, data: TensorBytes) -> Self {
        Self { dimensions, ty, data, counted: false }
    }

    /// Checks that the data has exactly the size that dimensions and type need.
    ///
    /// # Errors
    /// If the number of bytes differs.
    pub fn check_size(&self) -> Result<(), SizeMismatch> {
        let needed = self.dimensions.iter().try_fold(self.ty.size(), |bytes, &size| bytes.checked_mul(size as usize));
        let held = self.data.len();
        match needed == Some(held) {
            true => Ok(()),
            false => Err(SizeMismatch { dimensions: self.dimensions.clone(), ty: self.ty, needed, held }),
        }
    }
}

/// A tensor whose bytes are more or fewer than its shape and type need.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "shape {dimensions:?} of {ty} needs {} bytes, the tensor holds {held}",
    needed.map_or("too many".to_owned(), |bytes| bytes.to_string())
)]
pub struct SizeMismatch {
    /// Sizes of the dimensions.
    pub dimensions: Vec<u32>,
    /// Type of the elements.
    pub ty: TensorType,
    /// The bytes that are needed; `None` if the number is too large for the machine.
    pub needed: Option<usize>,
    /// The bytes that are there.
    pub held: usize,
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({:?} {}, {} bytes)", self.dimensions, self.ty, self.data.len())
    }
}
