//! The function and line of an instruction.

/// A function on a call stack; it may be inlined.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Location {
    /// The demangled name.
    pub function: String,
    /// The source file; absent without DWARF.
    pub file: Option<String>,
    /// The line, counted from 1; absent without DWARF.
    pub line: Option<u32>,
}

/// The function with its file and line, if they are known.
impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{} ({file}:{line})", self.function),
            _ => f.write_str(&self.function),
        }
    }
}

impl Location {
    /// Returns true if the function belongs to a library (Rust's, C++'s, a crate from a registry) or to generated bindings,
    /// which allocate on behalf of the plugin's own code. The file decides if it is known, otherwise the name.
    pub fn is_library(&self) -> bool {
        if let Some(file) = &self.file {
            if file.ends_with(".py") || file.starts_with('<') {
                // The modules of Python and of componentize-py, and code that is compiled from a string.
                return ["/python/", "/world/", "/bundled/", "<"].iter().any(|library| file.starts_with(library));
            }
            // The source paths of Rust's libraries, of wasi-libc, of C++'s libraries, and of crates from registries and
            // repositories.
            const PREFIXES: [&str; 3] = ["/rustc/", "wasisdk:", "wasi-libc"];
            const PARTS: [&str; 6] =
                ["/rust/deps/", "/registry/src/", "/git/checkouts/", "/c++/v1/", "/include/c++/", "/libcxx"];
            return PREFIXES.iter().any(|prefix| file.starts_with(prefix))
                || PARTS.iter().any(|part| file.contains(part));
        }
        const LIBRARIES: [&str; 9] =
            ["alloc::", "core::", "std::", "hashbrown::", "__rust", "__rdl", "cabi_", "operator new", "void* std::"];
        // `<T as alloc::…>` is an implementation of a library's trait, and counts as the library's.
        let name = self.function.trim_start_matches(['<', '&', '[']);
        let trait_name = name.split_once(" as ").map_or(name, |(_, name)| name);
        LIBRARIES.iter().any(|library| name.starts_with(library) || trait_name.starts_with(library))
    }
}
