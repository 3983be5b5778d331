//! Functions of a plugin that are kept on the disk, so that of its next version only those are compiled that have changed.

use crate::component::compiled_cache::CompiledCache;
use crate::component::compiler::Compiler;
use crate::component::entry_name::EntryName;
use crate::engine::function_cache::FunctionCache;
use crate::identity::Identity;

/// The smallest component whose functions are kept, in bytes. A smaller one is compiled in less than a second.
const MIN_BYTES: usize = 512 << 10;

/// The functions of a plugin while it is compiled.
pub(super) struct KeptFunctions<'a> {
    cache: &'a CompiledCache,
    functions: &'a FunctionCache,
    name: EntryName,
}

impl<'a> KeptFunctions<'a> {
    /// Reads the functions of the version before from the cache. `component` is what will be compiled. `None` if they are not
    /// kept.
    pub(super) fn load(
        cache: Option<&'a CompiledCache>,
        functions: &'a FunctionCache,
        compiler: &Compiler,
        plugin: &Identity,
        component: &[u8],
    ) -> Option<Self> {
        let cache = cache.filter(|_| component.len() >= MIN_BYTES)?;
        let name = EntryName::new(&compiler.engine, [b"functions".as_slice(), plugin.name.as_bytes()]);
        cache.load_functions(&name, |kept| functions.add(kept));
        functions.begin();
        Some(Self { cache, functions, name })
    }

    /// Keeps the functions that this version uses, if most of them were compiled. Call it after the code was stored, which is
    /// needed more.
    pub(super) fn store(self) {
        if let Some(used) = self.functions.used() {
            self.cache.store_functions(&self.name, &used);
        }
    }
}
