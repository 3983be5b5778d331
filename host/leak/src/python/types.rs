//! The types of objects: what is needed to read an object of the type.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::interpreter::Interpreter;
use super::text::c_string;
use super::type_layout::members;
use crate::heap::word;
use crate::symbols::LONGEST_NAME;
use plimsoll_runtime::text::printable;

/// `Py_TPFLAGS_INLINE_VALUES`: attributes are stored in the object.
const INLINE_VALUES: u32 = 1 << 2;
/// `Py_TPFLAGS_MANAGED_WEAKREF` and `Py_TPFLAGS_MANAGED_DICT`: two words come before the collector's header.
const MANAGED_WEAKREF: u32 = 1 << 3;
const MANAGED_DICT: u32 = 1 << 4;
/// `Py_TPFLAGS_HEAPTYPE`: the type was made by Python code or by a module.
const HEAP_TYPE: u32 = 1 << 9;
/// `Py_TPFLAGS_HAVE_GC`: the collector's header comes before the object.
const HAVE_GC: u32 = 1 << 14;
/// `Py_TPFLAGS_TYPE_SUBCLASS`.
const IS_TYPE: u32 = 1 << 31;
/// Bytes of the collector's header, and of the two words of managed types.
const GC_HEADER: u32 = 8;
const MANAGED_HEADER: u32 = 8;
/// Maximum bases of a type that are followed, and maximum members that all of them have.
const MAX_BASES: usize = 64;
const MAX_MEMBERS: usize = 256;
/// Largest plausible size of an object without its items.
const LARGEST: u32 = 1 << 16;

/// How an object is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Has no references: bytes, int, float, bool.
    Leaf,
    /// A str, whose characters or a copy of them may be elsewhere.
    Text,
    /// Has bytes elsewhere, without references.
    ByteArray,
    List,
    Tuple,
    Dict,
    Set,
    Type,
    Exception,
    Module,
    Function,
    Cell,
    Traceback,
    Frame,
    /// Generators, coroutines and asynchronous generators.
    Generator,
    WeakReference,
    /// Has references before its instructions.
    Code,
    /// Its members are known by name, the rest by the words in it that point to objects.
    Other,
}

/// A type.
#[derive(Debug)]
pub(super) struct TypeInfo {
    /// The name, for example `ImageError`, or `collections.deque` for types in C.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) basic_size: u32,
    pub(super) item_size: u32,
    /// From this offset on, fields are known by name only: the type in C that it derives from ends here.
    pub(super) fields_from: u32,
    /// Bytes before the object in its block.
    pub(super) header: u32,
    pub(super) has_managed_dict: bool,
    pub(super) has_inline_values: bool,
    pub(super) is_heap_type: bool,
    /// The offset of the dict of attributes, if it is in the object.
    pub(super) dict_offset: Option<u32>,
    /// The offset of the list of weak references, which hold nothing.
    pub(super) weakref_offset: Option<u32>,
    /// The fields with references that have a name.
    pub(super) members: Vec<(u32, Rc<str>)>,
}

/// The kinds of types in C, by name. Types that derive from them are read in the same way.
const BY_NAME: &[(&str, Kind)] = &[
    ("int", Kind::Leaf),
    ("str", Kind::Text),
    ("bytes", Kind::Leaf),
    ("float", Kind::Leaf),
    ("complex", Kind::Leaf),
    ("array.array", Kind::ByteArray),
    ("bytearray", Kind::ByteArray),
    ("list", Kind::List),
    ("tuple", Kind::Tuple),
    ("dict", Kind::Dict),
    ("set", Kind::Set),
    ("frozenset", Kind::Set),
    ("type", Kind::Type),
    ("BaseException", Kind::Exception),
    ("module", Kind::Module),
    ("function", Kind::Function),
    ("cell", Kind::Cell),
    ("code", Kind::Code),
    ("traceback", Kind::Traceback),
    ("frame", Kind::Frame),
    ("generator", Kind::Generator),
    ("coroutine", Kind::Generator),
    ("async_generator", Kind::Generator),
    ("weakref.ReferenceType", Kind::WeakReference),
    ("weakref.ProxyType", Kind::WeakReference),
    ("weakref.CallableProxyType", Kind::WeakReference),
];

/// The types in a memory.
pub(super) struct Types<'a> {
    memory: &'a [u8],
    interpreter: Interpreter,
    known: RefCell<HashMap<u32, Option<Rc<TypeInfo>>>>,
}

impl<'a> Types<'a> {
    pub(super) fn new(memory: &'a [u8], interpreter: Interpreter) -> Self {
        Self { memory, interpreter, known: RefCell::default() }
    }

