//! Conversions between an element type that `wasi:nn` does not have and the wider type with which guests see it. No
//! number ever changes: one that does not fit is refused.

use super::{Tensor, TensorBytes, TensorType};

/// A number that the other type does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given} is converted to {expected}, which does not have the number {number}")]
pub struct OutOfRange {
    /// The type of the tensor.
    pub given: TensorType,
    /// The type to which it is converted.
    pub expected: TensorType,
    /// The first number that does not fit.
    pub number: i128,
}

/// Converts numbers of one type to another.
macro_rules! numbers {
    ($tensor:expr, $from:ty, $to:ty) => {{
        let (numbers, _) = $tensor.data.as_chunks::<{ size_of::<$from>() }>();
        let mut converted = Vec::with_capacity(numbers.len() * size_of::<$to>());
        for bytes in numbers {
            let number = <$from>::from_le_bytes(*bytes);
            let fitting = <$to>::try_from(number).map_err(|_| i128::from(number))?;
            converted.extend_from_slice(&fitting.to_le_bytes());
        }
        converted.into()
    }};
}

impl Tensor {
    /// Converts the elements to the type with which guests see them, or from it. Returns `None` for any other pair of
    /// types. The bytes are shared if they do not change.
    ///
    /// # Errors
    /// If the other type does not have a number.
    pub fn converted(&self, to: TensorType) -> Option<Result<Self, OutOfRange>> {
        let is_pair = self.ty == to || self.ty.in_wasi_nn() == to || to.in_wasi_nn() == self.ty;
        let convert = || {
            let data = self.bytes_as(to).map_err(|number| OutOfRange { given: self.ty, expected: to, number })?;
            Ok(Self {
                dimensions: self.dimensions.clone(),
                ty: to,
                data,
                counted: self.counted,
                held: self.held.clone(),
            })
        };
        is_pair.then(convert)
    }

    /// The bytes of the elements as another type of a pair; an error is the number that does not fit.
    fn bytes_as(&self, to: TensorType) -> Result<TensorBytes, i128> {
        use TensorType::{Bool, I8, I16, I32, I64, U8, U16, U32, U64};
        let refuse = |wrong: Option<i128>| wrong.map_or(Ok(self.data.clone()), Err);
        Ok(match (self.ty, to) {
            (I8, I32) => numbers!(self, i8, i32),
            (I16, I32) => numbers!(self, i16, i32),
            (U16, I32) => numbers!(self, u16, i32),
            (U32, I64) => numbers!(self, u32, i64),
            (I32, I8) => numbers!(self, i32, i8),
            (I32, I16) => numbers!(self, i32, i16),
            (I32, U16) => numbers!(self, i32, u16),
            (I64, U32) => numbers!(self, i64, u32),
            // These have the same bytes.
            (U8, Bool) => refuse(self.data.iter().find(|&&byte| byte > 1).map(|&byte| byte.into()))?,
            (U64, I64) => {
                let mut numbers = self.data.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
                refuse(numbers.find(|&number| i64::try_from(number).is_err()).map(i128::from))?
            }
            (I64, U64) => {
                let mut numbers = self.data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes));
                refuse(numbers.find(|&number| number < 0).map(i128::from))?
            }
            _ => self.data.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The extreme numbers of a type, little-endian.
    fn extremes(ty: TensorType) -> Vec<u8> {
        let bytes = |numbers: &[i128]| {
            numbers.iter().flat_map(|it| it.to_le_bytes()[..ty.size().expect("fixed")].to_vec()).collect()
        };
        match ty {
            TensorType::Bool => bytes(&[0, 1]),
            TensorType::I8 => bytes(&[i8::MIN.into(), -1, i8::MAX.into()]),
            TensorType::I16 => bytes(&[i16::MIN.into(), -1, i16::MAX.into()]),
            TensorType::U16 => bytes(&[0, u16::MAX.into()]),
            TensorType::U32 => bytes(&[0, u32::MAX.into()]),
            TensorType::U64 => bytes(&[0, i64::MAX.into()]),
            _ => bytes(&[0, 1]),
        }
    }

    #[test]
    fn the_types_that_guests_do_not_know_are_shown_wider_and_come_back_unchanged() {
        for ty in TensorType::ALL.into_iter().filter(|ty| ty.size().is_some()) {
            let data = extremes(ty);
            let tensor = Tensor::new(vec![(data.len() / ty.size().expect("fixed")) as u32], ty, data);
            let shown = tensor.converted(ty.in_wasi_nn()).expect("a pair").expect("it fits");
            assert_eq!((shown.ty, shown.check_size()), (ty.in_wasi_nn(), Ok(())), "{ty}");
            let back = shown.converted(ty).expect("a pair").expect("it fits");
            assert_eq!((&*back.data, back.ty), (&*tensor.data, ty), "{ty}");
        }
        let negative = Tensor::new(vec![2], TensorType::I8, vec![0x80, 0xFF]).converted(TensorType::I32);
        let numbers: Vec<u8> = [-128_i32, -1].iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(*negative.expect("a pair").expect("it fits").data, numbers);
    }

    #[test]
    fn a_number_that_does_not_fit_is_refused_by_name() {
        for (from, number, to) in [
            (TensorType::I32, 128, TensorType::I8),
            (TensorType::I32, -32_769, TensorType::I16),
            (TensorType::I32, 65_536, TensorType::U16),
            (TensorType::I32, -1, TensorType::U16),
            (TensorType::I64, 1 << 32, TensorType::U32),
            (TensorType::I64, -1, TensorType::U64),
            (TensorType::U64, 1 << 63, TensorType::I64),
            (TensorType::U8, 2, TensorType::Bool),
        ] {
            let number: i128 = number;
            let tensor = Tensor::new(vec![1], from, number.to_le_bytes()[..from.size().expect("fixed")].to_vec());
            let error = tensor.converted(to).expect("a pair").expect_err("it does not fit");
            assert_eq!(error, OutOfRange { given: from, expected: to, number });
            assert!(error.to_string().contains(&number.to_string()), "{error}");
        }
        let other = Tensor::new(vec![1], TensorType::Fp32, vec![0; 4]);
        assert!(other.converted(TensorType::I32).is_none() && other.converted(TensorType::Fp16).is_none());
        let wide = Tensor::new(vec![1], TensorType::I64, vec![0; 8]);
        assert!(wide.converted(TensorType::I32).is_none(), "guests see both as they are");
    }
}
