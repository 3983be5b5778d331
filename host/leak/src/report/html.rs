//! `report.html`: everything on one page, which loads no other files.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::per_request;
use super::summary::chain;
use crate::conclusion::Conclusion;
use crate::finding::{Class, Measure, Study};
use crate::verdict::{Finding, Verdict};
use plimsoll_runtime::text::grouped;

/// Maximum rows of the longer tables.
const ROWS: usize = 20;

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .2rem .8rem; text-align: left; border-bottom: 1px solid #ddd }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
code, pre { font: 13px/1.4 ui-monospace, monospace }
.leaks { color: #b00020; font-weight: 600 } .steady { color: #1b6e2d } .warming { color: #8a5a00 }
pre { background: #f6f6f6; padding: 1rem; overflow-x: auto }
svg { max-width: 100%; height: auto }
td code { white-space: nowrap }
iframe { width: 100%; height: 32rem; border: 1px solid #ddd }
";

/// The page as text. `chart` and `flame` are SVG documents, `dot` is a Graphviz graph.
pub(super) fn page(study: &Study, conclusion: Conclusion, chart: &str, flame: Option<&str>, dot: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "Leak report: " (study.plugin.name) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 {
                    (study.plugin.name) " " (study.plugin.version) ": "
                    (heading(study, conclusion))
                }
                p {
                    (study.kind.as_str()) ", sha256 " code { (study.plugin.digest) } br;
                    (study.samples) " samples × " (study.rounds) " rounds in one instance, measured by "
                    @if study.heap_is_known { "live heap bytes" }
                    @else if study.collection.is_some() { "linear memory" }
                    @else { "linear memory (the allocator is not dlmalloc)" }
                }
                h2 { "Does it leak?" }
                (classes(study))
                (PreEscaped(svg_element(chart)))
                h2 { "What holds the surviving blocks?" }
                (holders(study))
                @if !study.types.is_empty() {
                    h2 { "Which Python objects leak?" }
                    (types(study))
                }
                h2 { "Which code allocated them?" }
                (stacks(study))
                @if let Some(flame) = flame {
                    // The flame graph needs its own document, because its script uses the first SVG of its document.
                    iframe title="flame graph" srcdoc=(svg_element(flame)) {}
                }
                h2 { "What do they contain?" }
                (survivors(study))
                h2 { "The graph of holders" }
                p { "This is the file " code { "retention.dot" } ", for Graphviz." }
                pre { (dot) }
            }
        }
    };
    page.into_string()
}

/// The `<svg>` element of an SVG document, without the XML declaration, which HTML does not allow.
fn svg_element(document: &str) -> &str {
    &document[document.find("<svg").unwrap_or(0)..]
}

fn verdict(verdict: Verdict) -> Markup {
    let class = match verdict {
        Verdict::Leaks => "leaks",
        Verdict::WarmingUp => "warming",
        Verdict::Steady => "steady",
        Verdict::Uncollected => "warming",
    };
    html! { span class=(class) { (verdict.as_str()) } }
}

/// The conclusion; the verdict if nothing leaks.
fn heading(study: &Study, conclusion: Conclusion) -> Markup {
    let class = match conclusion {
        Conclusion::Leaks => "leaks",
        Conclusion::KnownLeaks | Conclusion::Suspicion | Conclusion::Unknown | Conclusion::Uncollected => "warming",
        Conclusion::NoLeak => return verdict(study.verdict()),
    };
    html! { span class=(class) { (super::summary::heading(study, conclusion)) } }
}

