//! A tensor as `wasi:nn` has it: dimensions, element type, and bytes in row-major little-endian order.

use std::sync::Arc;

pub use crate::stage::bindings::imports::wasi::nn::tensor::TensorType;

/// A tensor that the host holds. A clone shares the bytes.
#[derive(Clone)]
pub struct Tensor {
    /// Sizes of the dimensions, outermost first.
    pub dimensions: Vec<u32>,
    /// Type of the elements.
    pub ty: TensorType,
    /// The elements.
    pub data: Arc<Vec<u8>>,
    /// True when a guest made it in its own store, and its bytes count against that store's cap.
    pub(crate) counted: bool,
}

impl Tensor {
    /// A tensor made by a backend. `data` holds the product of `dimensions` elements of `ty`.
    pub fn new(dimensions: Vec<u32>, ty: TensorType, data: Vec<u8>) -> Self {
        Self { dimensions, ty, data: Arc::new(data), counted: false }
    }

    /// Whether dimensions and type ask for just the bytes that are there; else a sentence that says what differs.
    ///
    /// # Errors
    /// The sentence.
    pub fn check_size(&self) -> Result<(), String> {
        let expected =
            self.dimensions.iter().try_fold(size_of_element(self.ty), |bytes, &size| bytes.checked_mul(size as usize));
        if expected == Some(self.data.len()) {
            return Ok(());
        }
        Err(format!(
            "shape {:?} of {} needs {} bytes, the tensor holds {}",
            self.dimensions,
            type_name(self.ty),
            expected.map_or("too many".to_owned(), |bytes| bytes.to_string()),
            self.data.len()
        ))
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({:?} {}, {} bytes)", self.dimensions, type_name(self.ty), self.data.len())
    }
}

/// Bytes of one element.
pub fn size_of_element(ty: TensorType) -> usize {
    match ty {
        TensorType::U8 => 1,
        TensorType::Fp16 | TensorType::Bf16 => 2,
        TensorType::Fp32 | TensorType::I32 => 4,
        TensorType::Fp64 | TensorType::I64 => 8,
    }
}

/// The type's name as messages and reports print it.
pub fn type_name(ty: TensorType) -> &'static str {
    match ty {
        TensorType::Fp16 => "fp16",
        TensorType::Fp32 => "fp32",
        TensorType::Fp64 => "fp64",
        TensorType::Bf16 => "bf16",
        TensorType::U8 => "u8",
        TensorType::I32 => "i32",
        TensorType::I64 => "i64",
    }
}
