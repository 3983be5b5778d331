//! The study of one plugin: runs the experiments in order and collects their results.
//!
//! 1. Run all samples, in rounds, in one instance ([`Run`]): does memory grow at all?
//! 2. Run each class of samples in its own instance: which classes cause the growth, and by how much? If nothing grows,
//!    a few rounds, because a class may keep what another one frees.
//!    (The growth that a class adds to the first run is not a measure: a static that keeps the latest image grows with
//!    each large image and shrinks with the next small one.)
//! 3. Examine the survivors of the first run: what are they, and what holds them?
//! 4. Run the leaking classes again with traced allocations: which code allocated the survivors?

mod python_parts;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use self::python_parts::{most_first, python_graph, python_report, type_growth};
use super::allocations::{self, Totals};
use super::census;
use super::class_run::{self, ClassRun};
use super::corpus::Sample;
use super::debug_info::{DebugInfo, Location};
use super::finding::{Class, CollectionReport, Measure, StackReport, Study};
use super::heap::Blocks;
use super::judge;
use super::malloc_tracer::Stack;
use super::progress::Progress;
use super::python;
use super::python::frames::TracedFunction;
use super::retention::{Layout, References};
use super::rounds::{Rounds, rarest_leak};
use super::run::{Run, RunError};
use super::subject::PluginUnderTest;
use super::suspicion;
use super::variation::Inputs;
use super::verdict::{Finding, MIN_ROUNDS, Verdict};
use plimsoll_runtime::outcome::Outcome;

/// Rounds of the traced run: one to warm up, one to count the blocks that are not freed.
const TRACED_ROUNDS: usize = 2;

/// Shown instead of a call stack for blocks that are allocated before a Python function runs.
const NO_PYTHON_FUNCTION: &str = "componentize-py (the arguments of the request)";

/// The default size of the stack in wasm-ld, in bytes.
const DEFAULT_STACK: u32 = 64 << 10;

/// Options of a study.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Rounds over the corpus, at least [`super::verdict::MIN_ROUNDS`]. With a power of two, the second half of the rounds is
    /// exactly twice as long as the quarter that it is compared with.
    pub rounds: usize,
    /// True if allocations are traced.
    pub trace: bool,
}

impl Study {
    /// Studies a plugin.
    ///
    /// # Errors
    /// If no instance starts, or too many samples end the instance.
    pub async fn run(
        plugin: &PluginUnderTest,
        samples: &[Sample],
        options: Options,
        progress: &Progress,
    ) -> Result<Self, RunError> {
        let chosen: Vec<_> = (0..samples.len()).collect();
        progress.step("inputs with other contents", 2 * chosen.len());
        let inputs = Inputs::of(plugin, samples, progress).await?;
        progress.step("all samples in one instance", chosen.len() * options.rounds);
        let rounds = Rounds { least: options.rounds, until_enough: true };
        let mut run = Run::execute(plugin, &inputs, &chosen, rounds, progress).await?;
        let heap = run.judge();
        let [host, resources, beside_heap, objects] = run.others();
        let is_collected = run.subject.engine.is_some() && run.heap.is_some() && run.collects;
        let collection = plugin.language.map(|language| CollectionReport { language, is_seen: is_collected });
        let is_uncollected = collection.as_ref().is_some_and(|collection| !collection.is_seen);

        let linear = judge::series(&run.record.linear, run.samples.len()).verdict;
        let runtime = judge::held(&run.record.runtime, run.samples.len());
        let fragments = run.heap.is_some()
            && heap.finding.verdict == Verdict::Steady
            && runtime.verdict == Verdict::Steady
            && beside_heap.verdict == Verdict::Steady
            && linear != Verdict::Steady;

        let classes = class_run::classes_of(&run, samples);
        let class_of_sample: BTreeMap<usize, usize> = classes
            .values()
            .enumerate()
            .flat_map(|(class, members)| members.iter().map(move |&at| (at, class)))
            .collect();
        let findings = [&heap.finding, &host, &resources, &beside_heap, &objects];
        let grows = findings.iter().any(|finding| finding.verdict != Verdict::Steady);
        let mut found = Vec::new();
        for ((outcome, folder), members) in &classes {
            // A class may keep what another class frees. Then only the class alone grows, and a few rounds show it.
            let rounds = if grows { rounds } else { Rounds { least: MIN_ROUNDS, until_enough: false } };
            let calls = members.len() * run.rounds;
            let alone = match classes.len() {
                count if is_uncollected || count == 1 && !grows => {
                    ClassRun { finding: Finding::STEADY, measure: Measure::Heap, growing: None, calls }
                }
                _ => class_run::run_alone(plugin, &inputs, outcome.as_str(), members, rounds, progress).await?,
            };
            let ClassRun { finding, measure, growing, calls: alone } = alone;
            let calls = calls.max(alone);
            let kept = suspicion::kept_in_first_round(&run, members);
            found.push(Class {
                outcome: *outcome,
                folder: folder.clone(),
                samples: members.len(),
                kept_in_first_round: kept,
                calls,
                rarest_leak: rarest_leak(calls),
                finding,
                measure,
                growing,
            });
        }
        let debug_info = DebugInfo::of_module(&plugin.module);
        let class_of = |sample: usize| class_of_sample.get(&sample).copied().unwrap_or(0);
        let mut types = python::Types::default();
        // Two steps, because the graph borrows the run.
        let of_python = python_graph(&run, plugin).map(|graph| {
            types = python::types(&run, &heap.leaking, &graph, &class_of);
            python::groups(&run, &heap.leaking, &graph, &class_of)
        });
        let groups = match of_python {
            Some(groups) => groups,
            // What holds an object is not known in JavaScript.
            None if plugin.language.is_some() => Vec::new(),
            None => match scan_references(&mut run, plugin, &debug_info) {
                Some(references) => census::groups(&run, &heap.leaking, &references, &class_of),
                None => Vec::new(),
            },
        };
        let mut study = Self {
            plugin: plugin.artifact.identity.clone(),
            kind: plugin.kind,
            heap_is_known: run.heap.is_some(),
            rounds: run.rounds,
            samples: run.samples.len(),
            rarest_leak: rarest_leak(run.calls.len()),
            stopped: run.stopped.clone(),
            excluded: run.excluded.iter().map(|(sample, how)| (samples[*sample].name.clone(), *how)).collect(),
            all: heap.finding,
            host,
            resources,
            resource_kinds: resource_kinds(&run),
            growers: if beside_heap.verdict == Verdict::Leaks { growers(plugin, &debug_info) } else { Vec::new() },
            beside_heap,
            objects,
            collection,
            kept_in_first_round: suspicion::kept_in_first_round(&run, &run.samples),
            python: python_report(&run),
            runtime,
            types: type_growth(types.leaking, &found, run.rounds),
            types_by_call: most_first(types.by_call),
            fragments,
            groups,
            kinds: census::kinds(&run, &heap.leaking, samples, &class_of),
            difference: census::difference(&run),
            stacks: Vec::new(),
            mixed_stacks: Vec::new(),
            no_stacks: None,
            has_debug_info: debug_info.has_lines(),
            calls: run.calls.clone(),
            classes: found,
        };
        let chosen = study.samples_to_trace(&classes, &run.samples);
        drop(run);
        if is_uncollected {
            study.mark_uncollected();
        }
        if let Some(language) = plugin.language {
            study.no_stacks = Some(format!("the functions of {language} are not known to the laboratory"));
        } else if options.trace {
            progress.step("tracing allocations", chosen.len() * TRACED_ROUNDS);
            let class = |sample, _| class_of(sample);
            match allocations::record(plugin, &inputs, &chosen, TRACED_ROUNDS, class, progress).await {
                Ok(allocations) => {
                    let own = allocations.without_libraries();
                    study.stacks = stacks(&own, &allocations.python, plugin, &debug_info);
                    if allocations.python.is_some() {
                        study.mixed_stacks = stacks(&allocations.stacks, &allocations.python, plugin, &debug_info);
                    }
                }
                Err(error) => study.no_stacks = Some(error.to_string()),
            }
        } else {
            study.no_stacks = Some("tracing is turned off by --no-trace".into());
        }
        Ok(study)
    }

