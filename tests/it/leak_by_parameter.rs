//! The leak laboratory on one guest that keeps what a parameter names: containers beside other things, pools that become
//! empty, files as they are, and leaks that a baseline must not hide.

use std::path::Path;

use plimsoll_tests::{TempDir, guest};
use serde_json::Value;

use crate::leak::{ALL, Laboratory, corpus, text, wrong_classes};

/// Runs the guest with a list of what it keeps. Returns the exit code, what was printed, and the report.
fn run(corpus: &Path, keep: &[&str], more: &[&str]) -> (Option<i32>, String, Value) {
    let laboratory = Laboratory::new();
    let values: Vec<String> = keep.iter().map(|what| format!("keep={what}")).collect();
    let mut arguments: Vec<&str> = values.iter().flat_map(|value| ["--parameter", value]).collect();
    arguments.extend(["--no-trace"].iter().chain(more));
    let output = laboratory.run(&guest("by_parameter"), corpus, &arguments);
    let said = text(&output.stdout) + &text(&output.stderr);
    let report = if laboratory.out("report.json").is_file() { laboratory.report() } else { Value::Null };
    (output.status.code(), said, report)
}

#[test]
fn containers_are_leaks_and_a_ring_is_none() {
    let corpus = corpus();
    for (keep, bytes) in [("beside_last", 16.0), ("together", 20.0)] {
        let (code, said, report) = run(corpus.path(), &[keep], &[]);
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(wrong_classes(&report, ALL, (0.9 * bytes, 1.1 * bytes)), Vec::<String>::new(), "{said}");
    }
    for bounded in ["ring", "expiring", "reused"] {
        let (code, said, report) = run(corpus.path(), &[bounded], &[]);
        assert_eq!(code, Some(0), "{bounded}: {said}");
        assert_eq!(wrong_classes(&report, &[], (0.0, 0.0)), Vec::<String>::new(), "{bounded}: {said}");
    }
}

/// A variant of a JPEG begins with a comment, so the plugin never sees what it looks for.
#[test]
fn files_are_run_as_they_are_too() {
    let corpus = corpus();
    let (code, said, report) = run(corpus.path(), &["marker"], &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("(unchanged files)") && said.contains("as they are"), "{said}");
    assert_eq!(report["leaks"][0]["place"], "(unchanged files)", "{said}");
    // Two or three whole images and those that are cut, of 24 files.
    let bytes = report["leaks"][0]["per_request"].as_f64().expect("a number");
    assert!((4_000.0 * 3.0 / 24.0..=4_100.0 * 6.0 / 24.0).contains(&bytes), "{bytes}");
    // Beside what leaks with all inputs.
    let (code, said, report) = run(corpus.path(), &["marker", "block"], &[]);
    assert_eq!(code, Some(1), "{said}");
    let leaks = report["leaks"].as_array().expect("leaks");
    assert!(leaks.iter().any(|leak| leak["place"] == "(unchanged files)"), "{said}");
    let (_, said, report) = run(corpus.path(), &["block"], &[]);
    let leaks = report["leaks"].as_array().expect("leaks");
    assert!(leaks.iter().all(|leak| leak["place"] != "(unchanged files)"), "{said}");
}

