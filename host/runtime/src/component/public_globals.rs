//! Exports the globals of a component's modules, inside the component only. To read the globals after `init`, Wizer exports
//! them from the modules of the component that runs `init`, but not from those of the snapshot. Cranelift compiles a function
//! that uses an exported global to other code, so it would compile most functions twice. If both components export the
//! globals, the second finds the functions of the first ([`crate::engine::function_cache`]).

use std::ops::Range;

use wasmparser::{
    BinaryReader, ExportSectionReader, GlobalSectionReader, ImportSectionReader, Parser, Payload, TypeRef,
};

/// The kind of an export that is a global.
const GLOBAL: u8 = 3;
/// The start of the names of these exports.
const NAME: &str = "__plimsoll_global_";

/// The ids of sections in the binary format of a module
/// ([specification](https://webassembly.github.io/spec/core/binary/modules.html#sections)).
const EXPORT: u8 = 7;
/// The sections that come after the exports: start, elements, code, data, and the number of data segments.
const AFTER_EXPORTS: [u8; 5] = [8, 9, 10, 11, 12];
/// The ids of sections of a component
/// ([binary format](https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md)).
const CORE_MODULE: u8 = 1;
const COMPONENT: u8 = 4;
/// Bytes of the magic number and the version, before the first section.
const HEAD: usize = 8;

/// The component with the exports. `None` if it cannot be read, or has such exports already.
pub(super) fn export(component: &[u8]) -> Option<Vec<u8>> {
    let mut exported = component.get(..HEAD)?.to_vec();
    for section in Sections::new(component) {
        let Section { id, whole, content } = section?;
        match id {
            CORE_MODULE => push_section(&mut exported, id, &export_of_module(&component[content])?),
            COMPONENT => push_section(&mut exported, id, &export(&component[content])?),
            _ => exported.extend(&component[whole]),
        }
    }
    Some(exported)
}

fn export_of_module(module: &[u8]) -> Option<Vec<u8>> {
    let mut globals = Vec::new();
    let mut count = 0;
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            Payload::ImportSection(imports) => globals.extend(imported(imports, &mut count)?),
            Payload::GlobalSection(defined) => globals.extend(mutable(defined, &mut count)?),
            Payload::ExportSection(exports) if has_such(exports.clone()) => return None,
            Payload::CodeSectionStart { .. } => break,
            _ => {}
        }
    }
    let mut exported = module.get(..HEAD)?.to_vec();
    let mut added = false;
    for section in Sections::new(module) {
        let Section { id, whole, content } = section?;
        if id == EXPORT {
            let mut reader = BinaryReader::new(&module[content.clone()], 0);
            let known = reader.read_var_u32().ok()?;
            let entries = content.start + reader.current_position()..content.end;
            push_section(&mut exported, id, &exports(known, &module[entries], &globals));
            added = true;
        } else {
            if AFTER_EXPORTS.contains(&id) && !added {
                push_section(&mut exported, EXPORT, &exports(0, &[], &globals));
                added = true;
            }
            exported.extend(&module[whole]);
        }
    }
    Some(exported)
}

fn has_such(exports: ExportSectionReader<'_>) -> bool {
    exports.into_iter().any(|export| export.is_ok_and(|export| export.name.starts_with(NAME)))
}

/// The indices of the imported globals that may change. `count` becomes the number of all imported globals.
fn imported(imports: ImportSectionReader<'_>, count: &mut u32) -> Option<Vec<u32>> {
    let mut globals = Vec::new();
    for import in imports.into_imports() {
        if let TypeRef::Global(global) = import.ok()?.ty {
            globals.extend(global.mutable.then_some(*count));
            *count += 1;
        }
    }
    Some(globals)
}

/// The indices of the defined globals that may change. `count` is the number of globals before them, and becomes that with
/// them.
fn mutable(defined: GlobalSectionReader<'_>, count: &mut u32) -> Option<Vec<u32>> {
    let mut globals = Vec::new();
    for global in defined {
        globals.extend(global.ok()?.ty.mutable.then_some(*count));
        *count += 1;
    }
    Some(globals)
}

