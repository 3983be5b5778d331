//! Readable names of symbols. Symbols are not trusted: a component's name section and DWARF can have any bytes, and a few
//! hundred bytes can stand for a name of gigabytes.

use std::fmt::Write;

use plimsoll_runtime::text::printable;

use super::cpp_grammar::is_plain;

/// Maximum bytes of a name from a component. It goes to reports, terminals and XML, so it is escaped, too.
pub(super) const LONGEST_NAME: usize = 1_000;
/// Maximum bytes of a symbol that is demangled.
const LONGEST_SYMBOL: usize = 1 << 16;

/// The readable form of a symbol of Rust, without the hash that legacy mangling appends, or of C++. Other symbols stay as
/// they are, and those that cannot be demangled in a time proportional to their length.
pub fn demangle(name: &str) -> String {
    let rust = || {
        let symbol = rustc_demangle::try_demangle(name).ok()?;
        write_name(|out| write!(out, "{symbol:#}"))
    };
    let cpp = || {
        let symbol = cpp_demangle::Symbol::new(name).ok()?;
        write_name(|out| symbol.structured_demangle(out, &cpp_demangle::DemangleOptions::default()))
    };
    let is_short = name.len() <= LONGEST_SYMBOL;
    let readable = if is_short { rust().or_else(|| is_plain(name).then(cpp).flatten()) } else { None };
    printable(readable.as_deref().unwrap_or(name), LONGEST_NAME)
}

/// The text that `write` writes, up to a little more than [`LONGEST_NAME`] bytes, so that the reader sees that it was cut
/// off. `None` if `write` fails before.
fn write_name(write: impl FnOnce(&mut Beginning) -> std::fmt::Result) -> Option<String> {
    let mut out = Beginning::default();
    (write(&mut out).is_ok() || out.is_full).then_some(out.text)
}

/// The beginning of a text. It ends the writing when it is full.
#[derive(Default)]
struct Beginning {
    text: String,
    is_full: bool,
}

impl Write for Beginning {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = (LONGEST_NAME + 4).saturating_sub(self.text.len());
        self.text.push_str(&text[..text.floor_char_boundary(room)]);
        self.is_full = self.is_full || text.len() > room;
        if self.is_full { Err(std::fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_of_rust_and_of_cpp_have_readable_names() {
        for (symbol, name) in [
            ("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad"),
            ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
            ("_ZN5space3fooEii", "space::foo(int, int)"),
            ("_Znwm", "operator new(unsigned long)"),
            ("_ZdlPvm", "operator delete(void*, unsigned long)"),
            (
                "_ZNSt3__16vectorIiNS_9allocatorIiEEE9push_backERKi",
                "std::__1::vector<int, std::__1::allocator<int> >::push_back(int const&)",
            ),
            ("_ZNK3FooIJiLi5EEE3barEPFvRA3_iE", "Foo<int, 5>::bar(void (*)(int (&) [3])) const"),
            ("_ZTV3Foo", "{vtable(Foo)}"),
            ("_ZThn8_N3FooD1Ev", "{virtual override thunk({offset(-8)}, Foo::~Foo())}"),
            ("_ZZ4mainENKUlvE_clEv", "main::{lambda()#1}::operator()() const"),
            ("_ZZ4mainE5cache_0", "main::cache"),
            ("_Z3maxIiET_S0_S0_", "int max<int>(int, int)"),
            ("_ZN3FoocvbEv", "Foo::operator bool()"),
            ("_Z3fooB5cxx11v.isra.0", "foo[abi:cxx11]() [clone .isra.0]"),
        ] {
            assert_eq!(demangle(symbol), name, "{symbol}");
        }
    }

    /// A name without a prefix is not mangled: `f` is not the type `float`.
    #[test]
    fn names_of_c_stay_as_they_are() {
        for name in ["f", "i", "malloc", "main", "", "_Z", "_Z3", "N3fooE", "\u{1F980}"] {
            assert_eq!(demangle(name), printable(name, LONGEST_NAME));
        }
    }

    /// Each type is a pair of the one before: 300 bytes that stand for 2^28 parts.
    #[test]
    fn a_name_of_gigabytes_is_cut_off() {
        let mut symbol = "_Z1fI1aE1pIS0_S0_E".to_owned();
        // Each pair has two numbers, one for the template and one for the type.
        for id in (2..58).step_by(2).map(base36) {
            symbol += &format!("1pIS{id}_S{id}_E");
        }
        let name = demangle(&symbol);
        assert!(name.len() <= LONGEST_NAME + 4, "{} bytes", name.len());
    }

    /// The parser of `cpp_demangle` reads the operand of `dl` as that of the keyword `delete`. If this fails, it reads the
    /// operand again as that of an operator. It reads the innermost of 60 nested operands 2^60 times.
    #[test]
    fn a_symbol_that_takes_years_to_read_stays_as_it_is() {
        let deletes = "dl".repeat(60);
        for symbol in [
            format!("_Z1fIX{deletes}EEvv"),
            format!("_Z1fI1aEvDT{deletes}E"),
            format!("_Z1fPA{deletes}_i"),
            format!("_Z1fI1aLi3EX{deletes}EEvv"),
        ] {
            assert_eq!(demangle(&symbol), symbol);
        }
    }

    /// A chain of prefixes is not nested in the parser, but is followed by recursion when the name of a constructor is written.
    #[test]
    fn a_long_symbol_does_not_exhaust_the_stack() {
        for symbol in [format!("_ZN1a{}C1Ev", "IiE".repeat(500_000)), format!("_ZN1a{}C1Ev", "IiE".repeat(20_000))] {
            assert!(demangle(&symbol).starts_with("_ZN1aIiE"));
        }
        for depth in [5, 11, 12, 40, 1_000] {
            let nested = format!("_Z1f{}i{}", "1aI".repeat(depth), "E".repeat(depth));
            assert!(demangle(&nested).starts_with(if depth == 5 { "f(a<a<a" } else { "" }), "{depth} templates");
        }
        let pointers = format!("_Z1f{}i", "P".repeat(60_000));
        assert!(demangle(&pointers).starts_with("_Z1fPPP"));
    }

    fn base36(number: usize) -> String {
        let digit = |digit: usize| char::from_digit(digit as u32, 36).expect("a digit").to_ascii_uppercase();
        if number < 36 { digit(number).to_string() } else { format!("{}{}", digit(number / 36), digit(number % 36)) }
    }
}
