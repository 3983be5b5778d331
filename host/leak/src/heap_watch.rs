//! Reads the heap between calls: which blocks are in use, and which call made each.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::containers::Containers;
use super::heap::{Block, Blocks, Heap, LARGEST_TOP_FOOT};
use super::javascript::{count_objects, is_chunk, is_unused_scratch};
use super::module::{CoreModule, Segment};
use super::python::host_copies::{self, HostCopies, HostCopy};
use super::record::Survivor;
use super::subject::{PluginUnderTest, Subject};
use super::verdict::Held;

/// Maximum blocks that are read per call, on average. A heap with more blocks is read after fewer calls, so that the time of a
/// run is linear in its calls.
const BLOCKS_PER_CALL: usize = 4_096;

/// Most bytes of a block that are compared with what it had after the first round.
const MOST_COMPARED: usize = 64;

/// The heap, as it is read between calls.
pub(super) struct HeapWatch {
    /// The heap comes after all data.
    statics_end: u32,
    pub(super) heap: Option<Heap>,
    /// Blocks that may be read for each call.
    per_call: usize,
    blocks: Blocks,
    /// What componentize-py's runtime allocates and never frees: the handler that notes it, and the blocks by address. Of
    /// JavaScript the unused scratch memory.
    host_copies: Option<HostCopies>,
    runtime_blocks: HashMap<u32, u32>,
    noted: Vec<HostCopy>,
    /// True if blocks are chunks of the objects of JavaScript.
    has_chunks: bool,
    /// For each block the index of the call that allocated it; `None` if it was there before the first call.
    births: Vec<Option<usize>>,
    /// Remaining searches for the heap.
    attempts: usize,
    /// The calls since the heap was read, each with its sample.
    unread: Vec<(usize, usize)>,
    /// The samples whose calls made blocks of a size, where the heap was read before and after the call.
    made: HashSet<(usize, u32)>,
    pub(super) containers: Containers,
}

impl HeapWatch {
    /// Maximum number of searches for the heap. A guest that allocates at all does so during its first calls.
    const MAX_ATTEMPTS: usize = 16;

    pub(super) fn new(subject: &mut Subject<'_>, plugin: &PluginUnderTest) -> Self {
        let module = &plugin.module;
        let data_end = module.data.iter().map(Segment::end).max().unwrap_or(0);
        let stack_base = module.stack_pointer.map_or(0, |(_, base)| base);
        let first = module.data.first().map_or(data_end, |segment| segment.address);
        let is_snapshot =
            module.heap_base.is_none_or(|base| data_end > base) && is_snapshot(subject.memory(), data_end);
        // The tail of a snapshot's heap looks like a heap behind the data, too.
        let attempts =
            if is_snapshot || subject.python.is_some() || plugin.language.is_some() { 0 } else { Self::MAX_ATTEMPTS };
        let reads_snapshot = match plugin.language {
            // A heap of which it is not known what is garbage says nothing.
            Some(_) => subject.engine.is_some(),
            None => is_snapshot || subject.python.is_some(),
        };
        let mut this = Self {
            statics_end: module.heap_base.unwrap_or_else(|| data_end.max(stack_base)),
            heap: reads_snapshot.then(|| find_snapshot(subject.memory(), first, data_end)).flatten(),
            has_chunks: subject.engine.is_some(),
            per_call: BLOCKS_PER_CALL,
            blocks: Blocks::default(),
            host_copies: host_copies(subject, plugin),
            runtime_blocks: HashMap::new(),
            noted: Vec::new(),
            births: Vec::new(),
            attempts,
            unread: Vec::new(),
            made: HashSet::new(),
            containers: Containers::default(),
        };
        this.find(subject.memory());
        if let Some(blocks) = this.heap.and_then(|heap| heap.walk(subject.memory())) {
            this.births = vec![None; blocks.blocks.len()];
            this.blocks = blocks;
            this.allow_blocks();
        }
        this
    }

    fn find(&mut self, memory: &[u8]) {
        if self.heap.is_none() && self.attempts > 0 {
            self.attempts -= 1;
            self.heap = Heap::find(memory, self.statics_end);
        }
    }

