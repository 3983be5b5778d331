//! The Python functions that run at one moment, with their files and lines.

use std::collections::HashMap;

use super::interpreter::Interpreter;
use super::native::Natives;
use super::text::str_object;
use crate::debug_info::Location;
use crate::heap::word;

/// Maximum frames that are read.
const MAX_FRAMES: usize = 128;
/// From this owner on, a frame is one of the interpreter itself, without a function.
const INTERPRETERS_OWN: u8 = 3;
/// Maximum bytes of a table of locations that are read.
const LONGEST_TABLE: usize = 1 << 20;
/// Bytes of a unit of instructions.
const UNIT: u32 = 2;
/// A reference of a frame has tags in its lowest bits.
const TAGS: u32 = 3;

/// A place in the code: a code object, and an instruction's offset in bytes.
pub(crate) type Place = (u32, u32);

/// The Python frames from the innermost. Each part has the frames that one call of the interpreter's function runs.
pub(crate) fn running(memory: &[u8], interpreter: &Interpreter) -> Vec<Vec<Place>> {
    let offsets = &interpreter.offsets;
    let at = |address: u32, offset: u32| word(memory, address.checked_add(offset)?);
    let mut found = vec![Vec::new()];
    let thread = at(interpreter.state, offsets.threads_head).unwrap_or(0);
    let mut frame = at(thread, offsets.current_frame).unwrap_or(0);
    for _ in 0..MAX_FRAMES {
        if thread == 0 || frame == 0 {
            break;
        }
        let owner = frame.checked_add(offsets.frame.owner).and_then(|at| memory.get(at as usize));
        let Some(&owner) = owner else { break };
        match found.last_mut() {
            Some(part) if owner < INTERPRETERS_OWN => part.extend(place(memory, interpreter, frame)),
            _ => found.push(Vec::new()),
        }
        frame = at(frame, offsets.frame.previous).unwrap_or(0);
    }
    found
}

/// Where a frame is in its code.
fn place(memory: &[u8], interpreter: &Interpreter, frame: u32) -> Option<Place> {
    let offsets = &interpreter.offsets;
    let at = |address: u32, offset: u32| word(memory, address.checked_add(offset)?);
    let code = at(frame, offsets.frame.executable)? & !TAGS;
    let instruction = at(frame, offsets.frame.instruction)?;
    let first = code.checked_add(offsets.code.instructions)?;
    let ty = at(code, offsets.ob_type)?;
    let name = super::text::c_string(memory, at(ty, offsets.tp_name)?)?;
    (name == "code").then(|| (code, instruction.saturating_sub(first)))
}

/// A function on the call stack of a plugin in Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TracedFunction {
    pub(crate) location: Location,
    /// True if it is a function of a library, not of Python.
    pub(crate) is_native: bool,
}

/// The names of places and of functions of libraries, each read once.
#[derive(Debug, Default)]
pub(crate) struct PlaceNames {
    known: HashMap<Place, usize>,
    numbers: HashMap<Location, usize>,
    natives: HashMap<(usize, u32), usize>,
    /// The functions, by number.
    pub(crate) functions: Vec<TracedFunction>,
}

impl PlaceNames {
    /// The index in `functions` of the function at a place. If a function is freed and another one takes its address, the
    /// second one gets the name of the first. Functions are rarely freed.
    pub(crate) fn number(&mut self, memory: &[u8], interpreter: &Interpreter, place: Place) -> usize {
        if let Some(&known) = self.known.get(&place) {
            return known;
        }
        let location = location(memory, interpreter, place);
        let next = self.functions.len();
        let number = *self.numbers.entry(location.clone()).or_insert(next);
        if number == next {
            self.functions.push(TracedFunction { location, is_native: false });
        }
        self.known.insert(place, number);
        number
    }

    /// The number of a library's function.
    pub(crate) fn native(&mut self, natives: &Natives, library: usize, function: u32) -> usize {
        *self.natives.entry((library, function)).or_insert_with(|| {
            self.functions.push(TracedFunction { location: natives.location(library, function), is_native: true });
            self.functions.len() - 1
        })
    }
}

