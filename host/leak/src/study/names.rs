//! The names in a study: functions that allocated or grow the memory, and kinds of resources.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::allocations::Totals;
use crate::debug_info::{DebugInfo, Location};
use crate::finding::StackReport;
use crate::malloc_tracer::Stack;
use crate::python::frames::TracedFunction;
use crate::run::Run;
use crate::subject::PluginUnderTest;

/// Shown instead of a call stack for blocks that are allocated before a Python function runs.
const NO_PYTHON_FUNCTION: &str = "componentize-py (the arguments of the request)";

/// The plugin's own functions that grow its memory, without those of allocators.
pub(super) fn growers(plugin: &PluginUnderTest, debug_info: &DebugInfo<'_>) -> Vec<Location> {
    let is_allocator = |name: &str| name == "sbrk" || name.contains("malloc");
    let functions = plugin.module.functions.iter().filter(|function| !is_allocator(&function.name));
    let offsets = functions.flat_map(|function| function.grows.iter().copied());
    let own = |offset| debug_info.locations(&plugin.module, offset).into_iter().find(|frame| !frame.is_library());
    let found: BTreeSet<Location> = offsets.filter_map(own).collect();
    found.into_iter().collect()
}

/// The kinds of resources of which there are more at the end than after the first round, each with its growth.
pub(super) fn resource_kinds(run: &Run<'_>) -> BTreeMap<String, u64> {
    let kinds = &run.record.resources;
    let (Some(first), Some(last)) = (kinds.get(1), kinds.get(run.rounds)) else { return BTreeMap::new() };
    let grown = |(kind, &count): (&&'static str, &u64)| {
        let more = count.saturating_sub(first.get(kind).copied().unwrap_or(0));
        (more > 0).then(|| ((*kind).to_owned(), more))
    };
    last.iter().filter_map(grown).collect()
}

/// The traced call stacks with the names of their functions. `python`: the functions of a plugin in Python.
pub(super) fn stacks(
    traced: &HashMap<(usize, Stack), Totals>,
    python: &Option<Vec<TracedFunction>>,
    plugin: &PluginUnderTest,
    debug_info: &DebugInfo<'_>,
) -> Vec<StackReport> {
    let mut known: BTreeMap<u32, Vec<Location>> = BTreeMap::new();
    let mut stacks: Vec<_> = traced
        .iter()
        .map(|((class, stack), totals)| {
            let frames = stack.iter().flat_map(|&offset| {
                if let Some(functions) = python {
                    let function = functions.get(offset as usize);
                    return function.map(|function| function.location.clone()).into_iter().collect();
                }
                known.entry(offset).or_insert_with(|| debug_info.locations(&plugin.module, offset)).clone()
            });
            let mut frames: Vec<Location> = frames.collect();
            if frames.is_empty() && python.is_some() {
                let function = NO_PYTHON_FUNCTION.to_owned();
                frames.push(Location { function, file: None, line: None });
            }
            StackReport { class: *class, frames, totals: *totals }
        })
        .collect();
    stacks.sort_by(|a, b| {
        let key = |stack: &StackReport| (stack.totals.inuse_space, stack.totals.alloc_space);
        key(b).cmp(&key(a)).then_with(|| a.frames.cmp(&b.frames))
    });
    stacks
}
