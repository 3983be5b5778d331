//! Sizes of dimensions as products: a number, powers of the number of rows, and sizes that a request chooses.

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

    /// The product; `None` if it is too large.
    pub(crate) fn times(&self, other: &Size) -> Option<Size> {
        let mut symbols = [self.symbols.as_slice(), &other.symbols].concat();
        symbols.sort_unstable();
        Some(Size { factor: self.factor.checked_mul(other.factor)?, power: self.power + other.power, symbols })
    }

    /// The quotient, if it is certain to be whole.
    pub(crate) fn divided_by(&self, other: &Size) -> Option<Size> {
        if other.factor == 0 || self.factor % other.factor != 0 {
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
