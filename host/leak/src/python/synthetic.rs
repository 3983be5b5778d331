//! A small interpreter in memory, for tests and for fuzzing: the table of offsets, a few types, and a heap with
//! `sys.modules`, one module and what the module has.

use super::interpreter::{Interpreter, Python};
use crate::heap::{Heap, IN_USE, PAGE, PREVIOUS_IN_USE};

/// Addresses of the table, the runtime's state, the interpreter's state, the types, and the heap.
const RUNTIME: u32 = 64;
const STATE: u32 = RUNTIME + 1_024;
const TYPES: u32 = 2_048;
const HEAP: u32 = 8_192;
/// Bytes between two types, and of the area for names and members.
const TYPE_STRIDE: u32 = 160;
/// The offsets that the table has: the number of the field, and its value.
const TABLE: &[(u32, u32)] = &[
    (3, 4_096),
    (5, STATE - 8 - RUNTIME),
    (9, 0),
    (12, 8),
    (26, 4),
    (32, 4),
    (33, 0),
    (34, 16),
    (35, 40),
    (36, 38),
    (37, 28),
    (40, 44),
    (42, 52),
    (43, 56),
    (44, 36),
    (46, 40),
    (48, 100),
    (51, 4),
    (52, 152),
    (53, 12),
    (55, 84),
    (57, 12),
    (58, 8),
    (60, 12),
    (64, 20),
    (65, 16),
    (67, 12),
    (68, 16),
    (72, 8),
    (73, 12),
    (76, 16),
    (77, 28),
    (78, 16),
    (79, 8),
    (80, 20),
    (85, 36),
];
/// Offsets in a type that its members tell.
const BASIC_SIZE: u32 = 16;
const BASE: u32 = 128;
const MEMBERS: u32 = 120;
/// `Py_TPFLAGS_HAVE_GC`, `Py_TPFLAGS_TYPE_SUBCLASS`, `Py_TPFLAGS_HEAPTYPE`.
const HAVE_GC: u32 = 1 << 14;
const IS_TYPE: u32 = 1 << 31;
const HEAP_TYPE: u32 = 1 << 9;

/// A type of the synthetic interpreter; the number is its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Type,
    Object,
    Dict,
    Str,
    List,
    Tuple,
    Module,
    /// A class of Python code with the member `next`.
    Node,
    Bytes,
    Code,
}

