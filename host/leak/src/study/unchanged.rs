//! The files as they are. Each call of the other runs gets other contents, so a plugin that looks at the beginning or the end
//! of a file, at its length or at its digest never sees what it looks for.

use crate::class_run::{Findings, findings};
use crate::finding::LeakingMeasure;
use crate::progress::Progress;
use crate::rounds::Rounds;
use crate::run::{Run, RunError};
use crate::subject::PluginUnderTest;
use crate::variation::Inputs;
use crate::verdict::{MIN_ROUNDS, Verdict};

/// Factor by which a leak of the files as they are is larger than that of their variants, and bytes in addition: two runs
/// differ by this much.
const MORE: f64 = 1.1;
const MORE_BYTES: f64 = 16.0;

/// Runs the samples with their own contents: a few rounds, and in full if anything grows. Returns what leaks and does not
/// leak as much `with_variants`, and the run; nothing if no sample was varied.
pub(super) async fn run<'a>(
    plugin: &'a PluginUnderTest,
    inputs: &Inputs<'_>,
    with_variants: &Run<'_>,
    progress: &Progress,
) -> Result<Option<(Vec<LeakingMeasure>, Run<'a>)>, RunError> {
    let chosen = &with_variants.samples;
    if !chosen.iter().any(|&sample| inputs.is_varied(sample)) {
        return Ok(None);
    }
    progress.step("files as they are", chosen.len() * MIN_ROUNDS);
    let rounds = Rounds { least: MIN_ROUNDS, until_enough: false };
    let run = Run::execute(plugin, &inputs.unchanged(), chosen, rounds, progress).await?;
    let all = |run: &Run<'_>| {
        let Findings { finding, measure, also } = findings(run, plugin.language.is_none() || run.collects);
        let first = (finding.verdict == Verdict::Leaks).then_some(LeakingMeasure { finding, measure });
        first.into_iter().chain(also).collect::<Vec<_>>()
    };
    let before = all(with_variants);
    let is_new = |leak: &LeakingMeasure| {
        let same = before.iter().find(|before| before.measure == leak.measure);
        let growth = &leak.finding.growth;
        same.map(|same| &same.finding.growth).is_none_or(|same| {
            growth.bytes - growth.bytes_within > MORE * (same.bytes + same.bytes_within) + MORE_BYTES
        })
    };
    Ok(Some((all(&run).into_iter().filter(is_new).collect(), run)))
}
