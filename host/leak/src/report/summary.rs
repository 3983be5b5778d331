//! The summary for the terminal.

use std::fmt::Write as _;

use super::{per_request, whole};
use crate::census::Group;
use crate::debug_info::Location;
use crate::finding::{Class, Measure, StackReport, Study};
use crate::verdict::{Finding, Verdict};
use plimsoll_runtime::text::grouped;

/// Maximum groups, call stacks and block sizes that are shown for a class.
const MAX_SHOWN: usize = 3;
/// Maximum callers that are shown below the function that allocated.
const CALLERS: usize = 4;

/// The results of a study as plain text.
pub fn summary(study: &Study) -> String {
    let mut text = String::new();
    head(&mut text, study);
    table(&mut text, study);
    for (index, class) in study.classes.iter().enumerate().filter(|(_, class)| class.finding.verdict == Verdict::Leaks)
    {
        leaking_class(&mut text, study, index, class);
    }
    if !study.difference.is_empty() && study.all.verdict != Verdict::Steady {
        difference(&mut text, study);
    }
    remarks(&mut text, study);
    text
}

fn head(text: &mut String, study: &Study) {
    let verdict = if study.leaks() { Verdict::Leaks } else { study.all.verdict };
    let verdict = verdict.as_str().to_uppercase();
    let _ = writeln!(
        text,
        "{} {} ({}, sha256 {}…): {verdict}",
        study.plugin.name,
        study.plugin.version,
        study.kind.as_str(),
        &study.plugin.digest[..12]
    );
    let what = if study.heap_is_known { "live heap bytes" } else { "linear memory" };
    let _ = writeln!(text, "{} samples × {} rounds in one instance, measured by {what}\n", study.samples, study.rounds);
}

fn table(text: &mut String, study: &Study) {
    let width = study.classes.iter().map(|class| class.name().len()).max().unwrap_or(0).max("(host tensors)".len());
    let _ = writeln!(
        text,
        "{:<width$}  {:>7}  {:<10}  {:>24}  {:>18}",
        "class", "samples", "verdict", "bytes per request (95 %)", "blocks per request"
    );
    let mut row = |name: &str, samples: usize, finding: &Finding, measure: Measure| {
        let _ = writeln!(
            text,
            "{name:<width$}  {samples:>7}  {:<10}  {:>24}  {:>18.2}",
            finding.verdict.as_str(),
            per_request(&finding.growth) + measure.unit(),
            finding.growth.blocks
        );
    };
    for class in &study.classes {
        row(&class.name(), class.samples, &class.finding, class.measure);
    }
    for (name, finding, measure) in whole(study) {
        row(name, study.samples, finding, measure);
    }
}

fn leaking_class(text: &mut String, study: &Study, index: usize, class: &Class) {
    let start = text.len();
    if let Some(growing) = &class.growing {
        let _ = write!(
            text,
            "  grows on     {} of {} samples, for example {}",
            growing.samples, class.samples, growing.example
        );
        if growing.smallest > growing.largest_other {
            let _ = write!(
                text,
                "; these have {} bytes or more, the others at most {}",
                grouped(growing.smallest as u64),
                grouped(growing.largest_other as u64)
            );
        }
        text.push('\n');
    }
    for group in study.groups.iter().filter(|group| group.class == index).take(MAX_SHOWN) {
        let _ = writeln!(text, "  held by      {}", chain(group));
    }
    let stacks = study.stacks.iter().filter(|stack| stack.class == index && stack.totals.inuse_objects > 0);
    for stack in stacks.take(MAX_SHOWN) {
        let _ = writeln!(
            text,
            "  allocated by {}, {} bytes in {} blocks per round",
            stack.own().map_or_else(|| "an unnamed function".to_owned(), location),
            grouped(stack.totals.inuse_space),
            grouped(stack.totals.inuse_objects)
        );
        for caller in callers(stack) {
            let _ = writeln!(text, "               ← {}", location(caller));
        }
    }
    for kind in study.kinds.iter().filter(|kind| kind.class == index).take(MAX_SHOWN) {
        let _ = writeln!(
            text,
            "  survivor     {} bytes × {}, begins with {}, allocated by {}",
            grouped(u64::from(kind.size)),
            kind.blocks,
            kind.first_bytes,
            if kind.input_count == 1 { kind.inputs[0].clone() } else { format!("{} inputs", kind.input_count) }
        );
    }
    if text.len() > start {
        text.insert_str(start, &format!("\n{}\n", class.name()));
    }
}

