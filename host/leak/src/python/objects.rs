//! The objects in linear memory.

use std::cell::Cell;

use super::interpreter::Interpreter;
use super::text::str_object;
use super::types::{Kind, Types};
use crate::heap::{Block, Blocks, word};

/// Bytes of a word.
const WORD: u32 = 4;
/// Offset of the number of entries in a dict's key table.
const KEYS_ENTRIES: u32 = 16;
/// Maximum words that are read for references, for each word of the memory and in addition. Almost every word belongs to
/// one object; the keys of a class are read for each of its objects. In a memory whose objects overlap, each list could
/// have all words as its items.
const READS_PER_WORD: usize = 16;
const MORE_READS: usize = 1 << 20;

/// Objects in a memory.
pub(crate) struct Objects<'a> {
    pub(super) memory: &'a [u8],
    pub(super) interpreter: Interpreter,
    pub(super) types: Types<'a>,
    pub(super) blocks: &'a Blocks,
    /// For each block the object in it.
    pub(super) in_block: Vec<Option<u32>>,
    /// The words that may still be read for references.
    reads: Cell<usize>,
}

impl<'a> Objects<'a> {
    pub(crate) fn new(memory: &'a [u8], interpreter: Interpreter, blocks: &'a Blocks) -> Self {
        let types = Types::new(memory, interpreter);
        let reads = Cell::new(memory.len() / WORD as usize * READS_PER_WORD + MORE_READS);
        let mut this = Self { memory, interpreter, types, blocks, in_block: Vec::new(), reads };
        this.in_block = blocks.blocks.iter().map(|block| this.object_in(*block)).collect();
        this
    }

    /// The object that a block holds. Its type tells how much comes before it.
    fn object_in(&self, block: Block) -> Option<u32> {
        [0, 8, 16].into_iter().find_map(|header| {
            let object = block.address.checked_add(header)?;
            let ty = self.types.of(object).filter(|ty| ty.header == header)?;
            (header + ty.basic_size <= block.usable() + WORD && self.at(object, 0)? != 0).then_some(object)
        })
    }

    /// The object in the block with an index.
    pub(crate) fn in_block(&self, index: usize) -> Option<u32> {
        self.in_block.get(index).copied().flatten()
    }

    /// Counts words that are read for references, and ends when there were too many.
    pub(super) fn counted(&self, words: impl Iterator<Item = u32>) -> impl Iterator<Item = u32> {
        words.take_while(|_| {
            self.reads.set(self.reads.get().saturating_sub(1));
            !self.are_too_many()
        })
    }

    /// Returns true if more words were read for references than a heap can have.
    pub(super) fn are_too_many(&self) -> bool {
        self.reads.get() == 0
    }

    pub(super) fn at(&self, address: u32, offset: u32) -> Option<u32> {
        word(self.memory, address.checked_add(offset)?)
    }

    pub(super) fn byte(&self, address: u32, offset: u32) -> Option<u8> {
        self.memory.get(address.checked_add(offset)? as usize).copied()
    }

    /// Returns true if there is an object at the address: in a block of its own, or a static one.
    pub(super) fn is_object(&self, address: u32) -> bool {
        if address == 0 || !address.is_multiple_of(4) {
            return false;
        }
        match self.blocks.holding(address) {
            Some((index, _)) => self.in_block[index] == Some(address),
            None if self.blocks.blocks.first().is_some_and(|first| address < first.address) => {
                self.types.of(address).is_some()
            }
            None => false,
        }
    }

    /// The contents of a str object.
    pub(super) fn text(&self, object: u32) -> Option<String> {
        let is_text = self.types.of(object).is_some_and(|ty| ty.name == "str");
        is_text.then(|| str_object(self.memory, object, &self.interpreter.offsets)).flatten()
    }

    /// The number of entries of a dict.
    pub(super) fn entry_count(&self, dict: u32) -> Option<u32> {
        self.at(self.at(dict, self.interpreter.offsets.ma_keys)?, KEYS_ENTRIES)
    }

    /// The length of bytes, bytearrays and texts.
    pub(super) fn length(&self, object: u32) -> Option<u32> {
        let offsets = &self.interpreter.offsets;
        let ty = self.types.of(object)?;
        match ty.kind {
            Kind::Text => self.at(object, offsets.str_length),
            Kind::Leaf if ty.name == "bytes" => self.at(object, offsets.ob_size),
            Kind::ByteArray => self.at(object, offsets.ob_size),
            _ => None,
        }
    }

    /// The blocks.
    pub(super) fn blocks(&self) -> &'a Blocks {
        self.blocks
    }
}
