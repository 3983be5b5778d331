//! The remarks at the end of the summary: what the numbers do not say.

use std::fmt::Write as _;

use super::per_request;
use crate::conclusion::suspicious_inputs;
use crate::finding::{CollectionReport, Measure, PythonReport, Study};
use crate::known::Leak;
use crate::verdict::Verdict;
use plimsoll_runtime::text::grouped;

/// What concerns plugins in Python.
fn python_remarks(python: &PythonReport, study: &Study, remark: &mut impl FnMut(&str)) {
    if !python.is_known {
        remark(&format!(
            "The plugin has CPython {}, whose objects this version of plimsoll cannot read (it reads those of CPython 3.14, \
             and of later versions whose table of offsets and types it understands). So only bytes are counted: garbage that is not yet collected counts as live, and no global is named.",
            python.version
        ));
    } else if !python.collects {
        remark(
            "Python's collector could not be run from outside, so garbage in cycles counts as live until the collection \
             that is due. Run it with more --rounds if a class leaks only cycles.",
        );
    }
    if study.runtime.verdict != Verdict::Steady {
        let growth = &study.runtime.growth;
        remark(&format!(
            "componentize-py's runtime, not your code: it keeps {} bytes per request in {:.1} blocks. It never frees the \
             copies of `bytes` that go to the host, nor empty lists from the host. Fresh instances are not affected. This \
             growth is not counted above.",
            per_request(growth),
            growth.blocks
        ));
    }
    if study.leaks() && python.is_known {
        remark(
            "A Python leak is what a global still refers to: empty or bound the container in the chain above, or break \
             the reference. An exception that is raised again keeps the frames of every raise: raise a new one, or set \
             its `__traceback__` to None.",
        );
    }
}

/// What concerns plugins in another language with a collector.
fn collection_remarks(collection: &CollectionReport, study: &Study, remark: &mut impl FnMut(&str)) {
    let CollectionReport { language, is_seen } = collection;
    match (is_seen, *language) {
        (false, "JavaScript") => remark(
            "No verdict: JavaScript frees memory only when it collects garbage, and no collection was seen at the end of \
             each round. What is in memory may be garbage or a leak. The laboratory makes the engine of componentize-js \
             0.23 collect: build the plugin with that version (`plimsoll plugin build`), and use inputs for which \
             the plugin allocates.",
        ),
        (false, language) => remark(&format!(
            "No verdict: {language} frees memory only when it collects garbage, and the laboratory cannot see its \
             collections. What is in memory may be garbage or a leak. Fresh instances are not affected by either.",
        )),
        (true, _) if study.leaks() => remark(
            "A leak in JavaScript is what a variable of a module still refers to: a list, a Map, listeners, an error with \
             what it carries. Empty or bound it, or keep it inside of the function. The numbers count buffers (typed \
             arrays, tables of Maps, long strings) on the heap, and objects by themselves in blocks of 4 KiB; of \
             which classes of the engine there are more and more, is listed above (instances of your own classes are \
             `Object`). Which variable it is, is not seen.",
        ),
        _ => {}
    }
}

/// How rare a leak may be that the study would have found.
fn sensitivity(study: &Study) -> String {
    let one_of = |calls: usize, rarest: usize, what: &str| match rarest {
        0 => format!(
            "{} {what}, which are too few to exclude a leak that does not occur in each of them",
            grouped(calls as u64)
        ),
        rarest => format!(
            "{} {what}: no leak of a block or a handle that occurs in at least one of {}",
            grouped(calls as u64),
            grouped(rarest as u64)
        ),
    };
    let mut text = format!("Tried: {}", one_of(study.calls.len(), study.rarest_leak, "calls in one instance"));
    let fewest = study.classes.iter().min_by_key(|class| class.calls);
    if let Some(class) = fewest.filter(|_| study.classes.len() > 1) {
        let calls = format!("calls of {}", class.name());
        text += &format!(". Fewest: {}", one_of(class.calls, class.rarest_leak, &calls));
    }
    text + ". A rarer leak, or one that begins later, is not excluded: more --rounds or more inputs find it."
}

/// Which inputs had other contents in each call, and the classes of those that had not.
fn other_contents(study: &Study) -> Option<String> {
    let classes: Vec<_> =
        study.classes.iter().filter_map(|class| Some((class, class.other_contents.as_ref()?))).collect();
    let (many, few) = classes.iter().fold((0, 0), |sum, (_, one)| (sum.0 + one.many, sum.1 + one.few));
    if classes.is_empty() {
        return None;
    }
    let mut text =
        format!("Other contents: {many} of {} inputs had other pixels, numbers or letters in each call.", many + few);
    let without = classes.iter().filter_map(|(class, one)| Some((class, one, one.fewest.as_ref()?)));
    let without = without.map(|(class, one, (name, count))| {
        let contents = if *count == 1 { "always the same".to_owned() } else { format!("only {count}") };
        format!("{} of {} of {} (for example {name}: {contents})", one.few, one.few + one.many, class.name())
    });
    let without: Vec<_> = without.collect();
    if !without.is_empty() {
        let _ = write!(
            text,
            " Not so {}: for these, a cache whose key is the decoded input is not excluded.",
            without.join(", ")
        );
    }
    Some(text)
}

