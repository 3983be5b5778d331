//! The study of one plugin: runs the experiments in order and collects their results.
//!
//! 1. Run all samples, in rounds, in one instance ([`Run`]): does memory grow at all?
//! 2. If it grows, run each class of samples in its own instance: which classes cause the growth, and by how much?
//!    (The growth that a class adds to the first run is not a measure: a static that keeps the latest image grows with
//!    each large image and shrinks with the next small one.)
//! 3. Examine the survivors of the first run: what are they, and what holds them?
//! 4. Run the leaking classes again with traced allocations: which code allocated the survivors?

use std::collections::BTreeMap;

use indicatif::ProgressBar;

use super::allocations::{self, Allocations};
use super::census;
use super::corpus::Sample;
use super::debug_info::{DebugInfo, Location};
use super::finding::{Class, Finding, Growing, StackReport, Study};
use super::heap::Blocks;
use super::retention::{Layout, References};
use super::run::{Call, Run, RunError};
use super::subject::PluginUnderTest;
use super::verdict::{self, Growth, Held, Verdict};
use plimsoll_runtime::outcome::Outcome;

/// Minimum requests per round for a class. The samples of a smaller class are repeated, so that the verdict does not
/// depend on a single call.
const MIN_REQUESTS: usize = 16;
/// Rounds of the traced run: one to warm up, one to count the blocks that are not freed.
const TRACED_ROUNDS: usize = 2;

/// Options of a study.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Rounds over the corpus, at least [`verdict::MIN_ROUNDS`]. With a power of two, the second half of the rounds is
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
        progress: &ProgressBar,
    ) -> Result<Self, RunError> {
        let chosen: Vec<_> = (0..samples.len()).collect();
        progress.set_length((chosen.len() * options.rounds) as u64);
        progress.set_message("all samples in one instance");
        let mut run = Run::execute(plugin, samples, &chosen, options.rounds, progress).await?;
        let all = Finding::of(run.held(), run.samples.len());
        let host = Finding::of(run.host_held(), run.samples.len());

        let linear = verdict::judge(&run.linear_held());
        let fragments = run.heap.is_some() && all.verdict == Verdict::Steady && linear != Verdict::Steady;

        let classes = classes_of(&run, samples);
        let class_of_sample: BTreeMap<usize, usize> = classes
            .values()
            .enumerate()
            .flat_map(|(class, members)| members.iter().map(move |&at| (at, class)))
            .collect();
        let grows = [&all, &host].iter().any(|finding| finding.verdict != Verdict::Steady);
        let mut found = Vec::new();
        for ((outcome, folder), members) in &classes {
            let class = if grows {
                progress.set_message(format!("{} alone", outcome.as_str()));
                let rounds = run.rounds;
                run_alone(plugin, samples, members, rounds, progress).await?
            } else {
                // If there is no growth overall, any growth by one class is undone by another class.
                (Finding::STEADY, None)
            };
            let (finding, growing) = class;
            found.push(Class { outcome: *outcome, folder: folder.clone(), samples: members.len(), finding, growing });
        }
        let debug_info = DebugInfo::of_module(&plugin.module);
        let class_of = |sample: usize| class_of_sample.get(&sample).copied().unwrap_or(0);
        let groups = match scan_references(&mut run, plugin, &debug_info) {
            Some(references) => census::groups(&run, &references, &class_of),
            None => Vec::new(),
        };
        let mut study = Self {
            plugin: plugin.artifact.identity.clone(),
            kind: plugin.kind,
            heap_is_known: run.heap.is_some(),
            rounds: run.rounds,
            samples: run.samples.len(),
            stopped: run.stopped.clone(),
            excluded: run.excluded.iter().map(|(sample, how)| (samples[*sample].name.clone(), *how)).collect(),
            all,
            host,
            fragments,
            groups,
            kinds: census::kinds(&run, samples, &class_of),
            difference: census::difference(&run),
            stacks: Vec::new(),
            no_stacks: None,
            has_debug_info: debug_info.has_lines(),
            calls: run.calls.clone(),
            classes: found,
        };
        let chosen = study.samples_to_trace(&classes, &run.samples);
        drop(run);
        if options.trace {
            progress.set_message("tracing allocations");
            progress.inc_length((chosen.len() * TRACED_ROUNDS) as u64);
            let class = |sample, _| class_of(sample);
            match allocations::record(plugin, samples, &chosen, TRACED_ROUNDS, class, progress).await {
                Ok(allocations) => study.stacks = stacks(&allocations, plugin, &debug_info),
                Err(error) => study.no_stacks = Some(error.to_string()),
            }
        } else {
            study.no_stacks = Some("tracing is turned off by --no-trace".into());
        }
        Ok(study)
    }

    /// Returns true if anything leaks.
    pub fn leaks(&self) -> bool {
        let classes = self.classes.iter().map(|class| &class.finding);
        [&self.all, &self.host].into_iter().chain(classes).any(|finding| finding.verdict == Verdict::Leaks)
    }

    /// The samples of the leaking classes; all samples if no class leaks.
    fn samples_to_trace(&self, members: &BTreeMap<(Outcome, String), Vec<usize>>, all: &[usize]) -> Vec<usize> {
        let leaking =
            self.classes.iter().zip(members.values()).filter(|(class, _)| class.finding.verdict == Verdict::Leaks);
        let chosen: Vec<_> = leaking.flat_map(|(_, members)| members.iter().copied()).collect();
        if chosen.is_empty() { all.to_vec() } else { chosen }
    }
}

