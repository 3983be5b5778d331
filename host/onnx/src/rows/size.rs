//! Sizes of dimensions as products: a number, powers of the number of rows, and sizes that a request chooses.

/// A model that multiplies a product by itself again and again doubles its symbols each time. Tensors have fewer.
const MOST_SYMBOLS: usize = 64;

/// A size: `factor × rows^power × symbols…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    factor: i64,
    power: u32,
    symbols: Vec<u32>,
}

impl Size {
    /// The number of rows.
    pub(crate) fn rows() -> Size {
        Size { factor: 1, power: 1, symbols: Vec::new() }
    }

    /// A number.
    pub(crate) fn number(factor: i64) -> Size {
        Size { factor, power: 0, symbols: Vec::new() }
    }

    /// A size that is not known, but does not depend on the number of rows. Each `symbol` is another size.
    pub(crate) fn symbol(symbol: u32) -> Size {
        Size { factor: 1, power: 0, symbols: vec![symbol] }
    }

    /// The number, if the size is one.
    pub(crate) fn as_number(&self) -> Option<i64> {
        (self.power == 0 && self.symbols.is_empty()).then_some(self.factor)
    }

    /// True if the size depends on the number of rows.
    pub(crate) fn has_rows(&self) -> bool {
        self.power > 0
    }

    /// True for the number of rows, or a multiple of it.
    pub(crate) fn is_multiple_of_rows(&self) -> bool {
        self.power == 1
    }

    /// True if no size in the product is one of `numbers`, and the factor is not negative.
    pub(crate) fn is_never_negative(&self, numbers: &[u32]) -> bool {
        self.factor >= 0 && self.symbols.iter().all(|symbol| !numbers.contains(symbol))
    }

    /// The product; `None` if it is too large, or has more than [`MOST_SYMBOLS`] symbols.
    pub(crate) fn times(&self, other: &Size) -> Option<Size> {
        if self.symbols.len() + other.symbols.len() > MOST_SYMBOLS {
            return None;
        }
        let mut symbols = [self.symbols.as_slice(), &other.symbols].concat();
        symbols.sort_unstable();
        let (factor, power) = (self.factor.checked_mul(other.factor)?, self.power.checked_add(other.power)?);
        Some(Size { factor, power, symbols })
    }

    /// The quotient, if it is certain to be whole.
    pub(crate) fn divided_by(&self, other: &Size) -> Option<Size> {
        // `None` for a divisor of 0, and for the least number divided by −1.
        if self.factor.checked_rem(other.factor)? != 0 {
            return None;
        }
        let mut symbols = self.symbols.clone();
        for symbol in &other.symbols {
            let at = symbols.iter().position(|it| it == symbol)?;
            symbols.remove(at);
        }
        Some(Size { factor: self.factor / other.factor, power: self.power.checked_sub(other.power)?, symbols })
    }

    /// The product of sizes.
    pub(crate) fn product(sizes: &[Size]) -> Option<Size> {
        sizes.iter().try_fold(Size::number(1), |product, size| product.times(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_is_multiplied_by_itself_again_and_again_is_too_large() {
        for size in [Size::rows(), Size::symbol(1)] {
            assert_eq!((0..40).try_fold(size, |size, _| size.times(&size)), None);
        }
    }

    #[test]
    fn the_least_number_has_no_quotient_by_minus_one() {
        assert_eq!(Size::number(i64::MIN).divided_by(&Size::number(-1)), None);
        assert_eq!(Size::number(6).divided_by(&Size::number(0)), None);
        assert_eq!(Size::number(6).divided_by(&Size::number(-2)), Some(Size::number(-3)));
    }
}
