//! The table of a CPython after 3.14. Its structures come in the same order, but some have more fields, so the numbers of the
//! fields are not known. Each structure is found by what is true of it: its size is the size of a type's objects, or its
//! fields are at places that follow from each other. What the table does not have (exceptions, tracebacks, functions,
//! frames) must be as in 3.14, which members of these types tell.

use std::collections::HashMap;
use std::ops::Range;

use super::offsets::{CodeOffsets, FrameOffsets, LARGEST, Offsets, field};
use super::text::c_string;
use super::type_layout::{Start, members};
use crate::heap::word;

/// Members of a type that are read.
const MAX_MEMBERS: usize = 256;
/// Fields between two structures that may have been added.
const MAX_ADDED: usize = 16;
/// `Py_TPFLAGS_HEAPTYPE`: the type was made by Python code or by a module, so it is none of the interpreter's own.
const HEAP_TYPE: u32 = 1 << 9;
/// Bytes of an object's header with its reference count and its type, and of that with a length.
const OBJECT: [u32; 2] = [8, 4];
const SIZED_OBJECT: u32 = 12;
/// Bytes of a reference.
const REFERENCE: u32 = 4;
/// The interpreter's own types that are needed.
const NEEDED: [&str; 13] = [
    "BaseException",
    "bytes",
    "code",
    "dict",
    "frame",
    "function",
    "generator",
    "int",
    "list",
    "set",
    "str",
    "traceback",
    "tuple",
];
/// Members whose offset says that the fields before them are as in CPython 3.14.
const AS_BEFORE: [(&str, &str, u32); 6] = [
    ("BaseException", "__suppress_context__", 32),
    ("traceback", "tb_frame", 12),
    ("function", "__closure__", 36),
    ("function", "__doc__", 40),
    ("function", "__module__", 52),
    ("frame", "f_trace_lines", 24),
];

