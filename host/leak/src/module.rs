//! The core module that defines a component's linear memory, read from its bytes: functions with names and instruction
//! offsets, initialised data, the stack pointer.

mod component;
mod function;

use std::collections::HashMap;
use std::ops::Range;

use wasmparser::{DataKind, ExternalKind, KnownCustom, Name, Operator, Parser, Payload, TypeRef};

use plimsoll_runtime::text::printable;

use super::symbols::{LONGEST_NAME, demangle};
pub use component::ModuleError;
use component::{core_modules, own_module};
pub use function::Function;
use function::read_function;

/// A core module inside a component. Offsets are relative to the module's first byte, as in the engine.
#[derive(Debug, Default)]
pub struct CoreModule {
    /// The module's bytes.
    pub bytes: Vec<u8>,
    /// The functions that the module defines, in index order.
    pub functions: Vec<Function>,
    /// Number of imported functions; they come first in the index space.
    pub imported_functions: u32,
    /// The active data segments, sorted by address.
    pub data: Vec<Segment>,
    /// The index of the stack pointer's global, and its value while no call runs.
    pub stack_pointer: Option<(u32, u32)>,
    /// The lowest possible address of the heap, if the linker's symbol `__heap_base` is present.
    pub heap_base: Option<u32>,
    /// Offset of the code section's contents. DWARF's code addresses are relative to it.
    pub code_start: u64,
    /// The name of the module in its name section: of a library its file name.
    pub name: Option<String>,
    /// The names of the exported functions. They distinguish the modules of one component.
    pub exports: Vec<String>,
    sections: HashMap<String, Range<usize>>,
}

/// Maximum bytes of initialised data that are read as a memory.
const MAX_INITIAL: usize = 256 << 20;

/// A data segment: initialised data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The address in linear memory.
    pub address: u32,
    /// Bytes.
    pub length: u32,
    /// The offset of the segment's bytes in the module.
    offset: usize,
}

impl Segment {
    /// The address after the last byte.
    pub fn end(&self) -> u32 {
        self.address.saturating_add(self.length)
    }
}

impl CoreModule {
    /// Reads the module that defines a linear memory. If several do, the largest is the plugin's own, and the others
    /// are adapters.
    ///
    /// # Errors
    /// If the component cannot be read, or has no linear memory.
    pub fn of_component(component: &[u8]) -> Result<Self, ModuleError> {
        Self::read(own_module(component)?).map_err(ModuleError::CoreModule)
    }

    /// Reads the other modules: libraries that are linked to the plugin's own module, and adapters. Those that cannot be read
    /// are left out, because they only give names.
    ///
    /// # Errors
    /// If the component cannot be read, or has no linear memory.
    pub fn libraries(component: &[u8]) -> Result<Vec<Self>, ModuleError> {
        let own = own_module(component)?.as_ptr_range();
        let modules = core_modules(component).map_err(ModuleError::Component)?;
        let others = modules.into_iter().filter(|module| module.as_ptr_range() != own);
        Ok(others.filter_map(|module| Self::read(module).ok()).collect())
    }