impl Finding {
    /// No growth, for a class that was not run alone.
    const STEADY: Self = Self {
        verdict: Verdict::Steady,
        growth: Growth { bytes: 0.0, bytes_within: 0.0, blocks: 0.0 },
        held: Vec::new(),
    };

    fn of(held: Vec<Held>, requests: usize) -> Self {
        Self { verdict: verdict::judge(&held), growth: verdict::growth(&held, requests), held }
    }
}

/// The sample indices of each class, by outcome and subfolder.
fn classes_of(run: &Run<'_>, samples: &[Sample]) -> BTreeMap<(Outcome, String), Vec<usize>> {
    let mut classes: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for call in run.calls.iter().take_while(|call| call.round == 1) {
        classes.entry((call.outcome, samples[call.sample].folder.clone())).or_default().push(call.sample);
    }
    classes
}

/// Runs the samples of one class alone in a fresh instance.
async fn run_alone(
    plugin: &PluginUnderTest,
    samples: &[Sample],
    members: &[usize],
    rounds: usize,
    progress: &ProgressBar,
) -> Result<(Finding, Option<Growing>), RunError> {
    let times = MIN_REQUESTS.div_ceil(members.len());
    let chosen: Vec<_> = std::iter::repeat_n(members, times).flatten().copied().collect();
    progress.inc_length((chosen.len() * rounds) as u64);
    let run = Run::execute(plugin, samples, &chosen, rounds, progress).await?;
    let requests = run.samples.len();
    let heap = Finding::of(run.held(), requests);
    let host = Finding::of(run.host_held(), requests);
    // The worse of the two is reported for the class.
    let finding = if host.verdict == Verdict::Leaks && heap.verdict != Verdict::Leaks { host } else { heap };
    let growing = (finding.verdict == Verdict::Leaks).then(|| growing(&run, samples)).flatten();
    Ok((finding, growing))
}

/// The samples that cause the growth in the second half of a run; `None` if all samples do, or none could be
/// identified.
fn growing(run: &Run<'_>, samples: &[Sample]) -> Option<Growing> {
    let mut growth: BTreeMap<usize, (i64, usize)> = BTreeMap::new();
    let bytes = |call: &Call| call.live.map_or(call.linear, |live| live.bytes) as i64;
    for pair in run.calls.windows(2).filter(|pair| pair[1].round > run.rounds / 2) {
        let entry = growth.entry(pair[1].sample).or_default();
        entry.0 += bytes(&pair[1]) - bytes(&pair[0]);
        entry.1 += usize::from(bytes(&pair[1]) > bytes(&pair[0]));
    }
    let rounds = run.rounds - run.rounds / 2;
    let (grow, rest): (Vec<_>, Vec<_>) =
        growth.into_iter().partition(|(_, (bytes, times))| *bytes > 0 && 2 * times >= rounds);
    if grow.is_empty() || rest.is_empty() {
        return None;
    }
    let size = |(sample, _): &(usize, (i64, usize))| samples[*sample].size;
    let example = grow.iter().min_by_key(|entry| size(entry)).map(|(sample, _)| samples[*sample].name.clone());
    Some(Growing {
        samples: grow.len(),
        smallest: grow.iter().map(size).min()?,
        largest_other: rest.iter().map(size).max()?,
        example: example?,
    })
}

/// The references between the blocks at the end of a run; `None` if the heap is not known.
fn scan_references(run: &mut Run<'_>, plugin: &PluginUnderTest, debug_info: &DebugInfo<'_>) -> Option<References> {
    let heap = run.heap?;
    // The stack grows down from its base, which is the stack pointer's value while no call runs.
    let stack_base = plugin.module.stack_pointer.map_or(0, |(_, value)| value);
    let stack = run.subject.stack_pointer().unwrap_or(stack_base)..stack_base;
    let first = plugin.module.data.first().map_or(stack_base, |segment| segment.address);
    // wasm-ld puts the stack before or after the statics. The statics must not include the stack.
    let statics = if stack_base > first && stack_base <= heap.start() {
        first.max(stack_base)..heap.start()
    } else {
        first..heap.start()
    };
    let blocks = Blocks { blocks: run.survivors.iter().map(|survivor| survivor.block).collect(), bytes: 0 };
    let layout = Layout { memory: run.subject.memory(), statics, stack, module: &plugin.module, debug_info };
    Some(References::scan(&layout, heap, &blocks))
}

/// The traced call stacks with the names of their functions.
fn stacks(allocations: &Allocations, plugin: &PluginUnderTest, debug_info: &DebugInfo<'_>) -> Vec<StackReport> {
    let mut known: BTreeMap<u32, Vec<Location>> = BTreeMap::new();
    let mut stacks: Vec<_> = allocations
        .stacks
        .iter()
        .map(|((class, stack), totals)| {
            let frames = stack.iter().flat_map(|&offset| {
                known.entry(offset).or_insert_with(|| debug_info.locations(&plugin.module, offset)).clone()
            });
            StackReport { class: *class, frames: frames.collect(), totals: *totals }
        })
        .collect();
    stacks.sort_by(|a, b| {
        let key = |stack: &StackReport| (stack.totals.inuse_space, stack.totals.alloc_space);
        key(b).cmp(&key(a)).then_with(|| a.frames.cmp(&b.frames))
    });
    stacks
}
