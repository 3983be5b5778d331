//! Runs the samples of one class alone: which classes cause the growth, and by how much?

use std::collections::{BTreeMap, BTreeSet};

use super::corpus::Sample;
use super::finding::{Growing, LeakingMeasure, Measure, ObjectGrowth};
use super::progress::Progress;
use super::record::Call;
use super::rounds::Rounds;
use super::run::{Run, RunError};
use super::subject::PluginUnderTest;
use super::variation::Inputs;
use super::verdict::{Finding, Verdict};
use plimsoll_runtime::outcome::Outcome;

/// Minimum requests per round for a class. The samples of a smaller class are repeated, so that the verdict does not
/// depend on a single call.
const MIN_REQUESTS: usize = 16;

/// Minimum objects of a class of the engine per request. The engine makes a few of its own now and then.
const FEWEST_OBJECTS: f64 = 0.05;

/// What a class does alone in a fresh instance.
pub(super) struct ClassRun<'a> {
    /// What leaks.
    pub(super) findings: Findings,
    /// The samples that cause the growth, if only some do.
    pub(super) growing: Option<Growing>,
    /// The objects of JavaScript of which there are more and more.
    pub(super) objects: Vec<ObjectGrowth>,
    /// The run.
    pub(super) run: Run<'a>,
}

/// The sample indices of each class, by outcome and subfolder.
pub(super) fn classes_of(run: &Run<'_>, samples: &[Sample]) -> BTreeMap<(Outcome, String), Vec<usize>> {
    let mut classes: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for call in run.calls.iter().take_while(|call| call.round == 1) {
        classes.entry((call.outcome, samples[call.sample].folder.clone())).or_default().push(call.sample);
    }
    classes
}

/// Runs the samples of one class alone in a fresh instance.
pub(super) async fn run_alone<'a>(
    plugin: &'a PluginUnderTest,
    inputs: &Inputs<'_>,
    outcome: &str,
    members: &[usize],
    rounds: Rounds,
    progress: &Progress,
) -> Result<ClassRun<'a>, RunError> {
    let times = MIN_REQUESTS.div_ceil(members.len());
    let chosen: Vec<_> = std::iter::repeat_n(members, times).flatten().copied().collect();
    progress.step(&format!("{outcome} alone"), chosen.len() * rounds.least);
    let run = match Run::execute(plugin, inputs, &chosen, rounds, progress).await {
        // A large leak fills the memory before there are enough rounds.
        Err(RunError::NoSampleSurvives | RunError::TooManyExcluded(_) | RunError::EndedEarly { .. }) if times > 1 => {
            Run::execute(plugin, inputs, members, rounds, progress).await?
        }
        run => run?,
    };
    // What garbage is, is not known without a collection in this run.
    let is_judged = plugin.language.is_none() || run.collects;
    let findings = findings(&run, is_judged);
    // Which input made an object is not known.
    let is_known = findings.finding.verdict == Verdict::Leaks && findings.measure != Measure::Objects;
    let growing = is_known.then(|| growing(&run, inputs.samples)).flatten();
    let objects = if findings.finding.verdict == Verdict::Leaks { more_objects(&run) } else { Vec::new() };
    Ok(ClassRun { findings, growing, objects, run })
}

/// The objects of which there are more after the last rounds than before; most first.
fn more_objects(run: &Run<'_>) -> Vec<ObjectGrowth> {
    let [.., (half, before), (end, after)] = &run.record.classes[..] else { return Vec::new() };
    let requests = (end.saturating_sub(*half) * run.record.requests).max(1) as f64;
    let more = after.iter().filter_map(|(name, &count)| {
        let objects = count.saturating_sub(before.get(name).copied().unwrap_or(0));
        let per_request = objects as f64 / requests;
        (per_request >= FEWEST_OBJECTS).then(|| ObjectGrowth { name: name.clone(), objects, per_request })
    });
    let mut found: Vec<_> = more.collect();
    found.sort_by_key(|growth| std::cmp::Reverse(growth.objects));
    found
}

/// The finding of a run that is reported first, and what else leaks.
pub(super) struct Findings {
    pub(super) finding: Finding,
    pub(super) measure: Measure,
    pub(super) also: Vec<LeakingMeasure>,
}