    fn read(bytes: &[u8]) -> wasmparser::Result<Self> {
        let mut this = Self { bytes: bytes.to_vec(), ..Self::default() };
        let (mut types, mut signatures) = (Vec::new(), Vec::new());
        let mut imported_globals = 0;
        let mut globals = Vec::new();
        let (mut names, mut global_names) = (HashMap::new(), HashMap::new());
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        let ty = ty?;
                        types.push((ty.params().len(), ty.results().len()));
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        match import?.ty {
                            TypeRef::Func(_) => this.imported_functions += 1,
                            TypeRef::Global(_) => imported_globals += 1,
                            _ => {}
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    for index in section {
                        signatures.push(index?);
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        let global = global?;
                        let value = match global.init_expr.get_operators_reader().read()? {
                            Operator::I32Const { value } => Some(value.cast_unsigned()),
                            _ => None,
                        };
                        globals.push((global.ty.mutable, value));
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            this.exports.push(export.name.to_owned());
                        }
                    }
                }
                Payload::DataSection(section) => {
                    for segment in section {
                        let segment = segment?;
                        let DataKind::Active { offset_expr, .. } = segment.kind else { continue };
                        if let Operator::I32Const { value } = offset_expr.get_operators_reader().read()? {
                            let length = segment.data.len() as u32;
                            let offset = segment.range.end - segment.data.len();
                            this.data.push(Segment { address: value.cast_unsigned(), length, offset });
                        }
                    }
                }
                Payload::CodeSectionStart { range, .. } => this.code_start = range.start as u64,
                Payload::CodeSectionEntry(body) => {
                    let signature = signatures.get(this.functions.len()).copied().unwrap_or_default();
                    let arity = types.get(signature as usize).copied().unwrap_or_default();
                    this.functions.push(read_function(&body, arity)?);
                }
                Payload::CustomSection(section) => {
                    let start = section.data_offset();
                    this.sections.insert(section.name().to_owned(), start..start + section.data().len());
                    if let KnownCustom::Name(reader) = section.as_known() {
                        for name in reader {
                            match name? {
                                Name::Module { name, .. } => this.name = Some(printable(name, LONGEST_NAME)),
                                Name::Function(map) => read_names(map, &mut names)?,
                                Name::Global(map) => read_names(map, &mut global_names)?,
                                _ => {}
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        for (index, function) in this.functions.iter_mut().enumerate() {
            let index = this.imported_functions + index as u32;
            function.name = names.get(&index).map_or_else(|| format!("func[{index}]"), |name| demangle(name));
        }
        // In position-independent code the linker's symbols are globals.
        let heap_base = global_names.iter().find(|(_, name)| name.ends_with("__heap_base")).map(|(&index, _)| index);
        this.heap_base = heap_base
            .and_then(|index| index.checked_sub(imported_globals))
            .and_then(|index| globals.get(index as usize)?.1);
        this.stack_pointer = stack_pointer(&globals, imported_globals, &global_names);
        this.data.sort_by_key(|segment| segment.address);
        Ok(this)
    }

    /// The contents of a custom section, for example `.debug_info`; empty if there is none.
    pub fn section(&self, name: &str) -> &[u8] {
        self.sections.get(name).map_or(&[], |range| &self.bytes[range.clone()])
    }

    /// The initial value of the word at an address; `None` outside of initialised data.
    pub fn initial_word(&self, address: u32) -> Option<u32> {
        let after = self.data.partition_point(|segment| segment.address <= address);
        let end = address.checked_add(4)?;
        let segment = self.data[..after].last().filter(|segment| end <= segment.end())?;
        let at = segment.offset + (address - segment.address) as usize;
        Some(u32::from_le_bytes(self.bytes.get(at..at + 4)?.try_into().ok()?))
    }

    /// The initialised data, each byte at its address; zeros between.
    pub fn initial_memory(&self) -> Vec<u8> {
        let end = self.data.iter().map(Segment::end).max().unwrap_or(0) as usize;
        // A module of a few bytes may have data at any address.
        let mut memory = vec![0; if end <= MAX_INITIAL { end } else { 0 }];
        for segment in &self.data {
            let (at, length) = (segment.address as usize, segment.length as usize);
            let bytes = self.bytes.get(segment.offset..segment.offset + length);
            if let (Some(into), Some(bytes)) = (memory.get_mut(at..at + length), bytes) {
                into.copy_from_slice(bytes);
            }
        }
        memory
    }

    /// Returns true if there is a name section.
    pub fn has_names(&self) -> bool {
        self.sections.contains_key("name")
    }

    /// The function that contains the instruction at an offset.
    pub fn function_at(&self, offset: u32) -> Option<&Function> {
        let after = self.functions.partition_point(|function| function.entry <= offset);
        self.functions[..after].last().filter(|function| offset < function.end)
    }
}

/// The index and initial value of the stack pointer: the global `__stack_pointer`, or without names the first mutable
/// global, because wasm-ld puts the stack pointer there.
fn stack_pointer(globals: &[(bool, Option<u32>)], imported: u32, names: &HashMap<u32, String>) -> Option<(u32, u32)> {
    let named = names.iter().find(|(_, name)| *name == "__stack_pointer").map(|(&index, _)| index);
    let index = named
        .or_else(|| Some(imported + globals.iter().position(|(mutable, value)| *mutable && value.is_some())? as u32))?;
    let value = globals.get(index.checked_sub(imported)? as usize)?.1?;
    Some((index, value))
}

fn read_names(map: wasmparser::NameMap<'_>, into: &mut HashMap<u32, String>) -> wasmparser::Result<()> {
    for naming in map {
        let naming = naming?;
        into.insert(naming.index, naming.name.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module's data can have any address: here the last 16 bytes of the address space.
    #[test]
    fn the_initial_word_at_the_last_address_is_not_read() {
        let memory = [5, 3, 1, 0, 1];
        let data = [&[11, 22, 1, 0, 0x41, 0x70, 0x0B, 16], [7; 16].as_slice()].concat();
        let bytes = [b"\0asm\x01\0\0\0", memory.as_slice(), &data].concat();
        let module = CoreModule::of_component(&bytes).expect("a module");
        assert_eq!(module.data[0].address, u32::MAX - 15);
        assert_eq!(module.initial_word(u32::MAX - 15), Some(0x0707_0707));
        for address in [u32::MAX - 3, u32::MAX - 2, u32::MAX, 0, u32::MAX - 16] {
            assert_eq!(module.initial_word(address), None, "{address:#x}");
        }
    }
}
