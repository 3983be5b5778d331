//! Why a run gives no answer if nothing leaks.

use std::collections::BTreeSet;

use crate::corpus::Sample;
use crate::rounds::ENOUGH_MEMORY;
use crate::run::Run;
use crate::subject::PluginUnderTest;
use crate::verdict::Verdict;

/// The reasons: the instance ended, although memory does not leak; a sample had another outcome than in the first round.
/// `what` was run. `leaks`: something leaks in this run, so a full memory is explained.
pub(super) fn reasons(run: &Run<'_>, what: &str, leaks: bool, samples: &[Sample]) -> Vec<String> {
    let mut reasons: Vec<_> = stopped(run, what, leaks).into_iter().collect();
    let first = &run.calls[..run.samples.len().min(run.calls.len())];
    let is_other = |(index, call): &(usize, &crate::record::Call)| call.outcome != first[index % first.len()].outcome;
    let mut changed = run.calls.iter().enumerate().filter(is_other).peekable();
    if let Some(&(index, call)) = changed.peek() {
        let (before, name) = (first[index % first.len()].outcome, &samples[call.sample].name);
        let (now, round) = (call.outcome, call.round);
        let count = changed.map(|(_, call)| call.sample).collect::<BTreeSet<_>>().len();
        reasons.push(format!(
            "{what}: the outcome of {count} samples changed, for example of {name} from {} to {} in round {round}. The same \
             inputs should have the same outcome in each round",
            before.as_str(),
            now.as_str()
        ));
    }
    reasons
}

/// The first of these reasons: the instance ended, although memory does not leak; or memory grew so much that no more calls were
/// made, and these do not show whether it goes on.
pub(super) fn stopped(run: &Run<'_>, what: &str, leaks: bool) -> Option<String> {
    if run.stopped.is_none() && run.record.is_cut_short && !leaks && may_go_on(run) {
        return Some(format!(
            "{what}: after {} calls memory was more than {} MiB larger than before the first one, so no more were made, and it is \
             not known whether it goes on growing. Use fewer or smaller inputs",
            run.calls.len(),
            ENOUGH_MEMORY >> 20
        ));
    }
    let why = run.stopped.as_ref().filter(|_| !(run.is_full && leaks))?;
    Some(format!(
        "{what}: {why} after {} calls, at an input that it had answered before. Something fills up with each request",
        run.calls.len()
    ))
}

/// Returns true if something grows of which it is not known whether it goes on.
fn may_go_on(run: &Run<'_>) -> bool {
    let heap = run.judge().finding.verdict;
    heap == Verdict::WarmingUp || run.others(heap).iter().any(|finding| finding.verdict == Verdict::WarmingUp)
}

/// The reason, if memory grew in a run without collections: it may be garbage or a leak. `what` was run.
pub(super) fn uncollected(plugin: &PluginUnderTest, run: &Run<'_>, what: &str) -> Option<String> {
    let language = plugin.language.filter(|_| !run.collects && run.record.grows())?;
    Some(format!(
        "{what}: memory grew, and no collection of {language} was seen at the end of each round, so it may be garbage or a \
         leak"
    ))
}