impl Class {
    const ALL: [(Self, &'static str, u32, u32); 10] = [
        (Self::Type, "type", 152, HAVE_GC | IS_TYPE),
        (Self::Object, "object", 8, 0),
        (Self::Dict, "dict", 24, HAVE_GC),
        (Self::Str, "str", 20, 0),
        (Self::List, "list", 20, HAVE_GC),
        (Self::Tuple, "tuple", 12, HAVE_GC),
        (Self::Module, "module", 20, HAVE_GC),
        (Self::Node, "Node", 16, HAVE_GC | HEAP_TYPE),
        (Self::Bytes, "bytes", 16, 0),
        (Self::Code, "code", 100, 0),
    ];

    fn address(self) -> u32 {
        TYPES + self as u32 * TYPE_STRIDE
    }
}

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
        let mut this = Self { memory: vec![0; (pages * PAGE) as usize], names: 4_096, top: HEAP };
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
            this.put(at + BASE, if ty == Class::Object { 0 } else { Class::Object.address() });
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
        let attributes = this.dict(&[]);
        let module = this.object(Class::Module, &[attributes, 0, 0]);
        let name = this.text("m");
        let modules = this.dict(&[(name, module)]);
        this.put(STATE + 8, modules);
        (this, attributes)
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

/// Reads all objects of a memory, and what holds each of them, if it has an interpreter and a heap. Returns the number of
/// objects that have a chain.
#[cfg(fuzzing)]
pub(crate) fn read_all(memory: &[u8]) -> Option<usize> {
    let interpreter = Python::find(memory).known()?;
    let heap = Heap::find(memory, HEAP)?;
    let blocks = heap.walk(memory)?;
    let mut names = super::frames::PlaceNames::default();
    for place in super::frames::running(memory, &interpreter) {
        names.number(memory, &interpreter, place);
    }
    let objects = super::objects::Objects::new(memory, interpreter, &blocks);
    let graph = super::graph::Graph::new(objects, RUNTIME..heap.start())?;
    let owners = (0..blocks.blocks.len()).filter_map(|index| graph.owner(index));
    Some(owners.filter(|&object| graph.path(object).is_some()).count())
}

/// A memory of one page with a list, a tuple, a few nodes, and a function that runs.
#[cfg(fuzzing)]
pub(crate) fn example() -> Vec<u8> {
    let (mut image, attributes) = Image::new(1);
    let text = image.text("value");
    let mut next = 0;
    let nodes: Vec<u32> = (0..4)
        .map(|_| {
            next = image.object(Class::Node, &[next, text]);
            next
        })
        .collect();
    let items = image.block(16);
    image.words(items, &nodes);
    let list = image.list(items, 4);
    let tuple = image.object(Class::Tuple, &[2, text, list]);
    let (name, other) = (image.text("NODES"), image.text("TUPLE"));
    image.fill(attributes, &[(name, list), (other, tuple)]);
    let names = image.object(Class::Tuple, &[1, text]);
    let (function, file) = (image.text("check"), image.text("m.py"));
    let lines = image.object(Class::Bytes, &[8, 0, 0x0107_0781, 0x0B01_F882]);
    let code = image.object(Class::Code, &[0, 0, 0, 0, 0, 0, 0, 1, names, file, 0, function, lines]);
    let frame = image.block(64);
    image.words(frame, &[code, 0, 0, 0, code + 104, 0, 0, frame + 48, 0, 0, list, tuple]);
    image.words(STATE, &[STATE + 16]);
    image.put(STATE + 16 + 4, frame);
    image.finish().0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::graph::Graph;
    use crate::python::objects::Objects;

    /// Makes an image with what `make` returns as the global `m.X`, and passes on what holds the objects.
    fn with_global<T>(pages: u32, make: impl FnOnce(&mut Image) -> (u32, T), check: impl FnOnce(Option<Graph<'_>>, T)) {
        let (mut image, attributes) = Image::new(pages);
        let (object, more) = make(&mut image);
        let name = image.text("X");
        image.fill(attributes, &[(name, object)]);
        let (memory, heap, interpreter) = image.finish();
        let blocks = heap.walk(&memory).expect("a whole heap");
        let objects = Objects::new(&memory, interpreter, &blocks);
        check(Graph::new(objects, 0..heap.start()), more);
    }

    #[test]
    fn a_list_of_nodes_is_held_by_its_global() {
        let make = |image: &mut Image| {
            let first = image.object(Class::Node, &[0, 0]);
            let second = image.object(Class::Node, &[first, 0]);
            let items = image.block(8);
            image.words(items, &[second, 0]);
            (image.list(items, 1), first)
        };
        with_global(2, make, |graph, first| {
            let path = graph.expect("objects").path(first).expect("a chain");
            assert_eq!(path.text, "m.X[…].next (Node)");
        });
    }

    /// Together the chains of these nodes have 2 × 10^7 steps.
    #[test]
    fn a_long_linked_list_has_short_chains() {
        const NODES: u32 = 20_000;
        let make = |image: &mut Image| {
            let mut nodes = vec![0];
            for _ in 0..NODES {
                let next = image.object(Class::Node, &[nodes[nodes.len() - 1], 0]);
                nodes.push(next);
            }
            (nodes[nodes.len() - 1], nodes)
        };
        with_global(16, make, |graph, nodes| {
            let graph = graph.expect("objects");
            let some = nodes[1..].iter().step_by(10);
            let paths: Vec<_> = some.map(|&node| graph.path(node).expect("a chain")).collect();
            assert_eq!(paths[0].length, NODES as usize + 1);
            assert_eq!(paths[0].text, "m.X.next × 254 … 19489 steps … .next × 256 (Node)");
            assert!(paths.iter().all(|path| path.pattern == "m.X.next (Node)"), "chains of any length are alike");
        });
    }

    #[test]
    fn a_ring_has_chains() {
        let make = |image: &mut Image| {
            let first = image.object(Class::Node, &[0, 0]);
            let second = image.object(Class::Node, &[first, 0]);
            image.put(first + 8, second);
            (first, second)
        };
        with_global(2, make, |graph, second| {
            assert_eq!(graph.expect("objects").path(second).expect("a chain").text, "m.X.next (Node)");
        });
    }

    /// 10,000 lists that share 200,000 items: 2 × 10^9 references.
    #[test]
    fn lists_that_share_their_items_are_given_up() {
        let make = |image: &mut Image| {
            let shared = image.block(800_000);
            let lists: Vec<u32> = (0..10_000).map(|_| image.list(shared, 200_000)).collect();
            let items = image.block(40_000);
            image.words(items, &lists);
            (image.list(items, 10_000), ())
        };
        with_global(64, make, |graph, ()| assert!(graph.is_none()));
    }

    #[test]
    fn a_class_and_its_bases_have_a_bounded_number_of_members() {
        let (mut image, _) = Image::new(4);
        let name = image.name("member");
        let mut base = Class::Object.address();
        for first in [0, 200] {
            let class = image.object(Class::Type, &[0; 36]);
            let node = Class::Node.address() as usize;
            image.memory.copy_within(node + 8..node + 152, class as usize + 8);
            let table = image.block(20 * 201);
            for member in 0..200 {
                image.words(table + 20 * member, &[name, 6, first + member]);
            }
            image.put(class + MEMBERS, table);
            image.put(class + BASE, base);
            base = class;
        }
        let (memory, _, interpreter) = image.finish();
        let types = crate::python::types::Types::new(&memory, interpreter);
        assert_eq!(types.get(base).map(|ty| ty.members.len()), Some(256));
    }
}