/// The content of an export section with these globals in addition to the `known` entries.
fn exports(known: u32, entries: &[u8], globals: &[u32]) -> Vec<u8> {
    let mut content = Vec::with_capacity(entries.len() + 32 * globals.len());
    push_number(&mut content, known + globals.len() as u32);
    content.extend(entries);
    for index in globals {
        let name = format!("{NAME}{index}");
        push_number(&mut content, name.len() as u32);
        content.extend(name.as_bytes());
        content.push(GLOBAL);
        push_number(&mut content, *index);
    }
    content
}

/// A section: its id, all of its bytes, and those of its content.
struct Section {
    id: u8,
    whole: Range<usize>,
    content: Range<usize>,
}

/// The sections of a module or component. `None` if the next one cannot be read.
struct Sections<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Sections<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: HEAD }
    }

    fn read(&mut self) -> Option<Section> {
        let mut reader = BinaryReader::new(self.bytes.get(self.at..)?, 0);
        let (id, length) = (reader.read_u8().ok()?, reader.read_var_u32().ok()? as usize);
        let start = self.at + reader.current_position();
        let end = start.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        Some(Section { id, whole: std::mem::replace(&mut self.at, end)..end, content: start..end })
    }
}

impl Iterator for Sections<'_> {
    type Item = Option<Section>;

    fn next(&mut self) -> Option<Option<Section>> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let section = self.read();
        if section.is_none() {
            self.at = self.bytes.len();
        }
        Some(section)
    }
}

fn push_section(bytes: &mut Vec<u8>, id: u8, content: &[u8]) {
    bytes.push(id);
    push_number(bytes, content.len() as u32);
    bytes.extend(content);
}

/// Writes a number as LEB128.
fn push_number(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[cfg(test)]
mod tests {
    use wasmparser::Validator;

    use super::*;

    /// The names of all exports of core modules in a component.
    fn names(component: &[u8]) -> Vec<String> {
        let mut names = Vec::new();
        for payload in Parser::new(0).parse_all(component) {
            if let Payload::ExportSection(exports) = payload.expect("valid") {
                names.extend(exports.into_iter().map(|export| export.expect("valid").name.to_owned()));
            }
        }
        names
    }

    fn exported(text: &str) -> Option<Vec<u8>> {
        let component = wat::parse_str(text).expect("a component");
        let exported = export(&component)?;
        Validator::new().validate_all(&exported).expect("valid");
        Some(exported)
    }

    #[test]
    fn globals_that_change_are_exported_from_every_module() {
        let exported = exported(
            r#"(component
                (core module (import "m" "g" (global (mut i32))) (import "m" "f" (func)) (import "m" "c" (global i64))
                    (global (mut i64) (i64.const 1)) (global i32 (i32.const 2)) (memory 1) (tag)
                    (export "own" (global 2)) (start 0) (data (i32.const 0) "x"))
                (component (core module (global (mut f32) (f32.const 0)) (func) (@custom "c" "text")))
                (core module (func (export "f"))))"#,
        );
        let wanted = ["own", "__plimsoll_global_0", "__plimsoll_global_2", "__plimsoll_global_0", "f"];
        assert_eq!(names(&exported.expect("readable")), wanted);
    }

    #[test]
    fn a_component_that_has_such_exports_or_is_damaged_is_not_changed() {
        let taken = r#"(component (core module (global (export "__plimsoll_global_7") (mut i32) (i32.const 0))))"#;
        assert_eq!(exported(taken), None);
        let component =
            wat::parse_str("(component (core module (global (mut i32) (i32.const 0)) (func)))").expect("one");
        for end in 0..component.len() {
            // No panic, whatever is missing.
            let _ = export(&component[..end]);
        }
        assert_eq!(export(b"\0asm"), None);
    }
}
