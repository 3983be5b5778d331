//! What survives? Groups the surviving blocks by what holds them, and by size and class, and compares the end with the
//! first round.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::corpus::Sample;
use super::heap::Block;
use super::judge::Leaking;
use super::retention::{Chain, Holder, References, Root};
use super::run::Run;

/// Maximum bytes of a block's contents that are shown.
const MAX_SHOWN_BYTES: usize = 16;
/// Maximum inputs that are named for a [`BlockKind`].
const MAX_NAMED_INPUTS: usize = 3;

/// Blocks that were allocated after the first round, are in use at the end, and are held in the same way.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// Index of the class whose calls allocated the blocks.
    pub class: usize,
    /// Number of blocks.
    pub blocks: usize,
    /// Sum of the blocks' bytes.
    pub bytes: u64,
    /// Bytes of the smallest and of the largest block.
    pub sizes: (u32, u32),
    /// The chain that holds one of the blocks; similar chains hold the others. `None` if the blocks are unreachable.
    pub chain: Option<Chain>,
    /// The longest of these chains as a Python programmer would write it, if the plugin is in Python.
    pub path: Option<PythonPath>,
    /// True if a block of the group is unreachable and another unreachable block refers to it.
    pub is_ring: bool,
    /// True if it is an object of Python.
    pub is_object: bool,
}

impl Group {
    /// What holds the group, without the parts that differ between builds.
    pub fn holder(&self) -> String {
        match &self.chain {
            Some(Chain { root: Root::Address { .. }, .. }) => "a static without a name".to_owned(),
            Some(chain) => chain.root.to_string(),
            None if self.is_ring => "nothing (unreachable: a reference cycle)".to_owned(),
            None if self.is_object => {
                "nothing that can be followed (C code, or a reference count that is too high)".to_owned()
            }
            None => "nothing (unreachable: forgotten, or leaked on purpose)".to_owned(),
        }
    }
}

/// Surviving blocks of one size and class.
#[derive(Debug, Clone, Serialize)]
pub struct BlockKind {
    /// Index of the class whose calls allocated the blocks.
    pub class: usize,
    /// Bytes of each block.
    pub size: u32,
    /// Number of blocks.
    pub blocks: usize,
    /// The first bytes of one block, in hexadecimal.
    pub first_bytes: String,
    /// The first few inputs whose calls allocated the blocks.
    pub inputs: Vec<String>,
    /// Number of inputs whose calls allocated the blocks.
    pub input_count: usize,
}

/// The number of blocks of one size after the first round and at the end.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// Bytes of each block.
    pub size: u32,
    /// Number of blocks after the first round.
    pub before: usize,
    /// Number of blocks at the end.
    pub after: usize,
}

impl Difference {
    /// Bytes added; negative if there are fewer at the end.
    pub fn bytes(&self) -> i64 {
        (self.after as i64 - self.before as i64) * i64::from(self.size)
    }
}

/// A chain of references from a global of a Python module to an object.
#[derive(Debug, Clone, Serialize)]
pub struct PythonPath {
    /// The whole chain: `m.ERROR.__traceback__.tb_next × 168 .tb_frame → check: image (bytes, 14,373)`.
    pub text: String,
    /// Its parts after the global.
    pub steps: Vec<String>,
    /// The type of the object that is held.
    pub object: String,
}

/// Index, class, block and sample of every survivor that leaks and was allocated after the first round.
pub(super) fn leaked<'a>(
    run: &'a Run<'_>,
    leaking: &'a Leaking,
    class_of: &'a dyn Fn(usize) -> usize,
) -> impl Iterator<Item = (usize, usize, Block, usize)> + 'a {
    run.survivors.iter().enumerate().filter_map(move |(index, survivor)| {
        let call = run.calls.get(survivor.born?)?;
        let is_leaked = call.round > 1 && leaking.contains(survivor.block);
        is_leaked.then(|| (index, class_of(call.sample), survivor.block, call.sample))
    })
}

/// Groups the survivors that leak by class and by what holds them, most bytes first. `class_of` returns a sample's class.
pub fn groups(
    run: &Run<'_>,
    leaking: &Leaking,
    references: &References,
    class_of: &dyn Fn(usize) -> usize,
) -> Vec<Group> {
    let holders = references.holders();
    // Chains are similar if they have the same root and the same number of steps. Sizes are not compared, because they
    // depend on the inputs. Consecutive links of the same size are one step: a linked list of any length.
    let mut groups: BTreeMap<(usize, Option<Holder>), Group> = BTreeMap::new();
    for (index, class, block, _) in leaked(run, leaking, class_of) {
        let group = groups.entry((class, holders[index])).or_insert_with(|| Group {
            class,
            blocks: 0,
            bytes: 0,
            sizes: (u32::MAX, 0),
            chain: references.chain(index),
            path: None,
            is_ring: false,
            is_object: false,
        });
        group.blocks += 1;
        group.bytes += u64::from(block.size);
        group.sizes = (group.sizes.0.min(block.size), group.sizes.1.max(block.size));
        group.is_ring |= references.is_in_ring(index);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.bytes));
    groups
}

/// Groups the survivors that leak by class and size, most bytes first.
pub fn kinds(
    run: &Run<'_>,
    leaking: &Leaking,
    samples: &[Sample],
    class_of: &dyn Fn(usize) -> usize,
) -> Vec<BlockKind> {
    let mut kinds: BTreeMap<(usize, u32), (BlockKind, BTreeSet<usize>)> = BTreeMap::new();
    let memory = run.subject.memory();
    for (_, class, block, sample) in leaked(run, leaking, class_of) {
        let (kind, inputs) = kinds.entry((class, block.size)).or_insert_with(|| {
            let bytes = memory.get(block.address as usize..).unwrap_or_default();
            let shown = &bytes[..bytes.len().min(MAX_SHOWN_BYTES).min(block.usable() as usize)];
            let first_bytes = shown.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
            let kind =
                BlockKind { class, size: block.size, blocks: 0, first_bytes, inputs: Vec::new(), input_count: 0 };
            (kind, BTreeSet::new())
        });
        kind.blocks += 1;
        inputs.insert(sample);
    }
    let mut kinds: Vec<_> = kinds
        .into_values()
        .map(|(kind, inputs)| BlockKind {
            inputs: inputs.iter().take(MAX_NAMED_INPUTS).map(|&sample| samples[sample].name.clone()).collect(),
            input_count: inputs.len(),
            ..kind
        })
        .collect();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.blocks as u64 * u64::from(kind.size)));
    kinds
}

/// The block sizes whose number of blocks changed between the first round and the end; largest growth first.
pub fn difference(run: &Run<'_>) -> Vec<Difference> {
    let mut sizes: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    for (block, _) in &run.after_first_round {
        sizes.entry(block.size).or_default().0 += 1;
    }
    for survivor in &run.survivors {
        sizes.entry(survivor.block.size).or_default().1 += 1;
    }
    let differences = sizes.into_iter().map(|(size, (before, after))| Difference { size, before, after });
    let mut differences: Vec<_> = differences.filter(|difference| difference.before != difference.after).collect();
    differences.sort_by_key(|difference| std::cmp::Reverse(difference.bytes()));
    differences
}
