//! Which symbols of C++ are demangled.
//!
//! `cpp_demangle` tries the alternatives of the grammar one after the other, and each reads again what is inside, so that some
//! symbols of 100 bytes take years. All of these have expressions, which are rare: in arguments of templates, sizes and
//! `decltype`. So a symbol is first read here, by a grammar without them in which the next byte always decides. What is not
//! in it stays mangled.
//!
//! The grammar is that of the [Itanium C++ ABI](https://itanium-cxx-abi.github.io/cxx-abi/abi.html#mangling). It must not
//! accept what `cpp_demangle` could read in another way, because that may contain an expression: `C1` in a type is a
//! constructor there, not a complex number.

/// Maximum depth of productions in each other; `cpp_demangle` has a similar limit.
const MAX_DEPTH: usize = 96;
/// Maximum bytes: a chain of template arguments is followed by recursion in `cpp_demangle`.
const LONGEST: usize = 4_096;
/// The types of one letter, of two letters after `D`, and the operators.
const BUILTIN: &[u8] = b"vwbcahstijlmxynofdegz";
const BUILTIN_D: &[u8] = b"defhisuacn";
const OPERATORS: &[u8] =
    b"nwnadldapsngaddecoplmimldvrmanoreoaSpLmImLdVrMaNoReOlsrslSrSeqneltgtlegentaaooppmmcmpmptclixquss";

/// Returns true if `cpp_demangle` reads this symbol in a time proportional to its length.
pub(super) fn is_plain(symbol: &str) -> bool {
    let Some(rest) = symbol.strip_prefix("_Z").or_else(|| symbol.strip_prefix("__Z")) else { return false };
    if symbol.len() > LONGEST {
        return false;
    }
    let mut reader = Reader { rest: rest.as_bytes(), depth: 0, in_conversion: false };
    // What comes after a point are the names of clones.
    reader.encoding().is_some() && matches!(reader.peek(), None | Some(b'.'))
}

