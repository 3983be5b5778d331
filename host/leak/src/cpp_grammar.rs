//! Which symbols of C++ are demangled.
//!
//! `cpp_demangle` tries the alternatives of the grammar one after the other, and reads the inner parts again for each
//! alternative, so it needs years for some symbols of 100 bytes. All of these symbols contain expressions, which are
//! rare: in template arguments, array sizes and `decltype`. So this module reads a symbol first, by a grammar without
//! expressions, in which the next byte always decides. A symbol outside this grammar stays mangled.
//!
//! The grammar is that of the [Itanium C++ ABI](https://itanium-cxx-abi.github.io/cxx-abi/abi.html#mangling). It must
//! not accept anything that `cpp_demangle` could read in another way, because that reading may contain an expression:
//! `cpp_demangle` reads `C1` in a type as a constructor, not as a complex number.
//!
//! - `reader`: what is left of a symbol, and the smallest parts: numbers, indices, identifiers.
//! - `names`: functions, and the names of everything. `types`: types, and the arguments of templates.

mod names;
mod reader;
mod types;

use reader::Reader;

/// Maximum length in bytes: `cpp_demangle` follows a chain of template arguments by recursion.
const MAX_LENGTH: usize = 4_096;

/// Returns true if `cpp_demangle` reads this symbol in a time proportional to its length.
pub(super) fn is_plain(symbol: &str) -> bool {
    let Some(rest) = symbol.strip_prefix("_Z").or_else(|| symbol.strip_prefix("__Z")) else { return false };
    if symbol.len() > MAX_LENGTH {
        return false;
    }
    let mut reader = Reader::new(rest);
    // After a dot come the suffixes of clones.
    reader.encoding().is_some() && matches!(reader.peek(), None | Some(b'.'))
}
