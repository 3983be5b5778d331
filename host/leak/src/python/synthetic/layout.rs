//! The layout of the synthetic interpreter: addresses, offsets and types.

/// Addresses of the table, the runtime's state, the interpreter's state, the types, and the heap.
pub(super) const RUNTIME: u32 = 64;
pub(super) const STATE: u32 = RUNTIME + 1_024;
const TYPES: u32 = 2_048;
pub(super) const HEAP: u32 = 8_192;
/// Bytes between two types, and of the area for names and members.
const TYPE_STRIDE: u32 = 160;
/// The offsets that the table has: the number of the field, and its value.
pub(super) const TABLE: &[(u32, u32)] = &[
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
}

impl Class {
    /// The name, the basic size and the flags of each type, by its number.
    pub(super) const ALL: [(Self, &'static str, u32, u32); 10] = [
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

    pub(super) fn address(self) -> u32 {
        TYPES + self as u32 * TYPE_STRIDE
    }
}