/// What a run found: first what leaks the most bytes; handles last, and only if no tensor leaks, because each of them has
/// a handle. The finding of the heap if nothing leaks. `is_judged`: garbage was collected.
pub(super) fn findings(run: &Run<'_>, is_judged: bool) -> Findings {
    let heap = run.judge().finding;
    let [host, resources, beside_heap, objects] = run.others(heap.verdict);
    let measured = [
        (heap.clone(), Measure::Heap),
        (host, Measure::Tensors),
        (beside_heap, Measure::Pages),
        (objects, Measure::Objects),
    ];
    let leaks = |finding: &Finding| finding.verdict == Verdict::Leaks;
    let leaking = |(finding, measure)| LeakingMeasure { finding, measure };
    let mut also: Vec<_> = measured.into_iter().filter(|(finding, _)| leaks(finding)).map(leaking).collect();
    also.sort_by(|a, b| b.finding.growth.bytes.total_cmp(&a.finding.growth.bytes));
    if leaks(&resources) && also.iter().all(|leak| leak.measure != Measure::Tensors) {
        also.push(leaking((resources, Measure::Handles)));
    }
    if also.is_empty() {
        return Findings { finding: heap, measure: Measure::Heap, also };
    }
    let LeakingMeasure { finding, measure } = also.remove(0);
    match is_judged {
        true => Findings { finding, measure, also },
        false => Findings { finding: finding.uncollected(), measure, also: Vec::new() },
    }
}

/// The samples that cause the growth in the second half of a run; `None` if all samples do, or none could be
/// identified.
fn growing(run: &Run<'_>, samples: &[Sample]) -> Option<Growing> {
    let grows: BTreeMap<usize, bool> = if run.collects { keeping(run) } else { enlarging(run) };
    let (grow, rest): (Vec<_>, Vec<_>) = grows.into_iter().partition(|(_, grows)| *grows);
    if grow.is_empty() || rest.is_empty() {
        return None;
    }
    let size = |(sample, _): &(usize, bool)| samples[*sample].size;
    let example = grow.iter().min_by_key(|entry| size(entry)).map(|(sample, _)| samples[*sample].name.clone());
    Some(Growing {
        samples: grow.len(),
        smallest: grow.iter().map(size).min()?,
        largest_other: rest.iter().map(size).max()?,
        example: example?,
    })
}

/// For each sample whether memory is larger after at least half of its calls.
fn enlarging(run: &Run<'_>) -> BTreeMap<usize, bool> {
    let mut growth: BTreeMap<usize, (i64, usize)> = BTreeMap::new();
    let bytes = |call: &Call| call.live.map_or(call.linear, |live| live.bytes) as i64;
    let is_known = |call: &Call| call.live.is_some() == run.heap.is_some();
    let late = |pair: &&[Call]| pair[1].round > run.rounds / 2 && pair.iter().all(is_known);
    for pair in run.calls.windows(2).filter(late) {
        let entry = growth.entry(pair[1].sample).or_default();
        entry.0 += bytes(&pair[1]) - bytes(&pair[0]);
        entry.1 += usize::from(bytes(&pair[1]) > bytes(&pair[0]));
    }
    let rounds = run.rounds - run.rounds / 2;
    growth.into_iter().map(|(sample, (bytes, times))| (sample, bytes > 0 && 2 * times >= rounds)).collect()
}

/// For each sample whether at least half of its calls made a block that leaks. In a language with a collector memory is
/// larger after every call until garbage is collected, so only what is left after the collection counts.
fn keeping(run: &Run<'_>) -> BTreeMap<usize, bool> {
    let leaking = run.judge().leaking;
    let is_late = |call: &Call| call.round > run.rounds / 2;
    let mut calls: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for call in run.calls.iter().filter(|call| is_late(call)) {
        calls.entry(call.sample).or_default().0 += 1;
    }
    let made = run.survivors.iter().filter(|survivor| leaking.contains(survivor.block));
    let keepers: BTreeSet<usize> = made.filter_map(|survivor| survivor.born).collect();
    for call in keepers.into_iter().filter_map(|index| run.calls.get(index)).filter(|call| is_late(call)) {
        calls.entry(call.sample).or_default().1 += 1;
    }
    calls.into_iter().map(|(sample, (all, keeping))| (sample, 2 * keeping >= all)).collect()
}