    /// Allows as many blocks as there are now to be read after each call.
    pub(super) fn allow_blocks(&mut self) {
        self.per_call = self.per_call.max(2 * self.blocks.blocks.len());
    }

    /// Reads the heap after the call with the index `call` of a sample, unless it is too large to be read after every
    /// call and `must` is false. Returns false if the heap was not read.
    pub(super) fn update(&mut self, subject: &Subject<'_>, call: usize, sample: usize, must: bool) -> bool {
        self.unread.push((call, sample));
        self.noted.extend(self.host_copies.iter().flat_map(HostCopies::take));
        if !must && self.blocks.blocks.len() > self.per_call * self.unread.len() {
            return false;
        }
        let calls = std::mem::take(&mut self.unread);
        let memory = subject.memory();
        self.find(memory);
        let Some(blocks) = self.heap.and_then(|heap| heap.walk(memory)) else {
            // A heap that was found and is broken later was the bytes of another allocator, which looked like a heap.
            self.heap = None;
            self.blocks = Blocks::default();
            self.births.clear();
            return false;
        };
        let mut births = Vec::with_capacity(blocks.blocks.len());
        let mut old = self.blocks.blocks.iter().zip(&self.births).peekable();
        let (mut vanished, mut new) = (Vec::new(), Vec::new());
        let survivor = |(&block, &born): (&Block, &Option<usize>)| Survivor { block, born };
        for block in &blocks.blocks {
            while let Some(gone) = old.next_if(|(known, _)| known.address < block.address) {
                vanished.push(survivor(gone));
            }
            let known = old.next_if(|(known, _)| known.address == block.address);
            match known {
                Some((known, born)) if known.size == block.size => births.push(*born),
                replaced => {
                    vanished.extend(replaced.map(survivor));
                    births.push(Some(maker(&self.made, &calls, block.size, new.len())));
                    new.push(*block);
                }
            }
        }
        vanished.extend(old.map(survivor));
        if let [(_, sample)] = calls[..] {
            self.made.extend(new.iter().map(|block| (sample, block.size)));
        }
        self.blocks = blocks;
        self.births = births;
        self.note_runtime_blocks(memory);
        new.retain(|block| !self.is_runtime_block(block));
        self.containers.update(call, &vanished, &new);
        self.containers.look(call, must, memory);
        true
    }

    /// Adds the blocks that componentize-py's runtime made since the heap was read, and removes those that are gone.
    fn note_runtime_blocks(&mut self, memory: &[u8]) {
        let blocks = &self.blocks;
        let size = |address: u32| blocks.holding(address).filter(|(_, block)| block.address == address);
        self.runtime_blocks.retain(|&address, known| size(address).is_some_and(|(_, block)| block.size == *known));
        if self.has_chunks {
            let scratch = blocks.blocks.iter().filter(|block| is_unused_scratch(**block, memory));
            self.runtime_blocks = scratch.map(|block| (block.address, block.size)).collect();
        }
        for copy in self.noted.drain(..) {
            if let Some((_, block)) = size(copy.address).filter(|(_, block)| copy.is_in(*block, memory)) {
                self.runtime_blocks.insert(block.address, block.size);
            }
        }
    }

    fn is_runtime_block(&self, block: &Block) -> bool {
        self.has_chunks && is_chunk(*block) || self.runtime_blocks.contains_key(&block.address)
    }

    /// What componentize-py's runtime has allocated and never frees.
    pub(super) fn runtime(&self) -> Held {
        let bytes = self.runtime_blocks.values().map(|&size| u64::from(size)).sum();
        let mut held = Held { bytes, blocks: self.runtime_blocks.len() as u64 };
        for chunk in self.blocks.blocks.iter().filter(|block| self.has_chunks && is_chunk(**block)) {
            held.bytes += u64::from(chunk.size);
            held.blocks += 1;
        }
        held
    }

    /// The number of objects of JavaScript of each class; empty for other plugins.
    pub(super) fn objects(&self, memory: &[u8]) -> BTreeMap<String, u64> {
        let is_chunk = |block: &&Block| self.has_chunks && is_chunk(**block);
        let chunks: Vec<u32> = self.blocks.blocks.iter().filter(is_chunk).map(|block| block.address).collect();
        self.heap.map_or_else(BTreeMap::new, |heap| count_objects(memory, &chunks, heap.start()))
    }

