//! A small interpreter in memory, for tests and for fuzzing: the table of offsets, a few types, and a heap with
//! `sys.modules`, one module and its attributes.
//!
//! - `layout`: the offsets and the types. `fuzz`: builds an example with objects, and reads all of it.

#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod layout;
#[cfg(test)]
mod tests;

use super::interpreter::{Interpreter, Python};
use crate::heap::{Heap, IN_USE, PAGE, PREVIOUS_IN_USE};
pub(crate) use layout::Class;
use layout::{BASE, BASIC_SIZE, HAVE_GC, HEAP, MEMBERS, NAMES, RUNTIME, STATE, TABLE};

/// The memory while it is made.
pub(crate) struct Image {
    pub(crate) memory: Vec<u8>,
    /// Where the next name, and the next block begin.
    names: u32,
    top: u32,
}

impl Image {
    /// An interpreter whose only module, `m`, has no attributes yet. Returns the dict of its attributes, too.
    pub(crate) fn new(pages: u32) -> (Self, u32) {
        let mut this = Self { memory: vec![0; (pages * PAGE) as usize], names: NAMES, top: HEAP };
        this.write(RUNTIME, b"xdebugpy");
        this.put(RUNTIME + 8, 0x030E_00F0);
        for (field, value) in TABLE {
            this.put(RUNTIME + 8 * field, *value);
        }
        this.put(STATE - 8, STATE);
        for (ty, name, size, flags) in Class::ALL {
            let at = ty.address();
            let name = this.name(name);
            this.words(at, &[1, Class::Type.address(), 0, name, size, u32::from(ty == Class::Tuple) * 4]);
            this.put(at + 84, flags);
            let base = match ty {
                Class::Object => 0,
                Class::Ordered => Class::Dict.address(),
                _ => Class::Object.address(),
            };
            this.put(at + BASE, base);
        }
        let fields = [
            ("__basicsize__", BASIC_SIZE),
            ("__itemsize__", 20),
            ("__base__", BASE),
            ("__dictoffset__", 144),
            ("__weakrefoffset__", 96),
        ];
        this.members(Class::Type, 2, &fields);
        this.members(Class::Module, 6, &[("__dict__", 8)]);
        this.members(Class::Node, 6, &[("next", 8), ("value", 12)]);
        this.members(Class::Exception, 14, &[("__suppress_context__", 32)]);
        this.members(Class::Function, 6, &[("__closure__", 36), ("__doc__", 40), ("__module__", 52)]);
        this.members(Class::Traceback, 6, &[("tb_frame", 12)]);
        this.members(Class::Frame, 14, &[("f_trace_lines", 24)]);
        let attributes = this.dict(&[]);
        let module = this.object(Class::Module, &[attributes, 0, 0]);
        let name = this.text("m");
        let modules = this.dict(&[(name, module)]);
        this.put(STATE + 8, modules);
        (this, attributes)
    }

    /// Makes it an interpreter of CPython 3.15, whose table has more fields.
    #[cfg(test)]
    pub(crate) fn become_later(&mut self) {
        self.put(RUNTIME + 8, 0x030F_00F0);
        for field in 3..100 {
            self.put(RUNTIME + 8 * field, 0);
        }
        for &(field, value) in TABLE {
            self.put(RUNTIME + 8 * layout::moved(field), value);
        }
    }

    /// The memory with its heap, and the interpreter.
    pub(crate) fn finish(mut self) -> (Vec<u8>, Heap, Interpreter) {
        let end = self.memory.len() as u32;
        self.put(self.top + 4, (end - 56 - self.top) | PREVIOUS_IN_USE);
        self.put(end - 56 + 4, 56);
        let heap = Heap::find(&self.memory, HEAP).expect("a heap");
        let interpreter = Python::find(&self.memory).known().expect("an interpreter");
        (self.memory, heap, interpreter)
    }

    pub(crate) fn put(&mut self, address: u32, value: u32) {
        self.write(address, &value.to_le_bytes());
    }

    pub(crate) fn words(&mut self, address: u32, values: &[u32]) {
        for (at, value) in (address..).step_by(4).zip(values) {
            self.put(at, *value);
        }
    }

    fn write(&mut self, address: u32, bytes: &[u8]) {
        self.memory[address as usize..address as usize + bytes.len()].copy_from_slice(bytes);
    }

    /// A string of C.
    fn name(&mut self, name: &str) -> u32 {
        let at = self.names;
        self.write(at, name.as_bytes());
        self.names += name.len() as u32 + 1;
        at
    }

    fn members(&mut self, ty: Class, kind: u32, members: &[(&str, u32)]) {
        self.names = self.names.next_multiple_of(4);
        let table = self.names;
        self.names += 20 * (members.len() as u32 + 1);
        for (at, (name, offset)) in (table..).step_by(20).zip(members) {
            let name = self.name(name);
            self.words(at, &[name, kind, *offset]);
        }
        self.put(ty.address() + MEMBERS, table);
    }

    /// A block; returns the address of its bytes.
    pub(crate) fn block(&mut self, size: u32) -> u32 {
        let chunk = self.top;
        let size = (size + 4).next_multiple_of(16).max(16);
        self.put(chunk + 4, size | IN_USE | PREVIOUS_IN_USE);
        self.top += size;
        chunk + 8
    }

    /// An object with these words after its header.
    pub(crate) fn object(&mut self, ty: Class, fields: &[u32]) -> u32 {
        let (_, _, size, flags) = Class::ALL[ty as usize];
        let header = if flags & HAVE_GC == 0 { 0 } else { 8 };
        let object = self.block(header + size.max(8 + 4 * fields.len() as u32)) + header;
        self.words(object, &[1, ty.address()]);
        self.words(object + 8, fields);
        object
    }

    /// A text of ASCII.
    pub(crate) fn text(&mut self, text: &str) -> u32 {
        let words: Vec<u32> = text
            .as_bytes()
            .chunks(4)
            .map(|part| part.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte)))
            .collect();
        let state = 1 << 2 | 1 << 5 | 1 << 6;
        let fields: Vec<u32> = [text.len() as u32, 0, state].into_iter().chain(words).collect();
        self.object(Class::Str, &fields)
    }

    /// A dict with keys of any type.
    pub(crate) fn dict(&mut self, entries: &[(u32, u32)]) -> u32 {
        let keys = self.block(20 + 8 + 12 * entries.len() as u32);
        // The logarithms of the sizes: 8 bytes of indices.
        self.put(keys + 4, 3 << 8);
        self.put(keys + 16, entries.len() as u32);
        for (at, (key, value)) in (keys + 28..).step_by(12).zip(entries) {
            self.words(at, &[0, *key, *value]);
        }
        self.object(Class::Dict, &[entries.len() as u32, keys, 0])
    }

    /// Gives a dict another one's entries.
    pub(crate) fn fill(&mut self, dict: u32, entries: &[(u32, u32)]) {
        let other = self.dict(entries) as usize;
        self.memory.copy_within(other + 8..other + 20, dict as usize + 8);
    }

    /// A list whose items are the words at an address.
    pub(crate) fn list(&mut self, items: u32, count: u32) -> u32 {
        self.object(Class::List, &[count, items, count])
    }
}
