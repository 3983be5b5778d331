//! What holds the blocks that leak in a run.

use super::python_parts::python_graph;
use crate::census::{self, BlockKind, Group};
use crate::corpus::Sample;
use crate::debug_info::DebugInfo;
use crate::heap::Blocks;
use crate::judge::Leaking;
use crate::module::Segment;
use crate::python;
use crate::retention::{Layout, References};
use crate::run::Run;
use crate::subject::PluginUnderTest;

/// The default size of the stack in wasm-ld, in bytes.
const DEFAULT_STACK: u32 = 64 << 10;

/// The groups and the kinds of blocks that leak in the run of one class alone.
pub(super) fn of_class(
    run: &mut Run<'_>,
    plugin: &PluginUnderTest,
    debug_info: &DebugInfo<'_>,
    samples: &[Sample],
    class: usize,
) -> (Vec<Group>, Vec<BlockKind>) {
    let (leaking, class_of) = (run.judge().leaking, |_| class);
    (groups(run, plugin, debug_info, &leaking, &class_of), census::kinds(run, &leaking, samples, &class_of))
}

/// The groups of blocks that leak. What holds an object is not known in JavaScript.
pub(super) fn groups(
    run: &mut Run<'_>,
    plugin: &PluginUnderTest,
    debug_info: &DebugInfo<'_>,
    leaking: &Leaking,
    class_of: &dyn Fn(usize) -> usize,
) -> Vec<Group> {
    if plugin.language.is_some() {
        return Vec::new();
    }
    let of_python = python_graph(run, plugin).map(|graph| python::groups(run, leaking, &graph, class_of));
    of_python.unwrap_or_else(|| {
        let references = scan_references(run, plugin, debug_info);
        references.map_or_else(Vec::new, |references| census::groups(run, leaking, &references, class_of))
    })
}

/// The references between the blocks at the end of a run; `None` if the heap is not known.
fn scan_references(run: &mut Run<'_>, plugin: &PluginUnderTest, debug_info: &DebugInfo<'_>) -> Option<References> {
    let heap = run.heap?;
    // The stack grows down from its base, which is the stack pointer's value while no call runs.
    let stack_base = plugin.module.stack_pointer.map_or(0, |(_, value)| value);
    let stack = run.subject.stack_pointer().unwrap_or(stack_base)..stack_base;
    let first = plugin.module.data.first().map_or(stack_base, |segment| segment.address);
    let data_end = plugin.module.data.iter().map(Segment::end).max().unwrap_or(first);
    let statics = if stack_base > data_end && stack_base <= heap.start() {
        // wasm-ld's own order: the statics, the stack, the heap. Where the statics end is only known from their names;
        // without names, the stack has the linker's default size.
        let named = Some(debug_info.statics_end()).filter(|end| (data_end..=stack_base).contains(end));
        first..named.unwrap_or_else(|| data_end.max(stack_base.saturating_sub(DEFAULT_STACK)))
    } else {
        // `--stack-first`, as rustc has it.
        first.max(stack_base)..heap.start()
    };
    let blocks = Blocks { blocks: run.survivors.iter().map(|survivor| survivor.block).collect(), ..Blocks::default() };
    let layout = Layout { memory: run.subject.memory(), statics, stack, module: &plugin.module, debug_info };
    Some(References::scan(&layout, heap, &blocks))
}