/// The offsets. `None` if the table has anything that is not understood, or was built without the interpreter's lock.
pub(super) fn offsets(memory: &[u8], table: u32) -> Option<Offsets> {
    let at = |index: usize| field(memory, table, index).filter(|&offset| offset <= LARGEST);
    if at(2)? != 0 {
        return None;
    }
    let find = |mut range: Range<usize>, is_it: &dyn Fn(usize) -> Option<bool>| {
        range.find(|&index| is_it(index) == Some(true))
    };
    let after = |index: usize| index..index + MAX_ADDED;
    // The runtime and the interpreter: the first structures.
    let mut offsets = Offsets {
        runtime_size: field(memory, table, 3)?,
        interpreters_head: field(memory, table, 5)?,
        threads_head: at(9)?,
        modules: at(12)?,
        ..Offsets::default()
    };
    // A thread begins with the one before, the next one and its interpreter.
    let thread = find(13..13 + 2 * MAX_ADDED, &|index| {
        Some(at(index + 1)? == 0 && at(index + 2)? == 4 && at(index + 3)? == 8 && at(index + 4)? < at(index)?)
    })?;
    offsets.current_frame = at(thread + 4)?;
    let object = find(thread + 5..thread + 5 + 4 * MAX_ADDED, &|index| {
        Some([at(index)?, at(index + 1)?] == OBJECT && at(index + 3)? == SIZED_OBJECT)
    })?;
    offsets.ob_type = at(object + 1)?;
    offsets.type_size = at(object + 2)?;
    offsets.tp_name = at(object + 3)?;
    offsets.tp_flags = at(object + 5)?;
    let start = Start::read(memory, table, &offsets)?;
    let types = own_types(memory, &offsets, start.type_type);
    let size = |name: &str| {
        let size = word(memory, types.get(name)?.checked_add(start.layout.basic_size)?);
        size.filter(|&size| size <= LARGEST)
    };
    let is_below = |mut range: Range<usize>, end: u32| range.all(|index| at(index).is_some_and(|at| at < end));

    let code_size = size("code")?;
    let code = find(thread + 5..object, &|index| {
        Some(at(index + 9)? == code_size && is_below(index + 1..index + 9, code_size))
    })?;
    offsets.code = CodeOffsets {
        filename: at(code + 1)?,
        qualname: at(code + 3)?,
        lines: at(code + 4)?,
        first_line: at(code + 5)?,
        local_names: at(code + 7)?,
        instructions: at(code + 9)?,
    };
    // The local variables are the last field of a frame.
    let frame = find(thread + 5..code, &|index| {
        let locals = at(index + 4)?;
        let is_before = is_below(index + 1..index + 4, locals) && is_below(index + 5..index + 7, locals);
        Some(at(index)? == locals + REFERENCE && at(index + 2)? == 0 && is_before)
    })?;
    offsets.frame = FrameOffsets {
        previous: at(frame + 1)?,
        executable: at(frame + 2)?,
        instruction: at(frame + 3)?,
        locals: at(frame + 4)?,
        owner: at(frame + 5)?,
        stack_pointer: at(frame + 6)?,
    };
    let tuple_size = size("tuple")?;
    let tuple = find(after(object + 6), &|index| {
        Some(at(index)? == tuple_size + REFERENCE && at(index + 1)? == tuple_size && at(index + 2)? == OBJECT[0])
    })?;
    (offsets.tuple_items, offsets.ob_size) = (at(tuple + 1)?, at(tuple + 2)?);
    // A structure with some fields, whose size is that of the objects of a type.
    let of_type = |name: &str, from: usize, count: usize| {
        let size = size(name)?;
        find(after(from), &|index| Some(at(index)? == size && is_below(index + 1..index + 1 + count, size)))
    };
    let list = of_type("list", tuple + 3, 2)?;
    offsets.list_items = at(list + 1)?;
    let set = of_type("set", list + 3, 3)?;
    (offsets.set_table, offsets.set_mask) = (at(set + 2)?, at(set + 3)?);
    let dict = of_type("dict", set + 4, 2)?;
    (offsets.ma_keys, offsets.ma_values) = (at(dict + 1)?, at(dict + 2)?);
    // Without its digits, an int has the size that its type says.
    let int_size = size("int")?;
    let long = find(after(dict + 3), &|index| Some(at(index + 1)? == OBJECT[0] && at(index + 2)? == int_size))?;
    (offsets.long_tag, offsets.long_digits) = (at(long + 1)?, at(long + 2)?);
    // Bytes have one more than their contents.
    let bytes_size = size("bytes")?;
    let bytes = find(after(long + 3), &|index| Some(at(index + 1)? == OBJECT[0] && at(index + 2)? + 1 == bytes_size))?;
    offsets.bytes_data = at(bytes + 2)?;
    let text = of_type("str", bytes + 3, 3)?;
    (offsets.str_size, offsets.str_state) = (at(text)?, at(text + 1)?);
    (offsets.str_length, offsets.ascii_size) = (at(text + 2)?, at(text + 3)?);
    // A generator ends with its frame, whose local variables are not counted.
    let generator_size = size("generator")?;
    let generator = find(after(text + 4), &|index| {
        Some(at(index + 2)?.checked_add(offsets.frame.locals)? == generator_size && at(index + 1)? < at(index + 2)?)
    })?;
    offsets.generator_frame = at(generator + 2)?;
    let offset = |ty: &str, name: &str| {
        let members = members(memory, &offsets, *types.get(ty)?, MAX_MEMBERS);
        members.iter().find(|member| member.name == name).map(|member| member.offset)
    };
    let is_as_before = AS_BEFORE.iter().all(|(ty, name, expected)| offset(ty, name) == Some(*expected));
    is_as_before.then_some(offsets)
}

/// The interpreter's own types that are needed, by name.
fn own_types(memory: &[u8], offsets: &Offsets, type_type: u32) -> HashMap<String, u32> {
    let mut found = HashMap::new();
    let words = memory.chunks_exact(REFERENCE as usize).enumerate();
    let is_type = |bytes: &[u8]| bytes == type_type.to_le_bytes();
    for (index, _) in words.filter(|(_, bytes)| is_type(bytes)) {
        let Some(ty) = u32::try_from(index).ok().and_then(|at| (at * REFERENCE).checked_sub(offsets.ob_type)) else {
            continue;
        };
        let field = |offset: u32| word(memory, ty.checked_add(offset)?);
        let is_own = field(offsets.tp_flags).is_some_and(|flags| flags & HEAP_TYPE == 0);
        let name = field(offsets.tp_name).filter(|_| is_own).and_then(|name| c_string(memory, name));
        if let Some(name) = name.filter(|name| NEEDED.contains(&name.as_str())) {
            found.entry(name).or_insert(ty);
        }
    }
    found
}
