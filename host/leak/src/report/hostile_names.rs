//! Tests: the names in a component and in a corpus are not trusted. Reports show them as text, whatever they contain.

use plimsoll_runtime::identity::Identity;
use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::text::{printable, printable_lines};

use super::{dot, flame, growth, html, summary};
use crate::allocations::Totals;
use crate::census::Group;
use crate::conclusion::Conclusion;
use crate::debug_info::Location;
use crate::finding::{Class, Elsewhere, Measure, OtherContents, StackReport, Study, TypeGrowth};
use crate::retention::{Chain, Link, Root};
use crate::symbols::demangle;
use crate::verdict::{Finding, Growth, Held, Verdict};

const NAME: &str = "<script>alert(1)</script>\"]; x -> y; \u{1b}[2J\u{0} 5";

fn study() -> Study {
    let shown = printable(NAME, 1_000);
    let finding = Finding {
        verdict: Verdict::Leaks,
        growth: Growth::default(),
        held: vec![Held { bytes: 1, blocks: 1 }, Held { bytes: 9, blocks: 2 }],
    };
    let class = Class {
        outcome: Outcome::Ok,
        folder: shown.clone(),
        calls: 8,
        rarest_leak: 0,
        samples: 1,
        kept_in_first_round: 0,
        finding: finding.clone(),
        measure: Measure::Heap,
        also: Vec::new(),
        growing: None,
        objects: Vec::new(),
        other_contents: Some(OtherContents { many: 0, few: 1, fewest: Some((shown.clone(), 1)) }),
    };
    let chain = Chain { root: Root::Static { name: shown.clone() }, blocks: vec![Link { size: 48 }] };
    let (chain, is_ring, is_object) = (Some(chain), false, false);
    let group = Group { class: 0, blocks: 1, bytes: 48, sizes: (48, 48), chain, path: None, is_ring, is_object };
    let frame = Location { function: demangle(NAME), file: Some(shown.clone()), line: Some(1) };
    let totals = Totals { alloc_space: 9, alloc_objects: 1, inuse_space: 9, inuse_objects: 1 };
    let digest = "0".repeat(64);
    Study {
        plugin: Identity { name: shown.as_str().into(), version: "1.0.0".into(), digest: digest.as_str().into() },
        kind: StageKind::Preprocess,
        heap_is_known: true,
        rounds: 4,
        rarest_leak: 0,
        objects: Finding::STEADY,
        collection: None,
        samples: 1,
        stopped: Some(NAME.to_owned()),
        unanswered: vec![NAME.to_owned()],
        unchanged: Elsewhere::default(),
        contents: Elsewhere { leaks: Vec::new(), groups: vec![group.clone()] },
        excluded: Vec::new(),
        all: finding.clone(),
        host: finding.clone(),
        resources: finding.clone(),
        resource_kinds: [("pollables".to_owned(), 9)].into(),
        beside_heap: finding,
        growers: vec![frame.clone()],
        kept_in_first_round: 0,
        python: None,
        runtime: Finding::STEADY,
        types: vec![TypeGrowth {
            class: 0,
            name: shown.clone(),
            objects: 1,
            bytes: 9,
            per_request: 9.0,
            rounds: vec![Held::default(), Held { bytes: 9, blocks: 1 }],
        }],
        types_by_call: vec![(shown.clone(), [(0, 9)].into())],
        fragments: false,
        classes: vec![class],
        groups: vec![group],
        kinds: Vec::new(),
        difference: Vec::new(),
        mixed_stacks: Vec::new(),
        stacks: vec![StackReport { class: 0, frames: vec![frame], totals }],
        no_stacks: None,
        has_debug_info: true,
        calls: Vec::new(),
    }
}

fn assert_no_control_characters(text: &str) {
    let found = text.find(|letter: char| letter.is_control() && letter != '\n' && letter != '\t');
    assert_eq!(found, None, "{text:?}");
}

#[test]
fn names_are_text_in_html_and_svg() {
    let study = study();
    let chart = growth::svg(&study).expect("drawn");
    let flame = flame::svg(&study).expect("drawn").expect("it has stacks");
    let page = html::page(&study, Conclusion::Leaks, &chart, Some(&flame), &dot::graph(&study));
    for document in [&chart, &flame, &page] {
        assert!(document.contains("alert(1)"), "the name is shown: {document}");
        assert!(!document.contains("<script>alert"), "{document}");
    }
    assert_no_control_characters(&chart);
    assert_no_control_characters(&flame);
    assert!(!page.contains("srcdoc=\"<"), "the flame graph is escaped");
}

/// inferno reads two numbers at the end of a line as a difference.
#[test]
fn a_name_that_ends_with_a_number_does_not_change_the_bytes_of_a_stack() {
    let flame = flame::svg(&study()).expect("drawn").expect("it has stacks");
    assert!(flame.contains("_5 (9 bytes, 100"), "{flame}");
}

#[test]
fn names_end_no_string_of_the_graph() {
    let graph = dot::graph(&study());
    assert!(graph.contains("alert(1)"), "{graph}");
    for line in graph.lines() {
        let quotes = line.replace("\\\\", "").replace("\\\"", "").matches('"').count();
        assert_eq!(quotes % 2, 0, "{line}");
    }
    assert_eq!(graph.lines().filter(|line| line.starts_with("  n0 -> n1")).count(), 1, "{graph}");
    assert_no_control_characters(&graph);
}

#[test]
fn names_give_no_commands_to_terminals() {
    let summary = printable_lines(&summary(&study(), &[]));
    assert!(summary.contains("\\u{1b}[2J"), "{summary}");
    assert_no_control_characters(&summary);
}
