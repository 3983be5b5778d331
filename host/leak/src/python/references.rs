//! What each object refers to.

mod storage;
mod tables;

use std::rc::Rc;

use super::objects::Objects;
use super::types::Kind;
use crate::heap::word;

/// Bytes of a word.
const WORD: u32 = 4;
/// A reference of an interpreter frame has tags in its lowest bits.
const TAGS: u32 = 3;
/// Maximum items of one container that are read.
const MAX_ITEMS: u32 = 1 << 24;
/// Offsets in a traceback: the next one, and its frame.
const TRACEBACK: [(u32, &str, &str); 2] = [(8, ".tb_next", "traceback"), (12, ".tb_frame", "frame")];
/// Offsets in an exception.
const EXCEPTION: [(u32, &str); 6] = [
    (8, ".__dict__"),
    (12, ".args"),
    (16, ".__notes__"),
    (20, ".__traceback__"),
    (24, ".__context__"),
    (28, ".__cause__"),
];
/// Offset of a function's code, and of a cell's contents.
const FUNCTION: [(u32, &str); 9] = [
    (16, ".__name__"),
    (20, ".__qualname__"),
    (24, ".__code__"),
    (28, ".__defaults__"),
    (32, ".__kwdefaults__"),
    (44, ".__dict__"),
    (56, ".__annotations__"),
    (60, ".__annotate__"),
    (64, ".__type_params__"),
];
const CELL_CONTENTS: u32 = 8;
/// Offsets in a frame object: the frame that called it, and the interpreter's frame.
const FRAME_BACK: u32 = 8;
const FRAME_DATA: u32 = 12;
/// Offset of the dict of local variables in an interpreter frame, and of the function.
const FRAME_FUNCTION: u32 = 8;
const FRAME_LOCALS: u32 = 20;

/// How an object refers to another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edge {
    /// The dict of its attributes.
    Namespace,
    /// An entry of a dict of attributes; the name is a str object.
    Attribute(u32),
    /// An entry of a dict; the key is an object.
    Item(u32),
    /// An item of a list, tuple or set, or a key of a dict.
    Element,
    /// A field with a name, as Python code writes it.
    Field(Rc<str>),
    /// A local variable of a frame: its code, and the name's number.
    Local(u32, u32),
    /// A field without a name.
    Hidden,
    /// A word in a block that belongs to the object. It may be left from what was there before.
    Loose,
}

/// One reference of a chain.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) edge: Edge,
    pub(super) from: u32,
    pub(super) to: u32,
}

/// What an object refers to.
#[derive(Debug)]
pub(super) enum Reference {
    /// Another object.
    Object(u32, Edge),
    /// A block that belongs to this object alone, with its index: the items of a list, the keys of a dict.
    Storage(usize),
    /// The same, but what its words mean is not known.
    Words(usize),
}

