//! The layout of the synthetic interpreter: addresses, offsets and types.

/// Addresses of the table, the runtime's state, the interpreter's state, the types, their names and members, and the heap.
pub(super) const RUNTIME: u32 = 64;
pub(super) const STATE: u32 = RUNTIME + 1_024;
const TYPES: u32 = 2_048;
pub(super) const NAMES: u32 = 5_120;
pub(super) const HEAP: u32 = 8_192;
/// Bytes between two types.
const TYPE_STRIDE: u32 = 160;
/// The offsets that the table has: the number of the field, and its value.
pub(super) const TABLE: &[(u32, u32)] = &[
    (3, 4_096),
    (5, STATE - 8 - RUNTIME),
    (9, 0),
    (12, 8),
    (22, 200),
    (23, 0),
    (24, 4),
    (25, 8),
    (26, 4),
    (31, 44),
    (32, 4),
    (33, 0),
    (34, 16),
    (35, 40),
    (36, 38),
    (37, 28),
    (39, 104),
    (40, 44),
    (42, 52),
    (43, 56),
    (44, 36),
    (46, 40),
    (48, 100),
    (50, 8),
    (51, 4),
    (52, 152),
    (53, 12),
    (55, 84),
    (56, 16),
    (57, 12),
    (58, 8),
    (59, 20),
    (60, 12),
    (61, 8),
    (62, 100),
    (64, 20),
    (65, 16),
    (66, 24),
    (67, 12),
    (68, 16),
    (71, 16),
    (72, 8),
    (73, 12),
    (75, 8),
    (76, 16),
    (77, 28),
    (78, 16),
    (79, 8),
    (80, 20),
    (83, 76),
    (84, 12),
    (85, 36),
];

/// The number that a field of CPython 3.14 has in the table of CPython 3.15: threads have two more fields after the current
/// frame and four at their end, items of the exception stack are a structure of one field, and the collector has one more.
#[cfg(test)]
pub(super) fn moved(field: u32) -> u32 {
    match field {
        ..27 => field,
        27..31 => field + 2,
        31..83 => field + 7,
        _ => field + 8,
    }
}
/// Offsets in a type that its members tell.
pub(super) const BASIC_SIZE: u32 = 16;
pub(super) const BASE: u32 = 128;
pub(super) const MEMBERS: u32 = 120;
/// `Py_TPFLAGS_HAVE_GC`, `Py_TPFLAGS_TYPE_SUBCLASS`, `Py_TPFLAGS_HEAPTYPE`.
pub(super) const HAVE_GC: u32 = 1 << 14;
const IS_TYPE: u32 = 1 << 31;
const HEAP_TYPE: u32 = 1 << 9;

/// A type of the synthetic interpreter. Its number is its index in [`Class::ALL`].
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
    Set,
    Int,
    Generator,
    Exception,
    Function,
    Traceback,
    Frame,
    /// A dict with a list of nodes, each a block without an object.
    Ordered,
}

impl Class {
    /// The name, the basic size and the flags of each type, by its number.
    pub(super) const ALL: [(Self, &'static str, u32, u32); 18] = [
        (Self::Type, "type", 152, HAVE_GC | IS_TYPE),
        (Self::Object, "object", 8, 0),
        (Self::Dict, "dict", 24, HAVE_GC),
        (Self::Str, "str", 28, 0),
        (Self::List, "list", 20, HAVE_GC),
        (Self::Tuple, "tuple", 12, HAVE_GC),
        (Self::Module, "module", 20, HAVE_GC),
        (Self::Node, "Node", 16, HAVE_GC | HEAP_TYPE),
        (Self::Bytes, "bytes", 17, 0),
        (Self::Code, "code", 100, 0),
        (Self::Set, "set", 100, HAVE_GC),
        (Self::Int, "int", 12, 0),
        (Self::Generator, "generator", 76, HAVE_GC),
        (Self::Exception, "BaseException", 36, HAVE_GC),
        (Self::Function, "function", 68, HAVE_GC),
        (Self::Traceback, "traceback", 24, HAVE_GC),
        (Self::Frame, "frame", 28, HAVE_GC),
        (Self::Ordered, "collections.OrderedDict", 32, HAVE_GC),
    ];

    pub(super) fn address(self) -> u32 {
        TYPES + self as u32 * TYPE_STRIDE
    }
}
