//! What is left of a symbol, and the smallest parts of the grammar.

/// Maximum depth of nested productions; `cpp_demangle` has a similar limit.
const MAX_DEPTH: usize = 96;

/// What is left of a symbol. Each method reads one production; it returns `None` if the production does not come next.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
    depth: usize,
    /// True in the type of a conversion, where the arguments of a template parameter are ambiguous.
    pub(super) in_conversion: bool,
}

impl<'a> Reader<'a> {
    /// `symbol` is without its prefix.
    pub(super) fn new(symbol: &'a str) -> Self {
        Self { rest: symbol.as_bytes(), depth: 0, in_conversion: false }
    }

    /// The next byte.
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        self.rest = self.rest.get(count..)?;
        Some(())
    }

    /// Reads a text if it comes next.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let is_next = self.rest.starts_with(text.as_bytes());
        if is_next {
            self.rest = &self.rest[text.len()..];
        }
        is_next
    }

    /// Reads a text that must come next.
    pub(super) fn expect(&mut self, text: &str) -> Option<()> {
        self.take(text).then_some(())
    }

    /// Reads a production that may contain itself.
    pub(super) fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.depth += 1;
        let result = if self.depth > MAX_DEPTH { None } else { read(self) };
        self.depth -= 1;
        result
    }

    /// A decimal number without a sign.
    pub(super) fn number(&mut self) -> Option<usize> {
        const MOST_DIGITS: usize = 9;
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || digits > MOST_DIGITS || (digits > 1 && self.rest[0] == b'0') {
            return None;
        }
        let number = std::str::from_utf8(&self.rest[..digits]).ok()?.parse().ok()?;
        self.skip(digits)?;
        Some(number)
    }

    /// An optional number before an underscore, as in `T_` and `T0_`; in a substitution, `base36`.
    pub(super) fn index(&mut self, base36: bool) -> Option<()> {
        const MOST_DIGITS: usize = 4;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (base36 && byte.is_ascii_uppercase());
        let digits = self.rest.iter().take_while(|&&byte| is_digit(byte)).count();
        self.skip(digits)?;
        (digits <= MOST_DIGITS && self.take("_")).then_some(())
    }

    /// An identifier after its length.
    pub(super) fn source_name(&mut self) -> Option<()> {
        let length = self.number()?;
        let is_name = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.');
        let name = self.rest.get(..length).filter(|name| !name.is_empty())?;
        name.iter().all(is_name).then_some(())?;
        self.skip(length)
    }
}