/// What is left of a symbol. Each method reads one production; `None` if it is not there.
struct Reader<'a> {
    rest: &'a [u8],
    depth: usize,
    /// In the type of a conversion, the arguments of a template parameter are ambiguous.
    in_conversion: bool,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.rest = self.rest.get(count..)?;
        Some(())
    }

    /// Reads a text, if it comes next.
    fn take(&mut self, text: &str) -> bool {
        let is_next = self.rest.starts_with(text.as_bytes());
        if is_next {
            self.rest = &self.rest[text.len()..];
        }
        is_next
    }

    fn expect(&mut self, text: &str) -> Option<()> {
        self.take(text).then_some(())
    }

    fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.depth += 1;
        let result = if self.depth > MAX_DEPTH { None } else { read(self) };
        self.depth -= 1;
        result
    }

    /// A decimal number without a sign.
    fn number(&mut self) -> Option<usize> {
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
    fn index(&mut self, base36: bool) -> Option<()> {
        const MOST_DIGITS: usize = 4;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (base36 && byte.is_ascii_uppercase());
        let digits = self.rest.iter().take_while(|&&byte| is_digit(byte)).count();
        self.skip(digits)?;
        (digits <= MOST_DIGITS && self.take("_")).then_some(())
    }

    fn source_name(&mut self) -> Option<()> {
        let length = self.number()?;
        let is_name = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.');
        let name = self.rest.get(..length).filter(|name| !name.is_empty())?;
        name.iter().all(is_name).then_some(())?;
        self.skip(length)
    }

    /// A function with the types of its result and parameters, or something special, up to an `E`, a point or the end.
    fn encoding(&mut self) -> Option<()> {
        self.deeper(|this| {
            match this.peek()? {
                b'T' | b'G' => return this.special(),
                _ => this.name()?,
            }
            while !matches!(this.peek(), None | Some(b'E' | b'.')) {
                this.ty()?;
            }
            Some(())
        })
    }

    fn special(&mut self) -> Option<()> {
        let (kind, rest) = self.rest.split_at_checked(2)?;
        self.rest = rest;
        match kind {
            b"TV" | b"TT" | b"TI" | b"TS" => self.ty(),
            b"TH" | b"TW" | b"GV" => self.name(),
            b"Th" => {
                self.offset()?;
                self.encoding()
            }
            b"Tv" => {
                self.offset()?;
                self.offset()?;
                self.encoding()
            }
            _ => None,
        }
    }

    fn offset(&mut self) -> Option<()> {
        self.take("n");
        self.number()?;
        self.expect("_")
    }

    fn name(&mut self) -> Option<()> {
        self.deeper(|this| match this.peek()? {
            b'N' => this.nested_name(),
            b'Z' => this.local_name(),
            b'S' => {
                if this.take("St") {
                    this.unqualified_name()?;
                } else {
                    this.substitution()?;
                }
                this.arguments_if_any()
            }
            _ => {
                this.unqualified_name()?;
                this.arguments_if_any()
            }
        })
    }

    fn nested_name(&mut self) -> Option<()> {
        self.expect("N")?;
        while matches!(self.peek(), Some(b'r' | b'V' | b'K')) {
            self.skip(1)?;
        }
        if matches!(self.peek(), Some(b'R' | b'O')) {
            self.skip(1)?;
        }
        while !self.take("E") {
            match self.peek()? {
                b'S' => self.substitution()?,
                b'T' => {
                    self.skip(1)?;
                    self.index(false)?;
                }
                b'I' => self.arguments()?,
                _ => {
                    self.unqualified_name()?;
                    // The name of a data member, before a lambda in its initialiser.
                    self.take("M");
                }
            }
        }
        Some(())
    }

    fn local_name(&mut self) -> Option<()> {
        self.expect("Z")?;
        self.encoding()?;
        self.expect("E")?;
        if self.take("s") {
            return self.discriminator();
        }
        if self.take("d") {
            self.index(false)?;
            return self.name();
        }
        self.name()?;
        self.discriminator()
    }

    /// The number of a local name, if there is one.
    fn discriminator(&mut self) -> Option<()> {
        if self.take("__") {
            self.number()?;
            return self.expect("_");
        }
        if self.take("_") {
            return self.peek().filter(u8::is_ascii_digit).and_then(|_| self.skip(1));
        }
        Some(())
    }

    fn unqualified_name(&mut self) -> Option<()> {
        match (self.peek()?, self.rest.get(1)) {
            (b'0'..=b'9', _) => self.source_name()?,
            (b'L', _) => {
                self.skip(1)?;
                self.source_name()?;
                self.discriminator()?;
            }
            (b'C', Some(b'1'..=b'4')) | (b'D', Some(b'0' | b'1' | b'2' | b'4')) => self.skip(2)?,
            (b'U', Some(b't')) => {
                self.skip(2)?;
                self.index(false)?;
            }
            (b'U', Some(b'l')) => self.closure()?,
            _ => self.operator()?,
        }
        while self.take("B") {
            self.source_name()?;
        }
        Some(())
    }

    fn closure(&mut self) -> Option<()> {
        self.deeper(|this| {
            this.skip(2)?;
            while !this.take("E") {
                this.ty()?;
            }
            this.index(false)
        })
    }

    fn operator(&mut self) -> Option<()> {
        if self.take("cv") {
            let outside = std::mem::replace(&mut self.in_conversion, true);
            let result = self.ty();
            self.in_conversion = outside;
            return result;
        }
        if self.take("li") {
            return self.source_name();
        }
        let name = self.rest.get(..2)?;
        OPERATORS.chunks_exact(2).any(|known| known == name).then_some(())?;
        self.skip(2)
    }

    fn substitution(&mut self) -> Option<()> {
        self.expect("S")?;
        if matches!(self.peek()?, b't' | b'a' | b'b' | b's' | b'i' | b'o' | b'd') {
            self.skip(1)
        } else {
            self.index(true)
        }
    }

    fn ty(&mut self) -> Option<()> {
        self.deeper(|this| {
            let (first, second) = (this.peek()?, this.rest.get(1).copied());
            match (first, second) {
                (b'r' | b'V' | b'K' | b'P' | b'R' | b'O', _) => {
                    this.skip(1)?;
                    this.ty()
                }
                (b'C' | b'G', Some(b'f' | b'd' | b'e')) => this.skip(2),
                (b'u', _) => {
                    this.skip(1)?;
                    this.source_name()
                }
                (b'U', Some(b'0'..=b'9')) => {
                    this.skip(1)?;
                    this.source_name()?;
                    this.arguments_if_any()?;
                    this.ty()
                }
                (b'0'..=b'9' | b'N' | b'Z' | b'S', _) => this.name(),
                (b'T', Some(b's' | b'u' | b'e')) => {
                    this.skip(2)?;
                    this.name()
                }
                (b'T', _) => {
                    this.skip(1)?;
                    this.index(false)?;
                    if this.in_conversion && this.peek() == Some(b'I') { None } else { this.arguments_if_any() }
                }
                (b'F', _) => this.function(),
                (b'A', _) => {
                    this.skip(1)?;
                    this.size()?;
                    this.ty()
                }
                (b'M', _) => {
                    this.skip(1)?;
                    this.ty()?;
                    this.ty()
                }
                (b'D', Some(b'v')) => {
                    this.skip(2)?;
                    this.number()?;
                    this.expect("_")?;
                    this.ty()
                }
                (b'D', Some(b'p')) => {
                    this.skip(2)?;
                    this.ty()
                }
                (b'D', Some(b'o')) => {
                    this.skip(2)?;
                    this.function()
                }
                (b'D', Some(letter)) if BUILTIN_D.contains(&letter) => this.skip(2),
                _ => BUILTIN.contains(&first).then_some(()).and_then(|()| this.skip(1)),
            }
        })
    }

    /// The size of an array, if there is one.
    fn size(&mut self) -> Option<()> {
        if self.peek() != Some(b'_') {
            self.number()?;
        }
        self.expect("_")
    }

    fn function(&mut self) -> Option<()> {
        self.expect("F")?;
        self.take("Y");
        while !self.take("E") {
            // Of a method with `&` or `&&`.
            if matches!(self.rest, [b'R' | b'O', b'E', ..]) {
                self.skip(1)?;
            } else {
                self.ty()?;
            }
        }
        Some(())
    }

    fn arguments_if_any(&mut self) -> Option<()> {
        if self.peek() == Some(b'I') { self.arguments() } else { Some(()) }
    }

    /// The arguments of a template, or a pack of them.
    fn arguments(&mut self) -> Option<()> {
        self.deeper(|this| {
            this.skip(1)?;
            while !this.take("E") {
                match this.peek()? {
                    b'L' => this.literal()?,
                    b'I' | b'J' => this.arguments()?,
                    _ => this.ty()?,
                }
            }
            Some(())
        })
    }

    fn literal(&mut self) -> Option<()> {
        self.deeper(|this| {
            this.expect("L")?;
            if this.take("_Z") {
                this.encoding()?;
                return this.expect("E");
            }
            this.ty()?;
            let digits = this.rest.iter().take_while(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()).count();
            this.skip(digits)?;
            this.expect("E")
        })
    }
}