fn classes(study: &Study) -> Markup {
    let row = |name: &str, samples: usize, finding: &Finding, measure: Measure| {
        html! {
            tr {
                td { (name) }
                td.n { (samples) }
                td { (verdict(finding.verdict)) }
                td.n { (per_request(&finding.growth)) (measure.unit()) }
                td.n { (format!("{:.2}", finding.growth.blocks)) }
            }
        }
    };
    html! {
        table {
            tr {
                th { "class" } th.n { "samples" } th { "verdict" } th.n { "bytes per request (95 %)" }
                th.n { "blocks per request" }
            }
            @for class in &study.classes {
                (row(&class.name(), class.samples, &class.finding, class.measure))
                @for also in &class.also { (row(&class.name(), class.samples, &also.finding, also.measure)) }
            }
            @for (name, finding, measure) in study.whole() { (row(name, study.samples, finding, measure)) }
            @for (name, found) in study.elsewhere() {
                @for leak in &found.leaks { (row(name, study.samples, &leak.finding, leak.measure)) }
            }
        }
        @for class in &study.classes {
            @if let Some(growing) = &class.growing {
                p {
                    (class.name()) ": " (growing.samples) " of " (class.samples) " samples cause the growth. The "
                    "smallest of these has " (grouped(growing.smallest as u64)) " bytes, the largest other sample has "
                    (grouped(growing.largest_other as u64)) " bytes."
                }
            }
        }
    }
}

fn class_name(study: &Study, class: usize) -> String {
    study.classes.get(class).map(Class::name).unwrap_or_default()
}

fn holders(study: &Study) -> Markup {
    html! {
        table {
            tr { th { "class" } th { "chain" } }
            @for group in study.groups.iter().take(ROWS) {
                tr { td { (class_name(study, group.class)) } td { code { (chain(group)) } } }
            }
        }
    }
}

/// The growth of each type over the rounds.
fn types(study: &Study) -> Markup {
    let mut rounds: Vec<usize> = [1, study.rounds / 4, study.rounds / 2, study.rounds].into();
    rounds.dedup();
    html! {
        table {
            tr {
                th { "class" } th { "type" } th.n { "bytes per request" }
                @for round in &rounds { th.n { "objects (bytes) after round " (round) } }
            }
            @for ty in study.types.iter().take(ROWS) {
                tr {
                    td { (class_name(study, ty.class)) }
                    td { code { (ty.name) } }
                    td.n { (format!("{:.0}", ty.per_request)) }
                    @for &round in &rounds {
                        @let held = ty.until(round);
                        td.n { (grouped(held.blocks)) " (" (grouped(held.bytes)) ")" }
                    }
                }
            }
        }
        p {
            "Objects of all calls up to a round that are in use at the end; bytes with the storage of dicts, lists and "
            "bytearrays. " code { "growth.csv" } " has these bytes by call."
        }
    }
}

fn survivors(study: &Study) -> Markup {
    html! {
        table {
            tr { th { "class" } th.n { "size" } th.n { "blocks" } th { "first bytes" } th { "inputs" } }
            @for kind in study.kinds.iter().take(ROWS) {
                tr {
                    td { (class_name(study, kind.class)) }
                    td.n { (grouped(u64::from(kind.size))) }
                    td.n { (kind.blocks) }
                    td { code { (kind.first_bytes) } }
                    td { (kind.inputs.join(", ")) @if kind.input_count > kind.inputs.len() { " and others" } }
                }
            }
        }
        table {
            tr { th.n { "block size" } th.n { "after round 1" } th.n { "at the end" } th.n { "bytes added" } }
            @for row in study.difference.iter().take(ROWS) {
                tr {
                    td.n { (grouped(u64::from(row.size))) }
                    td.n { (row.before) }
                    td.n { (row.after) }
                    td.n { (row.bytes()) }
                }
            }
        }
    }
}

fn stacks(study: &Study) -> Markup {
    html! {
        @if let Some(reason) = &study.no_stacks { p { "No call stacks: " (reason) "." } }
        @for stack in study.stacks.iter().filter(|stack| stack.totals.inuse_objects > 0).take(ROWS) {
            p {
                (class_name(study, stack.class)) ": "
                strong { (stack.own().map(ToString::to_string).unwrap_or_default()) } ", "
                (grouped(stack.totals.inuse_space)) " bytes in "
                (grouped(stack.totals.inuse_objects)) " blocks per round"
            }
            pre { (stack.frames.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")) }
        }
    }
}