    /// Marks what grows as not judged.
    fn mark_uncollected(&mut self) {
        let classes = self.classes.iter_mut().map(|class| &mut class.finding);
        let whole = [&mut self.all, &mut self.host, &mut self.resources, &mut self.beside_heap, &mut self.objects];
        for finding in whole.into_iter().chain(classes) {
            *finding = std::mem::replace(finding, Finding::STEADY).uncollected();
        }
    }

    /// The samples of the leaking classes; all samples if no class leaks.
    fn samples_to_trace(&self, members: &BTreeMap<(Outcome, String), Vec<usize>>, all: &[usize]) -> Vec<usize> {
        let leaking =
            self.classes.iter().zip(members.values()).filter(|(class, _)| class.finding.verdict == Verdict::Leaks);
        let chosen: Vec<_> = leaking.flat_map(|(_, members)| members.iter().copied()).collect();
        if chosen.is_empty() { all.to_vec() } else { chosen }
    }
}

/// The plugin's own functions that grow its memory, without those of allocators.
fn growers(plugin: &PluginUnderTest, debug_info: &DebugInfo<'_>) -> Vec<Location> {
    let is_allocator = |name: &str| name == "sbrk" || name.contains("malloc");
    let functions = plugin.module.functions.iter().filter(|function| !is_allocator(&function.name));
    let offsets = functions.flat_map(|function| function.grows.iter().copied());
    let own = |offset| debug_info.locations(&plugin.module, offset).into_iter().find(|frame| !frame.is_library());
    let found: BTreeSet<Location> = offsets.filter_map(own).collect();
    found.into_iter().collect()
}

/// The kinds of resources of which there are more at the end than after the first round, each with its growth.
fn resource_kinds(run: &Run<'_>) -> BTreeMap<String, u64> {
    let kinds = &run.record.resources;
    let (Some(first), Some(last)) = (kinds.get(1), kinds.get(run.rounds)) else { return BTreeMap::new() };
    let grown = |(kind, &count): (&&'static str, &u64)| {
        let more = count.saturating_sub(first.get(kind).copied().unwrap_or(0));
        (more > 0).then(|| ((*kind).to_owned(), more))
    };
    last.iter().filter_map(grown).collect()
}

/// The references between the blocks at the end of a run; `None` if the heap is not known.
fn scan_references(run: &mut Run<'_>, plugin: &PluginUnderTest, debug_info: &DebugInfo<'_>) -> Option<References> {
    let heap = run.heap?;
    // The stack grows down from its base, which is the stack pointer's value while no call runs.
    let stack_base = plugin.module.stack_pointer.map_or(0, |(_, value)| value);
    let stack = run.subject.stack_pointer().unwrap_or(stack_base)..stack_base;
    let first = plugin.module.data.first().map_or(stack_base, |segment| segment.address);
    let data_end = plugin.module.data.iter().map(super::module::Segment::end).max().unwrap_or(first);
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

/// The traced call stacks with the names of their functions. `python`: the functions of a plugin in Python.
fn stacks(
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
