//! The elements of a tensor as numbers.

use crate::tensor::{Tensor, TensorType};

/// The elements of a tensor as `f64`. The bytes fit the shape.
pub(super) struct Numbers<'a> {
    bytes: &'a [u8],
    ty: TensorType,
}

impl<'a> Numbers<'a> {
    pub(super) fn of(tensor: &'a Tensor) -> Self {
        Self { bytes: &tensor.data, ty: tensor.ty }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.ty.size()
    }

    pub(super) fn get(&self, index: usize) -> f64 {
        match self.ty {
            TensorType::Bool | TensorType::U8 => self.element::<1>(index)[0].into(),
            TensorType::I8 => i8::from_le_bytes(self.element(index)).into(),
            TensorType::U16 => u16::from_le_bytes(self.element(index)).into(),
            TensorType::I16 => i16::from_le_bytes(self.element(index)).into(),
            TensorType::U32 => u32::from_le_bytes(self.element(index)).into(),
            TensorType::Fp16 => half::f16::from_le_bytes(self.element(index)).into(),
            TensorType::Bf16 => half::bf16::from_le_bytes(self.element(index)).into(),
            TensorType::Fp32 => f32::from_le_bytes(self.element(index)).into(),
            TensorType::Fp64 => f64::from_le_bytes(self.element(index)),
            TensorType::I32 => i32::from_le_bytes(self.element(index)).into(),
            TensorType::U64 => u64::from_le_bytes(self.element(index)) as f64,
            TensorType::I64 => i64::from_le_bytes(self.element(index)) as f64,
        }
    }

    /// The difference of two elements. Two 64-bit integers may be different and yet the same `f64`.
    pub(super) fn difference(&self, other: &Self, index: usize) -> f64 {
        match (self.long_integer(index), other.long_integer(index)) {
            (Some(one), Some(other)) => (one - other).unsigned_abs() as f64,
            _ => (self.get(index) - other.get(index)).abs(),
        }
    }

    /// An element of a type of 64-bit integers.
    fn long_integer(&self, index: usize) -> Option<i128> {
        match self.ty {
            TensorType::I64 => Some(i64::from_le_bytes(self.element(index)).into()),
            TensorType::U64 => Some(u64::from_le_bytes(self.element(index)).into()),
            _ => None,
        }
    }

    fn element<const SIZE: usize>(&self, index: usize) -> [u8; SIZE] {
        self.bytes.as_chunks().0[index]
    }
}