/// Memory does not grow, but the plugin answers fewer and fewer requests.
#[test]
fn an_instance_that_ends_or_changes_its_outcomes_has_no_verdict() {
    let corpus = corpus();
    for (keep, words) in [("pool", "the instance ended (trap)"), ("quota", "the outcome of")] {
        let (code, said, _) = run(corpus.path(), &[keep], &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("No answer: ") && said.contains(words), "{said}");
    }
    // What leaks besides is a leak.
    let (code, said, _) = run(corpus.path(), &["block", "quota"], &[]);
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn a_baseline_does_not_hide_a_leak_by_another_measure() {
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    let known = ["--no-trace", "--parameter", "keep=tensor"];
    let first = laboratory.run(&guest("by_parameter"), corpus.path(), &known);
    assert_eq!(first.status.code(), Some(1), "{}", text(&first.stderr));
    let folder = TempDir::new().expect("a folder");
    let baseline = folder.path().join("baseline.json");
    std::fs::copy(laboratory.out("report.json"), &baseline).expect("copied");
    let baseline = ["--baseline", baseline.to_str().expect("text")];
    let (code, said, _) = run(corpus.path(), &["tensor"], &baseline);
    assert_eq!(code, Some(0), "{said}");
    let (code, said, report) = run(corpus.path(), &["tensor", "block"], &baseline);
    assert_eq!(code, Some(1), "{said}");
    let class = &report["classes"][0];
    assert_eq!((&class["measure"], &class["also"][0]["measure"]), (&"tensors".into(), &"heap".into()), "{said}");
}

#[test]
fn a_content_type_is_passed_on() {
    let corpus = corpus();
    let (code, said, _) = run(corpus.path(), &["type"], &[]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said, report) = run(corpus.path(), &["type"], &["--content-type", "image/jpeg"]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(wrong_classes(&report, ALL, (500.0, 540.0)), Vec::<String>::new(), "{said}");
}

/// A table of numbers by the pixels of images: it grows only if the pixels change from call to call.
#[test]
fn a_cache_by_decoded_contents_is_a_leak_if_it_is_not_bounded() {
    let corpus = corpus();
    let (code, said, report) = run(corpus.path(), &["decoded"], &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("(other contents)") && said.contains("whose key is the decoded input"), "{said}");
    assert!(said.contains("held by      static by_parameter::SEEN"), "{said}");
    assert_eq!(wrong_classes(&report, &[], (0.0, 0.0)), Vec::<String>::new(), "{said}");
    let leak = &report["leaks"][0];
    assert_eq!(leak["place"], "(other contents)", "{said}");
    // Eight whole PNGs of 24 files: each has 9 bytes of a table that is filled up to seven eighths.
    let bytes = leak["per_request"].as_f64().expect("a number");
    assert!((3.0..=4.0).contains(&bytes), "{bytes}: {said}");
    let (code, said, _) = run(corpus.path(), &["recent"], &[]);
    assert_eq!(code, Some(0), "{said}");
}

/// The pool is large enough for the images themselves and for those that are tried, and becomes empty with other pixels.
#[test]
fn a_study_that_fills_up_with_other_contents_has_no_verdict() {
    let corpus = corpus();
    let (code, said, report) = run(corpus.path(), &["filled"], &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("No answer: (other contents): after ") && said.contains("something fills up"), "{said}");
    assert_eq!(report["conclusion"], "unknown", "{said}");
}

/// Handles of tensors without elements: one more in 24 calls is a leak.
#[test]
fn handles_that_are_rarely_kept_are_a_leak() {
    let corpus = corpus();
    let (code, said, report) = run(corpus.path(), &["handle"], &[]);
    assert_eq!(code, Some(1), "{said}");
    let handles = report["resources"]["growth"]["bytes"].as_f64().expect("a number");
    assert!(report["resources"]["verdict"] == "leaks" && (0.03..=0.06).contains(&handles), "{handles}: {said}");
    // Nothing else leaks with other contents.
    assert_eq!(report["contents"]["leaks"], serde_json::json!([]), "{said}");
    let (code, said, report) = run(corpus.path(), &["new_handle"], &[]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(report["leaks"][0]["place"], "(other contents)", "{said}");
}

/// A text with one digit is as good as one with many.
#[test]
fn short_texts_have_other_contents_too() {
    let corpus = TempDir::new().expect("a folder");
    std::fs::write(corpus.path().join("one.json"), "{\"page\": 7}").expect("written");
    let (code, said, report) = run(corpus.path(), &["text"], &[]);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(report["leaks"][0]["place"], "(other contents)", "{said}");
    let (code, said, _) = run(corpus.path(), &[], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Other contents: 1 of 1 inputs had other"), "{said}");
    // What cannot be changed is named.
    std::fs::write(corpus.path().join("one.json"), "{}").expect("written");
    let (code, said, report) = run(corpus.path(), &[], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Not so 1 of 1 of ok (for example one.json: always the same)"), "{said}");
    assert_eq!(report["classes"][0]["other_contents"]["few"], 1, "{said}");
}

/// Leaks that are rare, that are spread over many vectors, or whose blocks have the size of a cache's entries.
#[test]
fn leaks_beside_what_looks_like_them_are_found() {
    let corpus = corpus();
    for (keep, bytes) in [("mixed", 50.0..=60.0), ("seventh", 100.0..=108.0), ("by_key", 6.0..=20.0)] {
        let (code, said, report) = run(corpus.path(), &[keep], &[]);
        assert_eq!(code, Some(1), "{keep}: {said}");
        let found = report["all"]["growth"]["bytes"].as_f64().expect("a number");
        assert!(bytes.contains(&found), "{keep}: {found}: {said}");
    }
}

/// Nothing but white space may follow an object in JSON.
#[test]
fn json_is_varied_by_white_space() {
    let corpus = TempDir::new().expect("a folder");
    for at in 0..2 {
        let body = format!("{{\"text\": \"{at}{}\"}}", "x".repeat(200));
        std::fs::write(corpus.path().join(format!("{at}.json")), body).expect("written");
    }
    let (code, said, _) = run(corpus.path(), &["json"], &[]);
    assert_eq!(code, Some(1), "{said}");
}