    /// The type at an address; `None` if there is no type.
    pub(super) fn get(&self, address: u32) -> Option<Rc<TypeInfo>> {
        if let Some(known) = self.known.borrow().get(&address) {
            return known.clone();
        }
        let read = self.read(address).map(Rc::new);
        self.known.borrow_mut().insert(address, read.clone());
        read
    }

    /// The type of the object at an address; `None` if there is no object.
    pub(super) fn of(&self, object: u32) -> Option<Rc<TypeInfo>> {
        let ty = word(self.memory, object.checked_add(self.interpreter.offsets.ob_type)?)?;
        if ty == 0 || !ty.is_multiple_of(4) {
            return None;
        }
        self.get(ty)
    }

    /// Returns true if a type was made by Python code or by a module.
    pub(super) fn is_heap_type(&self, ty: u32) -> bool {
        self.field(ty, self.interpreter.offsets.tp_flags).is_some_and(|flags| flags & HEAP_TYPE != 0)
    }

    fn field(&self, ty: u32, offset: u32) -> Option<u32> {
        word(self.memory, ty.checked_add(offset)?)
    }

    /// Returns true if a type is at the address: the type of its type, or of the type of that, is `type`.
    fn is_type(&self, address: u32) -> bool {
        let (offsets, type_type) = (&self.interpreter.offsets, self.interpreter.type_type);
        let Some(meta) = self.field(address, offsets.ob_type).filter(|_| address.is_multiple_of(4)) else {
            return false;
        };
        let is_meta = |flags: u32| flags & IS_TYPE != 0;
        meta == type_type
            || (self.field(meta, offsets.tp_flags).is_some_and(is_meta)
                && self.bases(meta).any(|base| base == type_type))
    }

    /// A type and its bases, without those of multiple inheritance.
    fn bases(&self, ty: u32) -> impl Iterator<Item = u32> {
        let next = move |ty: &u32| self.field(*ty, self.interpreter.layout.base).filter(|&base| base != 0);
        std::iter::successors(Some(ty), next).take(MAX_BASES)
    }

    fn read(&self, address: u32) -> Option<TypeInfo> {
        let (offsets, layout) = (&self.interpreter.offsets, &self.interpreter.layout);
        if !self.is_type(address) {
            return None;
        }
        let flags = self.field(address, offsets.tp_flags)?;
        let basic_size = self.field(address, layout.basic_size).filter(|&size| size <= LARGEST)?;
        let item_size = self.field(address, layout.item_size).filter(|&size| size <= LARGEST)?;
        let name = c_string(self.memory, self.field(address, offsets.tp_name)?)?;
        let is_heap_type = flags & HEAP_TYPE != 0;
        let (mut kind, mut fields_from) = (Kind::Other, 0);
        let mut found: Vec<(u32, Rc<str>)> = Vec::new();
        let mut room = MAX_MEMBERS;
        for base in self.bases(address) {
            let base_flags = self.field(base, offsets.tp_flags)?;
            let name = c_string(self.memory, self.field(base, offsets.tp_name)?)?;
            let is_c = base_flags & HEAP_TYPE == 0 || name == "array.array";
            let of_base = BY_NAME.iter().find(|(known, _)| is_c && *known == name).map(|(_, kind)| *kind);
            if let Some(of_base) = of_base.filter(|_| kind == Kind::Other) {
                kind = of_base;
                fields_from = self.field(base, layout.basic_size)?.min(basic_size);
            }
            let members = members(self.memory, offsets, base, room);
            room -= members.len();
            for member in members.into_iter().filter(|member| member.is_object) {
                if !found.iter().any(|(offset, _)| *offset == member.offset) {
                    found.push((member.offset, printable(&member.name, LONGEST_NAME).into()));
                }
            }
        }
        let inside = |offset: u32| (offset > 0 && offset < basic_size).then_some(offset);
        let is_managed = flags & (MANAGED_DICT | MANAGED_WEAKREF) != 0;
        let has_gc = flags & HAVE_GC != 0;
        Some(TypeInfo {
            name: printable(&name, LONGEST_NAME),
            kind,
            basic_size,
            item_size,
            fields_from,
            header: if has_gc { GC_HEADER } else { 0 } + if is_managed { MANAGED_HEADER } else { 0 },
            has_managed_dict: flags & MANAGED_DICT != 0,
            has_inline_values: flags & INLINE_VALUES != 0,
            is_heap_type,
            dict_offset: self.field(address, layout.dict_offset).and_then(inside),
            weakref_offset: self.field(address, layout.weakref_offset).and_then(inside),
            members: found,
        })
    }
}
