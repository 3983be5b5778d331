//! Why a run gives no answer if nothing leaks.

use std::collections::BTreeSet;

use crate::corpus::Sample;
use crate::run::Run;
use crate::subject::PluginUnderTest;

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

/// The first of these reasons: the instance ended, although memory does not leak.
pub(super) fn stopped(run: &Run<'_>, what: &str, leaks: bool) -> Option<String> {
    let why = run.stopped.as_ref().filter(|_| !(run.is_full && leaks))?;
    Some(format!(
        "{what}: {why} after {} calls, at an input that it had answered before. Something fills up with each request",
        run.calls.len()
    ))
}

/// The reason, if memory grew in a run without collections: it may be garbage or a leak. `what` was run.
pub(super) fn uncollected(plugin: &PluginUnderTest, run: &Run<'_>, what: &str) -> Option<String> {
    let language = plugin.language.filter(|_| !run.collects && run.record.grows())?;
    Some(format!(
        "{what}: memory grew, and no collection of {language} was seen at the end of each round, so it may be garbage or a \
         leak"
    ))
}
