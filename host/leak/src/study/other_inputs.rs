//! Runs over other inputs than the files with other ignored bytes, which the run over all samples has:
//!
//! - The files as they are. Each call of the other runs gets other bytes, so a plugin that looks at the beginning or the end
//!   of a file, at its length or at its digest never sees what it looks for.
//! - Files and tensors with other contents. A cache whose key is the decoded input grows only with these.

use super::{holders, unanswered};
use crate::class_run::{Findings, findings};
use crate::debug_info::DebugInfo;
use crate::finding::{CONTENTS, Elsewhere, LeakingMeasure, Measure};
use crate::progress::Progress;
use crate::record::Rates;
use crate::rounds::{ENOUGH_CALLS, Rounds, STEADY_TIME};
use crate::run::{Run, RunError};
use crate::subject::PluginUnderTest;
use crate::variation::Inputs;
use crate::verdict::{MIN_ROUNDS, Verdict};
use plimsoll_runtime::outcome::Outcome;

/// The least number of rounds with other inputs. A table that is not empty at first holds those of a few calls.
fn least_rounds(plugin: &PluginUnderTest, with_variants: &Run<'_>) -> usize {
    const CALLS: usize = ENOUGH_CALLS / 4;
    let per_call = with_variants.record.time / with_variants.calls.len().max(1) as u32;
    // A call of an interpreter takes much longer.
    if plugin.language.is_some() || per_call * CALLS as u32 > STEADY_TIME {
        return MIN_ROUNDS;
    }
    MIN_ROUNDS.max(CALLS.div_ceil(with_variants.samples.len().max(1)).next_power_of_two())
}

/// Runs the samples with their own contents: a few rounds, and in full if anything grows. Returns what leaks and does not
/// leak as much `with_variants`, and the run; nothing if no sample was varied.
pub(super) async fn unchanged<'a>(
    plugin: &'a PluginUnderTest,
    debug_info: &DebugInfo<'_>,
    inputs: &Inputs<'_>,
    with_variants: &Run<'_>,
    progress: &Progress,
) -> Result<Option<(Elsewhere, Run<'a>)>, RunError> {
    if !with_variants.samples.iter().any(|&sample| inputs.is_varied(sample)) {
        return Ok(None);
    }
    progress.step("files as they are", with_variants.samples.len() * least_rounds(plugin, with_variants));
    let (found, run) = execute(plugin, debug_info, inputs, &inputs.unchanged(), with_variants, progress).await?;
    Ok(Some((found, run)))
}

/// What a run with other contents found.
pub(super) struct ContentsRun<'a> {
    pub(super) found: Elsewhere,
    /// Why it gives no answer: it ended early, or no collection was seen.
    pub(super) unanswered: Option<String>,
    /// The samples, and how the contents of each are changed.
    pub(super) inputs: Inputs<'a>,
}

/// The same with other contents for each call: other pixels, numbers or letters. It finds nothing if no sample can be changed
/// so, or too many of the changed inputs end the instance: they are not inputs of the corpus. `leaks`: something leaks in an
/// earlier run.
pub(super) async fn contents<'a>(
    plugin: &PluginUnderTest,
    debug_info: &DebugInfo<'_>,
    inputs: &Inputs<'a>,
    with_variants: &Run<'_>,
    leaks: bool,
    progress: &Progress,
) -> Result<ContentsRun<'a>, RunError> {
    let samples = &with_variants.samples;
    progress.step("other pixels, numbers or letters", samples.len() * (2 + least_rounds(plugin, with_variants)));
    let outcome =
        |sample: usize| with_variants.calls.iter().find(|call| call.sample == sample).map(|call| call.outcome);
    let outcomes: Vec<(usize, Outcome)> =
        samples.iter().filter_map(|&sample| Some((sample, outcome(sample)?))).collect();
    let changed = inputs.with_other_contents(plugin, &outcomes, progress).await?;
    if !samples.iter().any(|&sample| changed.is_varied(sample)) {
        return Ok(ContentsRun { found: Elsewhere::default(), unanswered: None, inputs: changed });
    }
    let (found, unanswered) = match execute(plugin, debug_info, inputs, &changed, with_variants, progress).await {
        // That a changed input has another outcome says nothing about the plugin.
        Ok((found, run)) => {
            let stopped = unanswered::stopped(&run, CONTENTS, !found.leaks.is_empty() || leaks);
            (found, stopped.or_else(|| unanswered::uncollected(plugin, &run, CONTENTS)))
        }
        Err(RunError::Subject(error)) => return Err(error.into()),
        Err(error @ RunError::EndedEarly { .. }) => (Elsewhere::default(), Some(format!("{CONTENTS}: {error}"))),
        // None of the inputs was run with other contents.
        Err(_) => {
            return Ok(ContentsRun { found: Elsewhere::default(), unanswered: None, inputs: changed.unchanged() });
        }
    };
    Ok(ContentsRun { found, unanswered, inputs: changed })
}