/// The function, file and line of a place.
pub(super) fn location(memory: &[u8], interpreter: &Interpreter, (code, offset): Place) -> Location {
    let offsets = &interpreter.offsets;
    let at = |address: u32, offset: u32| word(memory, address.checked_add(offset)?);
    let text = |offset: u32| str_object(memory, at(code, offset)?, offsets);
    let function = text(offsets.code.qualname).unwrap_or_else(|| "?".to_owned());
    let file = text(offsets.code.filename).map(|file| shown_file(&file).to_owned());
    let first_line = at(code, offsets.code.first_line).unwrap_or(0);
    let lines = at(code, offsets.code.lines).and_then(|table| {
        let length = at(table, offsets.ob_size)? as usize;
        let from = table.checked_add(offsets.bytes_data)? as usize;
        memory.get(from..from.checked_add(length.min(LONGEST_TABLE))?)
    });
    let line = lines.and_then(|lines| line_of(lines, first_line, offset / UNIT)).unwrap_or(first_line);
    Location { function, file, line: Some(line) }
}

/// The file as its author knows it: componentize-py numbers the folders of its search path.
fn shown_file(file: &str) -> &str {
    let inside = file.strip_prefix('/').and_then(|file| file.split_once('/'));
    match inside {
        Some((folder, rest)) if !folder.is_empty() && folder.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => file,
    }
}

/// The line of a unit of instructions, from a code object's table of locations (CPython's
/// `InternalDocs/code_objects.md`, "Source code locations"). `None` if it has no line.
fn line_of(table: &[u8], first_line: u32, unit: u32) -> Option<u32> {
    let mut bytes = table.iter().copied();
    let mut line = i64::from(first_line);
    let mut end = 0;
    while let Some(first) = bytes.next() {
        let (code, units) = (first >> 3 & 15, u32::from(first & 7) + 1);
        let has_line = match code {
            0..=9 => {
                bytes.next()?;
                true
            }
            10..=12 => {
                line = line.saturating_add(i64::from(code - 10));
                bytes.nth(1)?;
                true
            }
            13 => {
                line = line.saturating_add(signed(&mut bytes)?);
                true
            }
            14 => {
                line = line.saturating_add(signed(&mut bytes)?);
                for _ in 0..3 {
                    unsigned(&mut bytes)?;
                }
                true
            }
            _ => false,
        };
        end += units;
        if unit < end {
            return has_line.then(|| u32::try_from(line).ok()).flatten();
        }
    }
    None
}

/// A number of six bits per byte, lowest first; the seventh bit says that more follow.
fn unsigned(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes.next()?;
        value |= i64::from(byte & 63) << shift;
        shift += 6;
        if byte & 64 == 0 {
            return Some(value);
        }
        if shift > 42 {
            return None;
        }
    }
}

/// A number whose lowest bit is its sign.
fn signed(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let value = unsigned(bytes)?;
    Some(if value & 1 == 1 { -(value >> 1) } else { value >> 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_from_the_table_of_locations() {
        // Two units on the first line; three on the next; one without a line; one five lines up, in the long form.
        let table = [0x80 | 1, 7, 0x80 | 11 << 3 | 2, 1, 2, 0x80 | 15 << 3, 0x80 | 14 << 3, 11, 0, 1, 2];
        let lines: Vec<_> = (0..8).map(|unit| line_of(&table, 40, unit)).collect();
        let (same, next) = (Some(40), Some(41));
        assert_eq!(lines, [same, same, next, next, next, None, Some(36), None]);
        assert_eq!(line_of(&[0x80 | 13 << 3, 0x7F], 1, 0), None, "cut off");
        // A step of nearly 2^47 lines, again and again.
        let far = [0x80 | 13 << 3, 0x7E, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x3F].repeat(1 << 17);
        assert_eq!(line_of(&far, 1, 1 << 16), None, "no such line");
    }

    #[test]
    fn files_have_the_names_that_their_authors_know() {
        assert_eq!(shown_file("/0/pkg/errors.py"), "pkg/errors.py");
        assert_eq!(shown_file("/python/typing.py"), "/python/typing.py");
        assert_eq!(shown_file("<frozen os>"), "<frozen os>");
    }
}
