//! What types look like. `type` describes itself: its members tell the offsets that the interpreter's table does not have.

use super::offsets::Offsets;
use super::text::{ascii_name, c_string};
use crate::heap::word;

/// Offset in bytes of `tp_members` from `tp_flags`: nine words of four bytes; those between the two are pointers. The
/// members of `type` itself are found there; if they are not, the version of Python is unknown.
const MEMBERS_FROM_FLAGS: u32 = 36;
/// Bytes of a `PyMemberDef`: name, type, offset, flags, documentation.
const MEMBER_SIZE: u32 = 20;
/// Maximum members of the type `type` that are read.
const MAX_MEMBERS: usize = 256;
/// Largest plausible offset of a field in a type.
const LARGEST_OFFSET: u32 = 1 << 16;
/// The types of members that hold a reference: `_Py_T_OBJECT` and `Py_T_OBJECT_EX`.
const OBJECT_MEMBERS: [u32; 2] = [6, 16];

/// Offsets in a type that the table does not have.
#[derive(Debug, Clone, Copy)]
pub(super) struct TypeLayout {
    pub(super) basic_size: u32,
    pub(super) item_size: u32,
    pub(super) base: u32,
    pub(super) dict_offset: u32,
    pub(super) weakref_offset: u32,
}

/// The addresses of the main interpreter's state, of `dict` and of `type`, and what types look like.
pub(super) struct Start {
    pub(super) state: u32,
    pub(super) dict_type: u32,
    pub(super) type_type: u32,
    pub(super) layout: TypeLayout,
}

impl Start {
    /// Reads them. `None` if the values are inconsistent, for example before the interpreter is initialised.
    pub(super) fn read(memory: &[u8], runtime: u32, offsets: &Offsets) -> Option<Self> {
        let at = |address: u32, offset: u32| word(memory, address.checked_add(offset)?);
        let state = at(runtime, offsets.interpreters_head)?;
        let modules = at(state, offsets.modules)?;
        let dict_type = at(modules, offsets.ob_type)?;
        let type_type = at(dict_type, offsets.ob_type)?;
        let name = |ty: u32| c_string(memory, at(ty, offsets.tp_name)?);
        if name(dict_type)? != "dict" || name(type_type)? != "type" || at(type_type, offsets.ob_type)? != type_type {
            return None;
        }
        let members = members(memory, offsets, type_type, MAX_MEMBERS);
        let offset = |name: &str| {
            let member = members.iter().find(|member| member.name == name)?;
            Some(member.offset).filter(|&offset| offset <= LARGEST_OFFSET)
        };
        let layout = TypeLayout {
            basic_size: offset("__basicsize__")?,
            item_size: offset("__itemsize__")?,
            base: offset("__base__")?,
            dict_offset: offset("__dictoffset__")?,
            weakref_offset: offset("__weakrefoffset__")?,
        };
        Some(Self { state, dict_type, type_type, layout })
    }
}

/// A member of a type: a field of its objects that Python code can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) offset: u32,
    /// True if the field is a reference to an object.
    pub(super) is_object: bool,
}

/// The members that a type itself adds, at most `most`.
pub(super) fn members(memory: &[u8], offsets: &Offsets, ty: u32, most: usize) -> Vec<Member> {
    let mut found = Vec::new();
    let Some(table) = ty.checked_add(offsets.tp_flags + MEMBERS_FROM_FLAGS).and_then(|at| word(memory, at)) else {
        return found;
    };
    for index in 0..most {
        let Some(entry) = table.checked_add(index as u32 * MEMBER_SIZE).filter(|_| table != 0) else { break };
        let field = |offset: u32| word(memory, entry.checked_add(offset)?);
        let (Some(name), Some(kind), Some(offset)) = (field(0), field(4), field(8)) else { break };
        let Some(name) = c_string(memory, name).filter(|name| ascii_name(name)) else { break };
        found.push(Member { name, offset, is_object: OBJECT_MEMBERS.contains(&kind) });
    }
    found
}
