//! What a study tells of a plugin in Python: its interpreter, what holds its objects, and the types that grow.

use std::collections::BTreeMap;

use crate::finding::{Class, PythonReport, TypeGrowth};
use crate::python::graph::Graph;
use crate::python::interpreter::Python;
use crate::python::objects::Objects;
use crate::run::Run;
use crate::subject::PluginUnderTest;
use crate::verdict::Held;

/// The interpreter of a plugin in Python.
pub(super) fn python_report(run: &Run<'_>) -> Option<PythonReport> {
    let (version, is_known) = match run.subject.python {
        Python::None => return None,
        Python::Unknown(version) => (version, false),
        Python::Known(interpreter) => (interpreter.version, true),
    };
    Some(PythonReport { version: version.to_string(), is_known, collects: run.collects })
}

/// What holds the objects at the end of a run; `None` if the plugin is not in Python, or its objects cannot be read.
pub(super) fn python_graph<'r>(run: &'r Run<'_>, plugin: &PluginUnderTest) -> Option<Graph<'r>> {
    let (heap, interpreter) = (run.heap?, run.subject.python.known()?);
    let first = plugin.module.data.first().map_or(0, |segment| segment.address);
    let objects = Objects::new(run.subject.memory(), interpreter, &run.all_blocks);
    let statics = first.checked_next_multiple_of(4).unwrap_or(u32::MAX)..heap.start();
    let graph = Graph::new(objects, statics);
    if graph.is_none() {
        tracing::warn!(
            "the Python objects cannot be followed, because their sizes add up to more than the heap; the report has addresses \
             instead of names"
        );
    }
    graph
}

/// The types that leak, most bytes first. What only the first round made is no leak.
pub(super) fn type_growth(
    types: BTreeMap<(usize, String), Vec<Held>>,
    classes: &[Class],
    rounds: usize,
) -> Vec<TypeGrowth> {
    let types = types.into_iter().map(|((class, name), made)| {
        let requests = classes.get(class).map_or(0, |class| class.samples) * rounds.saturating_sub(1);
        let mut growth = TypeGrowth { class, name, objects: 0, bytes: 0, per_request: 0.0, rounds: made };
        let (all, first) = (growth.until(usize::MAX), growth.until(1));
        (growth.objects, growth.bytes) = (all.blocks - first.blocks, all.bytes - first.bytes);
        growth.per_request = growth.bytes as f64 / requests.max(1) as f64;
        growth
    });
    let mut types: Vec<_> = types.filter(|growth| growth.bytes > 0).collect();
    types.sort_by_key(|ty| std::cmp::Reverse(ty.bytes));
    types
}

/// The types with the bytes of each call, most bytes first.
pub(super) fn most_first(types: BTreeMap<String, BTreeMap<usize, u64>>) -> Vec<(String, BTreeMap<usize, u64>)> {
    let mut types: Vec<_> = types.into_iter().collect();
    types.sort_by_key(|(_, calls)| std::cmp::Reverse(calls.values().sum::<u64>()));
    types
}