impl Objects<'_> {
    /// Calls `visit` for everything that an object refers to. `is_namespace`: it is the dict of an object's attributes.
    pub(super) fn references(&self, object: u32, is_namespace: bool, visit: &mut dyn FnMut(Reference)) {
        let Some(ty) = self.types.of(object) else { return };
        let mut seen = Seen { objects: self, visit };
        match ty.kind {
            Kind::Leaf | Kind::ByteArray => {}
            Kind::Text => self.text_storage(object, &mut seen),
            Kind::List => {
                let items = self.at(object, self.interpreter.offsets.list_items).unwrap_or(0);
                seen.block(items);
                self.items(object, items, &mut seen);
            }
            Kind::Tuple => {
                self.items(object, object.saturating_add(self.interpreter.offsets.tuple_items), &mut seen);
            }
            Kind::Dict => self.entries(object, is_namespace, &mut seen),
            Kind::Set => self.set(object, &mut seen),
            Kind::Traceback => {
                for (offset, name, expected) in TRACEBACK {
                    let target = self.at(object, offset).unwrap_or(0);
                    if self.types.of(target).is_some_and(|ty| ty.name == expected) {
                        seen.field(target, name);
                    }
                }
            }
            Kind::Exception => self.fields(object, &EXCEPTION, &mut seen),
            Kind::Function => self.fields(object, &FUNCTION, &mut seen),
            Kind::Cell => seen.field(self.at(object, CELL_CONTENTS).unwrap_or(0), ".cell_contents"),
            Kind::Frame => self.frame_object(object, &mut seen),
            Kind::Generator => {
                self.frame(object.saturating_add(self.interpreter.offsets.generator_frame), &mut seen);
            }
            Kind::Type | Kind::Module | Kind::WeakReference | Kind::Code | Kind::Other => {}
        }
        // Types that derive from one of the above have members and attributes, too.
        for (offset, name) in &ty.members {
            let target = self.at(object, *offset).unwrap_or(0);
            if ty.kind == Kind::Module && &**name == "__dict__" {
                seen.namespace(target);
            } else {
                seen.edge(target, Edge::Field(format!(".{name}").into()));
            }
        }
        self.attributes(object, &ty, &mut seen);
        if ty.kind == Kind::Type {
            self.type_object(object, &mut seen);
        }
        self.storage(object, &ty, &mut seen);
    }

    fn fields(&self, object: u32, fields: &[(u32, &'static str)], seen: &mut Seen<'_, '_>) {
        for &(offset, name) in fields {
            let target = self.at(object, offset).unwrap_or(0);
            match name {
                ".__dict__" => seen.namespace(target),
                name => seen.field(target, name),
            }
        }
    }

    fn items(&self, object: u32, from: u32, seen: &mut Seen<'_, '_>) {
        let count = self.at(object, self.interpreter.offsets.ob_size).unwrap_or(0);
        if count > MAX_ITEMS || count as usize > self.memory.len() / 4 {
            return;
        }
        for index in self.counted(0..count) {
            let Some(target) = self.at(from, index * WORD) else { break };
            seen.edge(target, Edge::Element);
        }
    }

    fn frame_object(&self, frame: u32, seen: &mut Seen<'_, '_>) {
        let back = self.at(frame, FRAME_BACK).unwrap_or(0);
        if self.types.of(back).is_some_and(|ty| ty.kind == Kind::Frame) {
            seen.field(back, ".f_back");
        }
        let data = self.at(frame, FRAME_DATA).unwrap_or(0);
        // The frame of a generator belongs to the generator.
        let is_own = data > frame && self.blocks.holding(data) == self.blocks.holding(frame);
        if is_own {
            self.frame(data, seen);
        }
    }

    /// An interpreter frame.
    fn frame(&self, frame: u32, seen: &mut Seen<'_, '_>) {
        let offsets = &self.interpreter.offsets;
        let Some(code) = self.at(frame, offsets.frame.executable).map(|code| code & !TAGS) else { return };
        if self.types.of(code).is_none_or(|ty| ty.name != "code") {
            return;
        }
        seen.field(code, ".f_code");
        seen.field(self.at(frame, FRAME_FUNCTION).unwrap_or(0) & !TAGS, ".f_func");
        seen.edge(self.at(frame, FRAME_LOCALS).unwrap_or(0), Edge::Field(".f_locals".into()));
        let names = self.at(code, offsets.code.local_names).unwrap_or(0);
        let count = self.at(names, offsets.ob_size).unwrap_or(0).min(u32::from(u16::MAX));
        let locals = frame.saturating_add(offsets.frame.locals);
        for index in self.counted(0..count) {
            seen.edge(self.at(locals, index * WORD).unwrap_or(0) & !TAGS, Edge::Local(code, index));
        }
        // The values on the stack of an expression that is being evaluated.
        let end = self.at(frame, offsets.frame.stack_pointer).unwrap_or(0);
        let first = locals.saturating_add(count * WORD);
        if end > first && end - first <= u32::from(u16::MAX) {
            for at in self.counted((first..end).step_by(WORD as usize)) {
                seen.edge(word(self.memory, at).unwrap_or(0) & !TAGS, Edge::Hidden);
            }
        }
    }
}

/// Passes on references, those to objects only.
struct Seen<'v, 'a> {
    objects: &'v Objects<'a>,
    visit: &'v mut dyn FnMut(Reference),
}

impl Seen<'_, '_> {
    fn edge(&mut self, target: u32, edge: Edge) {
        if self.objects.is_object(target) {
            (self.visit)(Reference::Object(target, edge));
        }
    }

    fn field(&mut self, target: u32, name: &'static str) {
        self.edge(target, Edge::Field(name.into()));
    }

    fn namespace(&mut self, dict: u32) {
        self.edge(dict, Edge::Namespace);
    }

    /// A reference that is only known by its value: weak references are not followed, because they hold nothing.
    fn weak_free(&mut self, target: u32, edge: Edge) {
        let is_weak = || self.objects.types.of(target).is_some_and(|ty| ty.kind == Kind::WeakReference);
        if self.objects.is_object(target) && !is_weak() {
            self.edge(target, edge);
        }
    }

    /// A block that contains no object and belongs to this object.
    fn block(&mut self, address: u32) {
        if let Some(index) = self.objects.free_block(address) {
            (self.visit)(Reference::Storage(index));
        }
    }
}