/// For example `static NAME → 48-byte block → 1,048,592-byte block × 12 (12,583,104 bytes)`.
pub(super) fn chain(group: &Group) -> String {
    let sizes = match group.sizes {
        (small, large) if small == large => grouped(u64::from(small)),
        (small, large) => format!("{}…{}", grouped(u64::from(small)), grouped(u64::from(large))),
    };
    let last = format!("{sizes}-byte block × {} ({} bytes)", grouped(group.blocks as u64), grouped(group.bytes));
    match &group.chain {
        Some(chain) => {
            // Consecutive links of the same size are a linked list.
            let mut between = String::new();
            let mut links = chain.blocks[..chain.blocks.len() - 1].iter().peekable();
            while let Some(link) = links.next() {
                let mut alike = 1;
                while links.next_if(|next| next.size == link.size).is_some() {
                    alike += 1;
                }
                let times = if alike > 1 { format!(" (a list, {alike} links)") } else { String::new() };
                between.push_str(&format!("{}-byte block{times} → ", grouped(u64::from(link.size))));
            }
            format!("{} → {between}{last}", chain.root)
        }
        None if group.is_ring => format!("nothing (unreachable: a reference cycle): {last}"),
        None => format!("nothing (unreachable: forgotten, or leaked on purpose): {last}"),
    }
}

/// The callers of the plugin's own function that allocated.
fn callers(stack: &StackReport) -> impl Iterator<Item = &Location> {
    let own = stack.own();
    stack.frames.iter().skip_while(move |frame| Some(*frame) != own).skip(1).take(CALLERS)
}

/// The function with its file and line, if they are known.
pub(super) fn location(location: &Location) -> String {
    match (&location.file, location.line) {
        (Some(file), Some(line)) => format!("{} ({file}:{line})", location.function),
        _ => location.function.clone(),
    }
}

fn difference(text: &mut String, study: &Study) {
    let _ = writeln!(text, "\n{:>12}  {:>12}  {:>12}  {:>14}", "block size", "round 1", "at the end", "bytes added");
    for row in study.difference.iter().take(5) {
        let sign = if row.bytes() < 0 { "-" } else { "+" };
        let _ = writeln!(
            text,
            "{:>12}  {:>12}  {:>12}  {:>14}",
            grouped(u64::from(row.size)),
            grouped(row.before as u64),
            grouped(row.after as u64),
            format!("{sign}{}", grouped(row.bytes().unsigned_abs()))
        );
    }
}

fn remarks(text: &mut String, study: &Study) {
    let mut remark = |words: &str| {
        let _ = writeln!(text, "\n{words}");
    };
    if !study.heap_is_known {
        remark(
            "The allocator is not dlmalloc, so only the growth of linear memory is known. Fragmentation looks like a \
             leak, and blocks cannot be listed.",
        );
    }
    if study.fragments {
        remark(
            "Linear memory grows although the bytes in use do not: the heap is fragmented. Fresh instances are not \
             affected, but the memory cap must leave room for fragmentation.",
        );
    }
    if study.host.verdict == Verdict::Leaks {
        remark(
            "Tensors leak: the plugin keeps handles of `wasi:nn` tensors that it created, and the host holds their \
             bytes. The plugin must drop each handle or return it.",
        );
    }
    if study.all.verdict == Verdict::WarmingUp && !study.leaks() {
        remark(
            "Memory grows more and more slowly: a cache is filling, or something was allocated late. Run it with more \
             --rounds to see whether the growth ends.",
        );
    }
    let none_alone = study.classes.iter().all(|class| class.finding.verdict != Verdict::Leaks);
    if study.all.verdict == Verdict::Leaks && none_alone {
        remark("No class leaks alone. Only a mix of classes leaks, for example one kind of input after another.");
    }
    if study.leaks() && !study.has_debug_info {
        remark(
            "The plugin has no DWARF, so statics have no names and functions have no source lines. Build it with \
             `debug = 2` and `strip = \"none\"` in its profile to see names and lines.",
        );
    }
    if let Some(reason) = &study.no_stacks {
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
