//! The surviving objects: by what holds them, and by type.

use std::collections::BTreeMap;

use super::graph::Graph;
use crate::census::{Group, PythonPath, leaked};
use crate::judge::Leaking;
use crate::retention::{Chain, Link, Root};
use crate::run::Run;
use crate::verdict::Held;

/// The type of blocks without an object.
const NO_OBJECT: &str = "(no Python object)";

/// Groups the survivors that leak by class and by the chain that holds them, most bytes first. `class_of` returns a
/// sample's class.
pub(crate) fn groups(
    run: &Run<'_>,
    leaking: &Leaking,
    graph: &Graph<'_>,
    class_of: &dyn Fn(usize) -> usize,
) -> Vec<Group> {
    let mut groups: BTreeMap<(usize, String), (Group, usize)> = BTreeMap::new();
    for (_, class, block, _) in leaked(run, leaking, class_of) {
        let Some((index, _)) = run.all_blocks.holding(block.address) else { continue };
        let owner = graph.owner(index);
        let path = owner.and_then(|object| graph.path(object));
        // If no chain leads to a block, objects are grouped by type, and all other blocks together.
        let pattern = match (&path, owner) {
            (Some(path), _) => path.pattern.clone(),
            (None, Some(object)) => format!("unreachable {}", graph.objects.type_name(object)),
            (None, None) => String::new(),
        };
        let (group, longest) = groups.entry((class, pattern)).or_insert_with(|| {
            let sizes = (u32::MAX, 0);
            let (chain, path, is_ring, is_object) = (None, None, false, owner.is_some());
            (Group { class, blocks: 0, bytes: 0, sizes, chain, path, is_ring, is_object }, 0)
        });
        group.blocks += 1;
        group.bytes += u64::from(block.size);
        group.sizes = (group.sizes.0.min(block.size), group.sizes.1.max(block.size));
        // After a collection there are no cycles that nothing refers to.
        group.is_ring |= path.is_none() && owner.is_some() && !run.collects;
        if let (Some(path), Some(object)) = (path, owner)
            && (group.path.is_none() || path.length > *longest)
        {
            *longest = path.length;
            let root = Root::PythonGlobal { name: path.root };
            group.chain = Some(Chain { root, blocks: vec![Link { size: block.size }] });
            let object = graph.objects.type_name(object);
            group.path = Some(PythonPath { text: path.text, steps: path.steps, object });
        }
    }
    let mut groups: Vec<_> = groups.into_values().map(|(group, _)| group).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.bytes));
    groups
}

/// The surviving objects by type.
#[derive(Debug, Default)]
pub(crate) struct Types {
    /// Those that leak, by class, type and the round that made them; the first round is at 0.
    pub(crate) leaking: BTreeMap<(usize, String), Vec<Held>>,
    /// The bytes of all that calls made, by type and call.
    pub(crate) by_call: BTreeMap<String, BTreeMap<usize, u64>>,
}

/// The surviving objects that were made by calls, with what belongs to them.
pub(crate) fn types(run: &Run<'_>, leaking: &Leaking, graph: &Graph<'_>, class_of: &dyn Fn(usize) -> usize) -> Types {
    let mut found = Types::default();
    for survivor in &run.survivors {
        let Some((born, call)) = survivor.born.and_then(|born| Some((born, run.calls.get(born)?))) else { continue };
        let Some((index, block)) = run.all_blocks.holding(survivor.block.address) else { continue };
        let owner = graph.owner(index);
        let name = owner.map_or_else(|| NO_OBJECT.to_owned(), |object| graph.objects.type_name(object));
        let bytes = u64::from(block.size);
        if leaking.contains(block) {
            let rounds = found.leaking.entry((class_of(call.sample), name.clone())).or_default();
            let round = call.round.saturating_sub(1);
            rounds.resize(rounds.len().max(round + 1), Held::default());
            // The storage of an object is no object of its own.
            rounds[round].blocks += u64::from(graph.objects.in_block(index).is_some() || owner.is_none());
            rounds[round].bytes += bytes;
        }
        *found.by_call.entry(name).or_default().entry(born).or_default() += bytes;
    }
    found
}
