//! The elements of a tensor, read by their type.

use std::fmt;

use half::{bf16, f16};

use super::{Tensor, TensorType};

/// An element, exactly: every number of each type is one of these.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Element {
    /// An integer, or a boolean as 0 or 1.
    Integer(i128),
    /// A number of FP16, BF16 or FP32.
    Float(f32),
    /// A number of FP64.
    Double(f64),
}

impl Element {
    /// The nearest number of `f64`.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(number) => number.into(),
            Self::Double(number) => number,
        }
    }

    /// How much two elements differ: 0 for equal infinities and for two elements that are NaN, NaN for one. Two 64-bit
    /// integers may be different and yet the same `f64`.
    pub fn difference(self, other: Self) -> f64 {
        if let (Self::Integer(one), Self::Integer(other)) = (self, other) {
            return one.abs_diff(other) as f64;
        }
        let (one, other) = (self.as_f64(), other.as_f64());
        if one == other || one.is_nan() && other.is_nan() { 0.0 } else { (one - other).abs() }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Double(number) => number.fmt(f),
        }
    }
}

/// The elements of a tensor, whose bytes fit its shape.
pub(crate) struct Elements<'a> {
    bytes: &'a [u8],
    ty: TensorType,
}

impl<'a> Elements<'a> {
    /// The elements of a tensor.
    pub(crate) fn of(tensor: &'a Tensor) -> Self {
        Self { bytes: &tensor.data, ty: tensor.ty }
    }

    /// The type of the elements.
    pub(crate) fn ty(&self) -> TensorType {
        self.ty
    }

    /// How many numbers there are: none in a tensor of strings.
    pub(crate) fn len(&self) -> usize {
        self.ty.size().map_or(0, |size| self.bytes.len() / size)
    }

    /// An element by its place in row-major order.
    pub(crate) fn get(&self, index: usize) -> Element {
        match self.ty {
            TensorType::Bool | TensorType::U8 => Element::Integer(self.bytes[index].into()),
            TensorType::I8 => Element::Integer(i8::from_le_bytes(self.element(index)).into()),
            TensorType::U16 => Element::Integer(u16::from_le_bytes(self.element(index)).into()),
            TensorType::I16 => Element::Integer(i16::from_le_bytes(self.element(index)).into()),
            TensorType::U32 => Element::Integer(u32::from_le_bytes(self.element(index)).into()),
            TensorType::I32 => Element::Integer(i32::from_le_bytes(self.element(index)).into()),
            TensorType::U64 => Element::Integer(u64::from_le_bytes(self.element(index)).into()),
            TensorType::I64 => Element::Integer(i64::from_le_bytes(self.element(index)).into()),
            TensorType::Fp16 => Element::Float(f16::from_le_bytes(self.element(index)).to_f32()),
            TensorType::Bf16 => Element::Float(bf16::from_le_bytes(self.element(index)).to_f32()),
            TensorType::Fp32 => Element::Float(f32::from_le_bytes(self.element(index))),
            TensorType::Fp64 => Element::Double(f64::from_le_bytes(self.element(index))),
            // `len` says that there are no numbers.
            TensorType::Bytes => Element::Integer(0),
        }
    }

    fn element<const SIZE: usize>(&self, index: usize) -> [u8; SIZE] {
        self.bytes.as_chunks().0[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_elements_of_each_type_are_read_exactly() {
        let read = |ty: TensorType, bytes: &[u8]| {
            let tensor = Tensor::new(vec![(bytes.len() / ty.size().expect("fixed")) as u32], ty, bytes.to_vec());
            let elements = Elements::of(&tensor);
            (0..elements.len()).map(|index| elements.get(index).to_string()).collect::<Vec<_>>().join(" ")
        };
        let ones = [0xFF; 8];
        for (ty, expected) in [
            (TensorType::U8, "255"),
            (TensorType::I8, "-1"),
            (TensorType::U16, "65535"),
            (TensorType::I16, "-1"),
            (TensorType::U32, "4294967295"),
            (TensorType::I32, "-1"),
            (TensorType::U64, "18446744073709551615"),
            (TensorType::I64, "-1"),
            (TensorType::Fp16, "NaN"),
            (TensorType::Bf16, "NaN"),
            (TensorType::Fp32, "NaN"),
            (TensorType::Fp64, "NaN"),
        ] {
            assert_eq!(read(ty, &ones[..ty.size().expect("fixed")]), expected, "{ty}");
        }
        assert_eq!(read(TensorType::Bool, &[0, 1]), "0 1");
        assert_eq!(read(TensorType::Fp16, &[0, 0x3E, 0, 0xBC]), "1.5 -1");
        assert_eq!(read(TensorType::Bf16, &[0xC0, 0x3F]), "1.5");
        assert_eq!(read(TensorType::Fp32, &0.1_f32.to_le_bytes()), "0.1");
        assert_eq!(read(TensorType::Fp64, &0.1_f64.to_le_bytes()), "0.1");
    }

    #[test]
    fn differences_of_integers_are_exact() {
        let (one, other) = (Element::Integer(u64::MAX.into()), Element::Integer(i128::from(u64::MAX) - 1));
        assert_eq!((one.difference(other), one.difference(one)), (1.0, 0.0));
        let (nan, infinite) = (Element::Float(f32::NAN), Element::Double(f64::INFINITY));
        assert_eq!((nan.difference(nan), infinite.difference(infinite)), (0.0, 0.0));
        assert!(nan.difference(infinite).is_nan() && nan.difference(one).is_nan());
        assert_eq!(Element::Float(1.5).difference(Element::Integer(1)), 0.5);
    }
}
