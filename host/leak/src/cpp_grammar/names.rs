//! Functions, and the names of everything.

use super::reader::Reader;

/// The operators; each has two letters.
const OPERATORS: &[u8] =
    b"nwnadldapsngaddecoplmimldvrmanoreoaSpLmImLdVrMaNoReOlsrslSrSeqneltgtlegentaaooppmmcmpmptclixquss";

impl Reader<'_> {
    /// A function with the types of its result and parameters, or a special name, up to an `E`, a dot or the end.
    pub(super) fn encoding(&mut self) -> Option<()> {
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

    /// A table of virtual functions, the information about a type, a guard, or a thunk.
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

    pub(super) fn name(&mut self) -> Option<()> {
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

    pub(super) fn substitution(&mut self) -> Option<()> {
        self.expect("S")?;
        if matches!(self.peek()?, b't' | b'a' | b'b' | b's' | b'i' | b'o' | b'd') {
            self.skip(1)
        } else {
            self.index(true)
        }
    }
}