/// Runs the samples `with_variants` with the inputs `now`. Returns what leaks then only, or more than the size of the inputs
/// explains.
async fn execute<'a>(
    plugin: &'a PluginUnderTest,
    debug_info: &DebugInfo<'_>,
    before: &Inputs<'_>,
    now: &Inputs<'_>,
    with_variants: &Run<'_>,
    progress: &Progress,
) -> Result<(Elsewhere, Run<'a>), RunError> {
    let chosen = &with_variants.samples;
    let mut leaking = leaks_of(plugin, with_variants);
    let mut rates = with_variants.record.rates();
    let least = least_rounds(plugin, with_variants);
    let rounds = |known| Rounds { least, until_enough: false, known };
    // Files as they are have the same contents in each call already, and are smaller than before.
    let has_another_size = |&sample: &usize| now.is_varied(sample) && now.has_another_size(before, sample);
    if !leaking.is_empty() && chosen.iter().any(has_another_size) {
        // What leaks may depend on the size of the inputs. So they are run once more with the contents of one call.
        progress.step("contents that stay", chosen.len() * least);
        let run = Run::execute(plugin, &now.repeated(), chosen, rounds(Some(rates)), progress).await?;
        rates = rates.or_more(run.record.rates());
        leaking.extend(leaks_of(plugin, &run));
    }
    // What leaks already goes on. Only if more leaks, more rounds can show something new.
    let known = (!leaking.is_empty()).then_some(rates);
    let mut run = Run::execute(plugin, now, chosen, rounds(known), progress).await?;
    let is_new = |leak: &LeakingMeasure| {
        let growth = &leak.finding.growth;
        let same = leaking.iter().filter(|before| before.measure == leak.measure).map(|same| &same.finding.growth);
        let before = same.map(|same| same.bytes + same.bytes_within).reduce(f64::max);
        before.is_none_or(|before| {
            let now = growth.bytes - growth.bytes_within;
            // Of handles there is no slack.
            match leak.measure.is_bytes() {
                true => !Rates::is_as_before(before, now),
                false => !Rates::are_as_many(before, now),
            }
        })
    };
    // Of a few rounds, chance decides more than of many.
    let is_as_known = known.is_some_and(|known| run.record.rates().are_as_before(&known));
    let leaks: Vec<_> = leaks_of(plugin, &run).into_iter().filter(|leak| !is_as_known && is_new(leak)).collect();
    let groups = match leaks.iter().any(|leak| leak.measure == Measure::Heap) {
        true => holders::of_class(&mut run, plugin, debug_info, now.samples, 0).0,
        false => Vec::new(),
    };
    Ok((Elsewhere { leaks, groups }, run))
}

/// What leaks in a run.
fn leaks_of(plugin: &PluginUnderTest, run: &Run<'_>) -> Vec<LeakingMeasure> {
    let Findings { finding, measure, also } = findings(run, plugin.language.is_none() || run.collects);
    let first = (finding.verdict == Verdict::Leaks).then_some(LeakingMeasure { finding, measure });
    first.into_iter().chain(also).collect()
}
