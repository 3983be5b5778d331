//! What is it? The blocks that survive: grouped by who holds them, by size and class, and as the difference between
//! two moments.

use std::collections::BTreeMap;

use serde::Serialize;

use super::corpus::Sample;
use super::heap::Block;
use super::retention::{Chain, References, Root};
use super::run::Run;

/// Bytes of a block that are shown.
const SHOWN: usize = 16;
/// Inputs that are named for a group.
const NAMED: usize = 3;

/// Blocks that were made after the first round, are in use at the end, and are held in the same way.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// Index of the class whose calls made them.
    pub class: usize,
    /// How many.
    pub blocks: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The smallest and the largest block's bytes.
    pub sizes: (u32, u32),
    /// The chain that holds one of them, the others being held by its like; `None` where nothing that lives leads to
    /// them.
    pub chain: Option<Chain>,
    /// Whether blocks that nothing leads to refer to each other.
    pub is_ring: bool,
}

/// Surviving blocks of one size and class.
#[derive(Debug, Clone, Serialize)]
pub struct BlockKind {
    /// Index of the class whose calls made them.
    pub class: usize,
    /// Bytes of each.
    pub size: u32,
    /// How many.
    pub blocks: usize,
    /// The first bytes of one of them, in hexadecimal.
    pub first_bytes: String,
    /// The inputs that made them; the first few.
    pub inputs: Vec<String>,
    /// How many inputs made them.
    pub input_count: usize,
}

/// How many blocks of one size there were at two moments.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// Bytes of each.
    pub size: u32,
    /// After the first round.
    pub before: usize,
    /// At the end.
    pub after: usize,
}

impl Difference {
    /// Bytes that came or (negative) went.
    pub fn bytes(&self) -> i64 {
        (self.after as i64 - self.before as i64) * i64::from(self.size)
    }
}

/// The index, class and block of every survivor that was made after the first round.
fn young<'a>(
    run: &'a Run<'_>,
    class_of: &'a dyn Fn(usize) -> usize,
) -> impl Iterator<Item = (usize, usize, Block, usize)> + 'a {
    run.survivors.iter().enumerate().filter_map(move |(index, survivor)| {
        let call = &run.calls[survivor.born?];
        (call.round > 1).then(|| (index, class_of(call.sample), survivor.block, call.sample))
    })
}

/// Groups survivors by class and by who holds them, most bytes first. `class_of` gives a sample's class.
pub fn groups(run: &Run<'_>, references: &References, class_of: &dyn Fn(usize) -> usize) -> Vec<Group> {
    // Chains are alike if they begin at the same root and are equally long: sizes differ with the inputs. Links of one
    // size in a row are one step of any length: a linked list.
    let mut groups: BTreeMap<(usize, Option<(Root, usize)>), Group> = BTreeMap::new();
    for (index, class, block, _) in young(run, class_of) {
        let chain = references.chain(index);
        let key = chain.as_ref().map(|chain| (chain.root.clone(), steps(chain)));
        let group = groups.entry((class, key)).or_insert_with(|| Group {
            class,
            blocks: 0,
            bytes: 0,
            sizes: (u32::MAX, 0),
            chain,
            is_ring: false,
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

/// How many links a chain has, those of one size in a row counted once.
fn steps(chain: &Chain) -> usize {
    let changes = chain.blocks.windows(2).filter(|pair| pair[0].size != pair[1].size).count();
    changes + 1
}

/// Groups survivors by class and size, most bytes first.
pub fn kinds(run: &Run<'_>, samples: &[Sample], class_of: &dyn Fn(usize) -> usize) -> Vec<BlockKind> {
    let mut kinds: BTreeMap<(usize, u32), (BlockKind, Vec<usize>)> = BTreeMap::new();
    let memory = run.subject.memory();
    for (_, class, block, sample) in young(run, class_of) {
        let (kind, inputs) = kinds.entry((class, block.size)).or_insert_with(|| {
            let bytes = memory.get(block.address as usize..).unwrap_or_default();
            let shown = &bytes[..bytes.len().min(SHOWN).min(block.usable() as usize)];
            let first_bytes = shown.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
            let kind =
                BlockKind { class, size: block.size, blocks: 0, first_bytes, inputs: Vec::new(), input_count: 0 };
            (kind, Vec::new())
        });
        kind.blocks += 1;
        if !inputs.contains(&sample) {
            inputs.push(sample);
        }
    }
    let mut kinds: Vec<_> = kinds
        .into_values()
        .map(|(kind, inputs)| BlockKind {
            inputs: inputs.iter().take(NAMED).map(|&sample| samples[sample].name.clone()).collect(),
            input_count: inputs.len(),
            ..kind
        })
        .collect();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.blocks as u64 * u64::from(kind.size)));
    kinds
}

/// The sizes of which there are more or fewer blocks at the end than after the first round; what grew most first.
pub fn difference(run: &Run<'_>) -> Vec<Difference> {
    let mut sizes: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    for block in &run.after_first_round {
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
