//! Types, and the arguments of templates.

use super::reader::Reader;

/// The types of one letter, and of two letters that begin with `D`.
const BUILTIN: &[u8] = b"vwbcahstijlmxynofdegz";
const BUILTIN_D: &[u8] = b"defhisuacn";

impl Reader<'_> {
    pub(super) fn ty(&mut self) -> Option<()> {
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
            // The `&` or `&&` of a method.
            if matches!(self.rest, [b'R' | b'O', b'E', ..]) {
                self.skip(1)?;
            } else {
                self.ty()?;
            }
        }
        Some(())
    }

    pub(super) fn arguments_if_any(&mut self) -> Option<()> {
        if self.peek() == Some(b'I') { self.arguments() } else { Some(()) }
    }

    /// The arguments of a template, or a pack of them.
    pub(super) fn arguments(&mut self) -> Option<()> {
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
