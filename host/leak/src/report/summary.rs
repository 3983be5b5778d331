//! The summary for the terminal.

use std::fmt::Write as _;

use super::{per_request, remarks};
use crate::census::Group;
use crate::conclusion::Conclusion;
use crate::debug_info::Location;
use crate::finding::{Class, Elsewhere, Measure, ObjectGrowth, StackReport, Study, UNCHANGED};
use crate::known::Leak;
use crate::verdict::{Finding, Verdict};
use plimsoll_runtime::text::grouped;

/// Maximum groups, call stacks and block sizes that are shown for a class.
const MAX_SHOWN: usize = 3;
/// Maximum types that are shown for a class.
const MAX_TYPES: usize = 6;
/// Maximum callers that are shown below the function that allocated.
const CALLERS: usize = 4;

/// The results of a study as plain text. `leaks` are its leaks, with the known ones marked.
pub fn summary(study: &Study, leaks: &[Leak]) -> String {
    let mut text = String::new();
    head(&mut text, study, Conclusion::of(study, leaks));
    table(&mut text, study);
    for (index, class) in study.classes.iter().enumerate().filter(|(_, class)| class.finding.verdict == Verdict::Leaks)
    {
        leaking_class(&mut text, study, index, class);
    }
    for (name, Elsewhere { groups, .. }) in study.elsewhere().filter(|(_, found)| !found.groups.is_empty()) {
        let _ = writeln!(text, "\n{name}");
        for group in groups.iter().take(MAX_SHOWN) {
            let _ = writeln!(text, "  held by      {}", chain(group));
        }
    }
    if !study.difference.is_empty() && study.all.verdict != Verdict::Steady {
        difference(&mut text, study);
    }
    remarks::add(&mut text, study, leaks);
    text
}

/// The conclusion as a heading; the verdict if nothing leaks.
pub(super) fn heading(study: &Study, conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Leaks => "leaks",
        Conclusion::KnownLeaks => "known leaks",
        Conclusion::Unknown => "unknown",
        Conclusion::Suspicion => "suspicion",
        Conclusion::Uncollected => "unknown until a collection",
        Conclusion::NoLeak => study.verdict().as_str(),
    }
}

fn head(text: &mut String, study: &Study, conclusion: Conclusion) {
    let verdict = heading(study, conclusion).to_uppercase();
    let _ = writeln!(
        text,
        "{} {} ({}, sha256 {}…): {verdict}",
        study.plugin.name,
        study.plugin.version,
        study.kind.as_str(),
        &study.plugin.digest[..12]
    );
    let what = match (study.heap_is_known, &study.python) {
        (true, Some(python)) if python.collects => "live heap bytes after gc.collect()",
        (true, None) if study.collection.is_some() => "live buffers and objects after a collection",
        (true, _) => "live heap bytes",
        (false, _) => "linear memory",
    };
    let _ = writeln!(text, "{} samples × {} rounds in one instance, measured by {what}\n", study.samples, study.rounds);
}

fn table(text: &mut String, study: &Study) {
    let width = study.classes.iter().map(|class| class.name().len()).max().unwrap_or(0).max(UNCHANGED.len());
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
        for also in &class.also {
            row(&class.name(), class.samples, &also.finding, also.measure);
        }
    }
    for (name, finding, measure) in study.whole() {
        row(name, study.samples, finding, measure);
    }
    for (name, Elsewhere { leaks, .. }) in study.elsewhere() {
        leaks.iter().for_each(|leak| row(name, study.samples, &leak.finding, leak.measure));
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
            stack.own().map_or_else(|| "an unnamed function".to_owned(), ToString::to_string),
            grouped(stack.totals.inuse_space),
            grouped(stack.totals.inuse_objects)
        );
        for caller in callers(stack) {
            let _ = writeln!(text, "               ← {}", caller);
        }
    }
    for ty in study.types.iter().filter(|ty| ty.class == index).take(MAX_TYPES) {
        // A container that grew has a new storage, but is no new object.
        let count = if ty.objects == 0 { " (its storage)".to_owned() } else { format!(" × {}", grouped(ty.objects)) };
        let per_request = grouped(ty.per_request.round() as u64);
        let _ = writeln!(
            text,
            "  objects      {}{count}, {} bytes ({per_request} per request)",
            ty.name,
            grouped(ty.bytes)
        );
    }
    for ObjectGrowth { name, objects, per_request } in class.objects.iter().take(MAX_TYPES) {
        let _ = writeln!(text, "  objects      {name} × {} ({per_request:.1} per request)", grouped(*objects));
    }
    // The blocks of a class whose objects leak are not a part of its leak.
    let has_blocks = class.measure != Measure::Objects;
    for kind in study.kinds.iter().filter(|kind| has_blocks && kind.class == index).take(MAX_SHOWN) {
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
    if let Some(path) = &group.path {
        return format!("{}: {last}", path.text);
    }
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
        None => format!("{}: {last}", group.holder()),
    }
}

/// The plugin's own callers of its function that allocated.
fn callers(stack: &StackReport) -> impl Iterator<Item = &Location> {
    let own = stack.own();
    let after = stack.frames.iter().skip_while(move |frame| Some(*frame) != own).skip(1);
    after.filter(|frame| !frame.is_library()).take(CALLERS)
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
