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
            TensorType::U8 => self.element::<1>(index)[0].into(),
            TensorType::Fp16 => half(u16::from_le_bytes(self.element(index))),
            TensorType::Bf16 => f32::from_bits(u32::from(u16::from_le_bytes(self.element(index))) << 16).into(),
            TensorType::Fp32 => f32::from_le_bytes(self.element(index)).into(),
            TensorType::Fp64 => f64::from_le_bytes(self.element(index)),
            TensorType::I32 => i32::from_le_bytes(self.element(index)).into(),
            TensorType::I64 => self.integer(index) as f64,
        }
    }

    /// The difference of two elements. Two 64-bit integers may be different and yet the same `f64`.
    pub(super) fn difference(&self, other: &Self, index: usize) -> f64 {
        match (self.ty, other.ty) {
            (TensorType::I64, TensorType::I64) => {
                (i128::from(self.integer(index)) - i128::from(other.integer(index))).unsigned_abs() as f64
            }
            _ => (self.get(index) - other.get(index)).abs(),
        }
    }

    fn integer(&self, index: usize) -> i64 {
        i64::from_le_bytes(self.element(index))
    }

    fn element<const SIZE: usize>(&self, index: usize) -> [u8; SIZE] {
        self.bytes.as_chunks().0[index]
    }
}

/// A number of half precision.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        0 => fraction * (-24_f64).exp2(),
        _ => (1024.0 + fraction) * f64::from(exponent - 25).exp2(),
    }
}