/// Adds the remarks.
pub(super) fn add(text: &mut String, study: &Study, leaks: &[Leak]) {
    let mut remark = |words: &str| {
        let _ = writeln!(text, "\n{words}");
    };
    if let Some(collection) = &study.collection {
        collection_remarks(collection, study, &mut remark);
    } else if !study.heap_is_known {
        remark(
            "The allocator is not dlmalloc, so only the growth of linear memory is known. Fragmentation looks like a \
             leak, a leak in memory that the plugin reserved before is not seen, and blocks cannot be listed. Build the \
             plugin with Rust's or wasi-libc's own allocator for an answer.",
        );
    }
    if study.fragments {
        remark(
            "Linear memory grows although the bytes in use do not: the heap is fragmented. Fresh instances are not \
             affected, but the memory cap must leave room for fragmentation.",
        );
    }
    if study.beside_heap.verdict == Verdict::Leaks {
        let growers: Vec<_> = study.growers.iter().map(ToString::to_string).collect();
        let growers = if growers.is_empty() { "a function without a name".to_owned() } else { growers.join(", ") };
        remark(&format!(
            "Linear memory grows beside the allocator's heap: the plugin grows it itself (`memory.grow`), and never uses \
             the pages again. It is grown in {growers}.",
        ));
    }
    if study.resources.verdict == Verdict::Leaks {
        let kinds: Vec<_> =
            study.resource_kinds.iter().map(|(kind, count)| format!("{} {kind}", grouped(*count))).collect();
        remark(&format!(
            "Handles leak: since the first round the plugin has not dropped the handles of {}. A handle must be dropped, or \
             passed on.",
            kinds.join(", ")
        ));
    }
    if !study.unchanged.leaks.is_empty() {
        remark(
            "More leaks if the files are given as they are than with other bytes in each call: the plugin looks at the \
             beginning or the end of a file, at its length, or at its digest.",
        );
    }
    if !study.contents.leaks.is_empty() {
        remark(
            "More leaks if each call gets other pixels, numbers or letters: something is kept for each new content, for \
             example in a cache whose key is the decoded input. Bound it.",
        );
    }
    if !study.leaks() {
        study.unanswered.iter().for_each(|reason| remark(&format!("No answer: {reason}.")));
    }
    let kept = suspicious_inputs(study);
    if kept > 0 {
        remark(&format!(
            "Suspicion: {kept} inputs left a block each in the first round that is still in use. What is kept for each \
             input, for example in a cache whose key is the decoded image, grows without end with new inputs. Run it with \
             a corpus of other inputs to see whether more is kept.",
        ));
    }
    if !study.leaks() && study.heap_is_known {
        remark(&sensitivity(study));
        other_contents(study).into_iter().for_each(|text| remark(&text));
    }
    for class in study.classes.iter().filter(|class| class.finding.verdict == Verdict::Leaks) {
        if study.all.verdict == Verdict::Steady && class.measure == Measure::Heap {
            remark(&format!(
                "All samples together do not grow: other inputs free what {} keeps. A stream of only this class grows \
                 without end.",
                class.name()
            ));
        }
    }
    for leak in leaks {
        if let Some(why) = &leak.known {
            remark(&format!("The leak in {} is {why}.", leak.place));
        }
    }
    if study.host.verdict == Verdict::Leaks {
        remark(
            "Tensors leak: the plugin keeps handles of `wasi:nn` tensors that it created, and the host holds their \
             bytes. The plugin must drop each handle or return it.",
        );
    }
    if study.verdict() == Verdict::WarmingUp && !study.leaks() {
        remark(
            "Memory grows more and more slowly: a cache is filling, or something was allocated late. Run it with more \
             --rounds to see whether the growth ends.",
        );
    }
    let none_alone = study.classes.iter().all(|class| class.finding.verdict != Verdict::Leaks);
    if study.all.verdict == Verdict::Leaks && none_alone {
        remark("No class leaks alone. Only a mix of classes leaks, for example one kind of input after another.");
    }
    if let Some(python) = &study.python {
        python_remarks(python, study, &mut remark);
    }
    if study.leaks() && !study.has_debug_info && study.python.is_none() && study.collection.is_none() {
        remark(
            "The plugin has no DWARF, so statics have no names and functions have no source lines. Build it with \
             `debug = 2` and `strip = \"none\"` in its profile to see names and lines.",
        );
    }
    let has_stack =
        |class: usize| study.stacks.iter().any(|stack| stack.class == class && stack.totals.inuse_objects > 0);
    for (index, class) in study.classes.iter().enumerate() {
        let leaks = class.finding.verdict == Verdict::Leaks && class.measure == Measure::Heap;
        if leaks && study.no_stacks.is_none() && !has_stack(index) {
            remark(&format!(
                "No call stack of the leak in {}: the two traced rounds left no block of this class. It may leak more rarely, \
                 or share a block that another class enlarged. Run it with a larger corpus of this class.",
                class.name()
            ));
        }
    }
    if let Some(reason) = study.no_stacks.as_ref().filter(|_| study.collection.is_none() || study.leaks()) {
        remark(&format!("No call stacks: {reason}."));
    }
    if let Some(reason) = &study.stopped {
        remark(&format!("The run ended after {} rounds: {reason}.", study.rounds));
    }
    if let Some((sample, how)) = study.excluded.first() {
        remark(&format!(
            "{} samples were left out because they end the instance, for example {sample} ({}).",
            study.excluded.len(),
            how.as_str()
        ));
    }
}
