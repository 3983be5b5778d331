//! Blocks that belong to an object, where their place is not known from the object's type.

use super::{MAX_ITEMS, Reference, Seen, WORD};
use crate::heap::{Block, word};
use crate::python::objects::Objects;
use crate::python::types::{Kind, TypeInfo};

/// Bits of a str's state: its characters are behind its header, and they are ASCII.
const COMPACT: u32 = 1 << 5;
const ASCII: u32 = 1 << 6;

/// Types in C whose blocks have the bytes of a file, in which words are left from what was there before.
const BUFFERS: &[&str] = &["_io.BufferedReader", "_io.BufferedWriter", "_io.BufferedRandom"];

/// Words of a block of a code object that may refer to objects: `_PyCoCached` has four.
const CACHED_BY_CODE: u32 = 4;

/// How many words of a block of such an object may lead to something; `None` if all may.
fn words_of_block(ty: &TypeInfo) -> Option<u32> {
    match ty.kind {
        Kind::ByteArray => Some(0),
        Kind::Code => Some(CACHED_BY_CODE),
        _ => BUFFERS.contains(&ty.name.as_str()).then_some(0),
    }
}

/// Of a code object: the fields that are followed end with `_co_cached`, the second one after its weak references. Behind it are
/// two more blocks, in words from the weak references on: `_co_monitoring` and, as the last field before the instructions,
/// `co_extra`. The others are numbers, of which `_co_unique_id` is not set at all in a build with a lock.
/// Source: `PyCodeObject` in `Include/cpython/code.h` of CPython 3.14.
const CACHED: u32 = 2;
const MONITORING_AND_EXTRA: [u32; 2] = [4, 7];

/// Where the fields that are followed end.
fn end_of_code(ty: &TypeInfo) -> u32 {
    ty.weakref_offset.map_or(ty.basic_size, |offset| offset.saturating_add((CACHED + 1) * WORD).min(ty.basic_size))
}

/// The offsets of the other two, if the fields are these.
fn blocks_of_code(ty: &TypeInfo) -> impl Iterator<Item = u32> {
    let is_known = |offset: &u32| offset.checked_add(8 * WORD) == Some(ty.basic_size);
    ty.weakref_offset.filter(is_known).into_iter().flat_map(|offset| MONITORING_AND_EXTRA.map(|at| offset + at * WORD))
}

impl Objects<'_> {
    /// The words of an object whose fields are not known: all, or those that a type in C has after the fields of the type that
    /// it derives from. Each that is the address of an object counts as a reference to it; a block without an object
    /// belongs to this object, and so do the blocks that its words lead to. Exceptions: see `words_of_block`.
    pub(super) fn storage(&self, object: u32, ty: &TypeInfo, seen: &mut Seen<'_, '_>) {
        let offsets = &self.interpreter.offsets;
        let (from, end) = match ty.kind {
            Kind::Other | Kind::Module | Kind::ByteArray => {
                let count = if ty.item_size == 0 { 0 } else { self.at(object, offsets.ob_size).unwrap_or(0) };
                let items = ty.item_size.saturating_mul(count.min(MAX_ITEMS));
                (offsets.ob_type + WORD, ty.basic_size.saturating_add(items))
            }
            Kind::Code => (offsets.ob_type + WORD, end_of_code(ty)),
            // A class of Python code is larger than a type in C.
            Kind::Type if self.types.is_heap_type(object) => (offsets.type_size, ty.basic_size),
            Kind::Type => return,
            _ => (ty.fields_from, ty.basic_size),
        };
        if ty.kind == Kind::Code {
            for offset in blocks_of_code(ty) {
                seen.block(self.at(object, offset).unwrap_or(0));
            }
        }
        let known = |offset: u32| {
            Some(offset) == ty.weakref_offset
                || Some(offset) == ty.dict_offset
                || ty.members.iter().any(|(member, _)| *member == offset)
        };
        let all = self.counted((from..end).step_by(WORD as usize));
        for offset in all.filter(|&offset| !known(offset)) {
            let Some(target) = self.at(object, offset) else { break };
            match self.free_block(target) {
                Some(index) => match words_of_block(ty) {
                    None => (seen.visit)(Reference::Words(index)),
                    Some(count) => {
                        (seen.visit)(Reference::Storage(index));
                        let words = self.blocks.blocks[index].usable() / WORD;
                        for at in self.counted(0..count.min(words)) {
                            seen.weak_free(self.at(target, WORD * at).unwrap_or(0), super::Edge::Hidden);
                        }
                    }
                },
                None => seen.weak_free(target, super::Edge::Hidden),
            }
        }
    }

    /// The blocks of a str: its characters, and a copy in UTF-8.
    pub(super) fn text_storage(&self, object: u32, seen: &mut Seen<'_, '_>) {
        let offsets = &self.interpreter.offsets;
        let state = self.at(object, offsets.str_state).unwrap_or(COMPACT | ASCII);
        if state & COMPACT == 0 || state & ASCII == 0 {
            // The length of the copy, and its address; then the address of the characters, if they are elsewhere.
            seen.block(self.at(object, offsets.ascii_size + WORD).unwrap_or(0));
        }
        if state & COMPACT == 0 {
            seen.block(self.at(object, offsets.ascii_size + 2 * WORD).unwrap_or(0));
        }
    }

    /// The index of the block with an address, if it has no object.
    pub(super) fn free_block(&self, address: u32) -> Option<usize> {
        let (index, block) = self.blocks.holding(address)?;
        (block.address == address && self.in_block[index].is_none()).then_some(index)
    }

    /// Passes on what the words of a block without an object lead to: objects, and other blocks without one.
    pub(in crate::python) fn words_of(&self, block: Block, visit: &mut dyn FnMut(Reference)) {
        let mut seen = Seen { objects: self, visit };
        for at in self.counted(block.bytes().step_by(WORD as usize)) {
            let Some(target) = word(self.memory, at) else { break };
            match self.free_block(target) {
                Some(index) => (seen.visit)(Reference::Words(index)),
                None => seen.weak_free(target, super::Edge::Loose),
            }
        }
    }
}
