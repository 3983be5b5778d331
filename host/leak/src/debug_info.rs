//! The DWARF debug information of a core module: the function and line of an instruction, and the static at an
//! address ([DWARF 5](https://dwarfstd.org/dwarf5std.html); for WebAssembly, code addresses are relative to the start
//! of the code section: <https://yurydelendik.github.io/webassembly-dwarf/>).

mod location;
mod statics;

use gimli::{Dwarf, EndianSlice, LittleEndian};
use plimsoll_runtime::text::printable;

use super::module::CoreModule;
use super::symbols::{LONGEST_NAME, demangle};
pub use location::Location;
pub use statics::Static;
use statics::{Slice, statics};

/// Maximum frames of one instruction: the function and those inlined into each other.
const MAX_INLINED: usize = 256;

/// The DWARF of one core module; empty if the component was stripped.
pub struct DebugInfo<'a> {
    lines: Option<addr2line::Context<Slice<'a>>>,
    code_start: u64,
    /// Sorted by address.
    statics: Vec<Static>,
}

impl<'a> DebugInfo<'a> {
    /// Reads the debug sections. Missing or broken parts are left out: function names then come from the name section,
    /// and statics are identified by their addresses.
    pub fn of_module(module: &'a CoreModule) -> Self {
        let load = |id: gimli::SectionId| -> Result<Slice<'a>, gimli::Error> {
            Ok(EndianSlice::new(module.section(id.name()), LittleEndian))
        };
        let statics = Dwarf::load(load).and_then(|dwarf| statics(&dwarf)).unwrap_or_default();
        let has_lines = !module.section(".debug_line").is_empty();
        let lines = has_lines.then(|| Dwarf::load(load).and_then(addr2line::Context::from_dwarf).ok()).flatten();
        Self { lines, code_start: module.code_start, statics }
    }

    /// The address after the last static; 0 if none has a name.
    pub fn statics_end(&self) -> u32 {
        self.statics.iter().map(|known| known.address.saturating_add(known.size)).max().unwrap_or(0)
    }

    /// Returns true if the file and line of instructions are known.
    pub fn has_lines(&self) -> bool {
        self.lines.is_some()
    }

    /// Every static that has a name, sorted by address.
    pub fn statics(&self) -> &[Static] {
        &self.statics
    }

    /// The static that contains an address.
    pub fn static_at(&self, address: u32) -> Option<&Static> {
        let after = self.statics.partition_point(|known| known.address <= address);
        self.statics[..after].last().filter(|known| address - known.address < known.size.max(1))
    }

    /// The functions at an instruction, innermost inlined function first. `offset` is relative to the module's first
    /// byte, and may point to any byte of the instruction.
    pub fn locations(&self, module: &CoreModule, offset: u32) -> Vec<Location> {
        let mut found = Vec::new();
        let probe = u64::from(offset).checked_sub(self.code_start);
        if let (Some(lines), Some(probe)) = (&self.lines, probe)
            && let Ok(mut frames) = lines.find_frames(probe).skip_all_loads()
        {
            while let Ok(Some(frame)) = frames.next()
                && found.len() < MAX_INLINED
            {
                let name = frame.function.as_ref().and_then(|name| Some(demangle(name.raw_name().ok()?.as_ref())));
                let Some(function) = name else { continue };
                let location = frame.location;
                let file = location.as_ref().and_then(|at| at.file).map(|file| printable(file, LONGEST_NAME));
                found.push(Location { function, file, line: location.and_then(|at| at.line) });
            }
        }
        if found.is_empty() {
            let function = module.function_at(offset);
            let function = function.map_or_else(|| format!("at {offset:#x}"), |function| function.name.clone());
            found.push(Location { function, file: None, line: None });
        }
        found
    }
}
