//! The malloc family of a module: what each function does, and where it begins and ends.

use std::collections::HashMap;

use super::module::{CoreModule, Function};

/// What a function of the malloc family does, and the indices of its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Returns a block of `size` bytes, or of `size` times `count`.
    Allocate { size: u32, count: Option<u32> },
    /// Returns a block of `size` bytes that replaces the block at `old`.
    Reallocate { old: u32, size: u32 },
    /// Allocates a block of `size` bytes and writes its address to the word at `out`.
    AllocateTo { out: u32, size: u32 },
    /// Frees the block at `old`.
    Free { old: u32 },
}

/// The role of a function, by name and number of parameters. Covers wasi-libc's functions, dlmalloc's own functions,
/// and Rust's allocator shims, because optimisation can inline some of them. The number of parameters distinguishes
/// functions that have the same name.
fn role(name: &str, parameters: usize) -> Option<Role> {
    let base = name.rsplit("::").next().unwrap_or(name);
    let one = |size| Some(Role::Allocate { size, count: None });
    match (base, parameters) {
        ("malloc" | "dlmalloc", 1) => one(0),
        ("calloc" | "dlcalloc", 2) => Some(Role::Allocate { size: 0, count: Some(1) }),
        ("realloc" | "dlrealloc", 2) => Some(Role::Reallocate { old: 0, size: 1 }),
        ("aligned_alloc" | "memalign" | "dlmemalign" | "internal_memalign", 2) => one(1),
        ("posix_memalign" | "dlposix_memalign", 3) => Some(Role::AllocateTo { out: 0, size: 2 }),
        ("free" | "dlfree", 1) => Some(Role::Free { old: 0 }),
        // The methods of Rust's dlmalloc have the allocator's state as the first parameter.
        ("malloc", 2) if name.contains("Dlmalloc") => one(1),
        ("memalign", 3) if name.contains("Dlmalloc") => one(2),
        ("free", 2) if name.contains("Dlmalloc") => Some(Role::Free { old: 1 }),
        ("__rust_alloc" | "__rdl_alloc" | "__rg_alloc", 2) => one(0),
        ("__rust_alloc_zeroed" | "__rdl_alloc_zeroed" | "__rg_alloc_zeroed", 2) => one(0),
        ("__rust_realloc" | "__rdl_realloc" | "__rg_realloc", 4) => Some(Role::Reallocate { old: 0, size: 3 }),
        ("__rust_dealloc" | "__rdl_dealloc" | "__rg_dealloc", 3) => Some(Role::Free { old: 0 }),
        _ => None,
    }
}

/// The malloc family of one module. Function indices count only the functions that the module defines.
pub(crate) struct Family {
    /// By function index.
    pub(super) functions: HashMap<u32, Role>,
    /// Function index by the offset of the entry.
    pub(super) entries: HashMap<u32, u32>,
    /// Function index by the offsets of the exits.
    pub(super) exits: HashMap<u32, u32>,
}

impl Family {
    pub(crate) fn of(module: &CoreModule) -> Self {
        let mut this = Self { functions: HashMap::new(), entries: HashMap::new(), exits: HashMap::new() };
        for (index, Function { name, entry, exits, arity, .. }) in module.functions.iter().enumerate() {
            let Some(role) = role(name, arity.0) else { continue };
            let index = index as u32;
            this.functions.insert(index, role);
            this.entries.insert(*entry, index);
            this.exits.extend(exits.iter().map(|&exit| (exit, index)));
        }
        this
    }

    /// The number of functions of the family.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true if no function of the family was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