    /// The heap memory in use; `None` if the heap is not known.
    pub(super) fn held(&self) -> Option<Held> {
        let runtime = self.runtime();
        self.heap.map(|_| Held {
            bytes: self.blocks.bytes - runtime.bytes,
            blocks: self.blocks.blocks.len() as u64 - runtime.blocks,
        })
    }

    /// The number of blocks of each size.
    pub(super) fn sizes(&self) -> BTreeMap<u32, u64> {
        let mut sizes = BTreeMap::new();
        for block in self.blocks.blocks.iter().filter(|block| !self.is_runtime_block(block)) {
            *sizes.entry(block.size).or_insert(0) += 1;
        }
        sizes
    }

    /// The bytes of `linear` bytes of memory that the heap does not cover; 0 if the heap is not known.
    pub(super) fn beside(&self, linear: u64) -> u64 {
        self.heap.map_or(0, |_| linear.saturating_sub(self.blocks.covered))
    }

    /// The blocks in use, without those of the language's runtime, and what each begins with.
    pub(super) fn blocks(&self, memory: &[u8]) -> Vec<(Block, Vec<u8>)> {
        let own = self.blocks.blocks.iter().filter(|block| !self.is_runtime_block(block));
        own.map(|block| (*block, beginning(*block, memory).to_vec())).collect()
    }

    /// Every block in use.
    pub(super) fn all_blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// The blocks in use with the calls that made them, without those of the language's runtime.
    pub(super) fn survivors(&self) -> Vec<Survivor> {
        let births = self.births.iter().copied();
        let all = self.blocks.blocks.iter().zip(births).map(|(&block, born)| Survivor { block, born });
        all.filter(|survivor| !self.is_runtime_block(&survivor.block)).collect()
    }
}

/// What a block begins with.
pub(super) fn beginning(block: Block, memory: &[u8]) -> &[u8] {
    let contents = memory.get(block.address as usize..).unwrap_or_default();
    &contents[..contents.len().min(block.usable() as usize).min(MOST_COMPARED)]
}

/// Returns true if the component is a snapshot (Wizer): its initialised data reaches the end of its memory, because the last
/// word that the allocator writes is there.
fn is_snapshot(memory: &[u8], data_end: u32) -> bool {
    (memory.len() as u64).saturating_sub(u64::from(data_end)) < u64::from(LARGEST_TOP_FOOT)
}

/// The heap of a component that is a snapshot: its initialised data, from `first` to `data_end`, covers the heap.
fn find_snapshot(memory: &[u8], first: u32, data_end: u32) -> Option<Heap> {
    Heap::find_in_snapshot(memory, first).filter(|heap| heap.start() < data_end)
}

/// The handler that notes what componentize-py's runtime keeps; `None` for plugins of other languages.
fn host_copies(subject: &mut Subject<'_>, plugin: &PluginUnderTest) -> Option<HostCopies> {
    let is_runtime = |library: &CoreModule| host_copies::is_runtime(library);
    let index = plugin.libraries.iter().position(is_runtime)?;
    let handler = HostCopies::of(&plugin.libraries[index])?;
    let compiled = subject.libraries().into_iter().nth(index).flatten()?;
    match handler.attach(subject, &compiled) {
        Ok(()) => Some(handler),
        Err(error) => {
            tracing::warn!(
                "the blocks of componentize-py's runtime cannot be distinguished from the plugin's, so they may count \
                 as its leaks: {error:#}"
            );
            None
        }
    }
}

/// The call of `calls` that made a block of `size` bytes: one whose sample has made such a block before; otherwise the
/// last one. `number` is the block's number among the new ones, to distribute them.
fn maker(made: &HashSet<(usize, u32)>, calls: &[(usize, usize)], size: u32, number: usize) -> usize {
    let last = calls.last().map_or(0, |(call, _)| *call);
    if calls.len() < 2 {
        return last;
    }
    let likely = calls.iter().filter(|(_, sample)| made.contains(&(*sample, size)));
    let likely: Vec<usize> = likely.map(|(call, _)| *call).collect();
    if likely.is_empty() { last } else { likely[number % likely.len()] }
}
