//! The leak laboratory as a gate of a CI: exit codes, known leaks, progress without a terminal.

use plimsoll_tests::{TempDir, guest};

use crate::leak::{Laboratory, corpus, print_row, text, wrong_classes};

#[test]
fn a_leak_that_is_known_from_a_baseline_does_not_count() {
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    let first = laboratory.run(&guest("static_vec"), corpus.path(), &[]);
    assert_eq!(first.status.code(), Some(1), "{}", text(&first.stderr));
    let folder = TempDir::new().expect("a folder");
    let baseline = folder.path().join("baseline.json");
    std::fs::copy(laboratory.out("report.json"), &baseline).expect("copied");
    let baseline = ["--baseline", baseline.to_str().expect("text")];

    let same = laboratory.run(&guest("static_vec"), corpus.path(), &baseline);
    let summary = text(&same.stdout);
    assert_eq!(same.status.code(), Some(0), "{summary}{}", text(&same.stderr));
    assert!(summary.contains("KNOWN LEAKS") && summary.contains("baseline.json"), "{summary}");
    assert_eq!(laboratory.report()["conclusion"], "known_leaks");
    // Another leak counts.
    let other = laboratory.run(&guest("growing_log"), corpus.path(), &baseline);
    assert_eq!(other.status.code(), Some(1), "{}", text(&other.stdout));
}

#[test]
fn a_leak_that_a_suppression_names_does_not_count() {
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("suppressions");
    let run = |lines: &str| {
        std::fs::write(&file, lines).expect("written");
        laboratory.run(&guest("static_vec"), corpus.path(), &["--suppressions", file.to_str().expect("text")])
    };
    for lines in ["# by the static\n\nleak:static_vec::HISTORY\n", "leak:remember_request*static_vec.rs\n"] {
        let output = run(lines);
        assert_eq!(output.status.code(), Some(0), "{lines}{}{}", text(&output.stdout), text(&output.stderr));
    }
    let output = run("leak:another_plugin::HISTORY\n");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let output = run("leak:a\nstatic_vec\n");
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(message.contains("line 2") && message.contains("leak:my_plugin::CACHE"), "{message}");
}

#[test]
fn an_invalid_baseline_is_named() {
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    let notes = corpus.path().join("notes.txt");
    let output = laboratory.run(&guest("steady"), corpus.path(), &["--baseline", notes.to_str().expect("text")]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("notes.txt is not a report.json"), "{message}");
}

/// The key is what a decoder would make of the body, which no variant changes.
#[test]
fn what_is_kept_once_for_each_input_is_a_suspicion() {
    let corpus = TempDir::new().expect("a folder");
    for at in 1..=20 {
        let image = [&[0xFF, 0xD8][..], &[at; 40][..], &[0xFF, 0xD9][..]].concat();
        std::fs::write(corpus.path().join(format!("{at}.jpg")), image).expect("written");
    }
    let laboratory = Laboratory::new();
    let output = laboratory.run(&guest("decoded_cache"), corpus.path(), &[]);
    let summary = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{summary}{}", text(&output.stderr));
    assert!(summary.contains("SUSPICION") && summary.contains("20 inputs left a block"), "{summary}");
    print_row("planted", "decoded_cache", 3, true);
}

/// A list of failures that each answer empties: a stream of failures leaks.
#[test]
fn what_another_class_frees_is_a_leak_of_the_class_alone() {
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    let output = laboratory.run(&guest("emptied_by_others"), corpus.path(), &[]);
    let summary = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{summary}{}", text(&output.stderr));
    let report = laboratory.report();
    assert_eq!(
        wrong_classes(&report, &["unsupported_media_type"], (5_000.0, 5_100.0)),
        Vec::<String>::new(),
        "{summary}"
    );
    assert_eq!(report["all"]["verdict"], "steady", "{summary}");
    assert!(summary.contains("All samples together do not grow"), "{summary}");
    print_row("planted", "emptied_by_others", 1, true);
}

/// A report without a leak says how many calls were made, and how rare a leak they exclude.
#[test]
fn a_report_without_a_leak_says_what_it_excludes() {
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    for rounds in [[].as_slice(), &["--rounds", "4"]] {
        let output = laboratory.run(&guest("steady"), corpus.path(), rounds);
        let summary = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{summary}{}", text(&output.stderr));
        let report = laboratory.report();
        let calls = report["rounds"].as_u64().expect("a number") * report["samples"].as_u64().expect("a number");
        assert!(calls >= 1_024, "{summary}");
        assert_eq!(report["rarest_leak"], calls / 32);
        assert!(summary.contains("Tried: 1,536 calls") && summary.contains("at least one of 48."), "{summary}");
    }
}

/// The same cache of decoded contents as above, with few inputs.
#[test]
fn a_cache_by_content_is_a_suspicion_with_four_inputs() {
    let corpus = TempDir::new().expect("a folder");
    for at in 1..=4 {
        let image = [&[0xFF, 0xD8][..], &[at; 40][..], &[0xFF, 0xD9][..]].concat();
        std::fs::write(corpus.path().join(format!("{at}.jpg")), image).expect("written");
    }
    let laboratory = Laboratory::new();
    let output = laboratory.run(&guest("decoded_cache"), corpus.path(), &[]);
    assert_eq!(output.status.code(), Some(3), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn without_a_terminal_progress_is_lines() {
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    let output = laboratory.run(&guest("static_vec"), corpus.path(), &[]);
    let log = text(&output.stderr);
    for line in [
        "inputs with other bytes: 48 calls\n",
        "all samples in one instance: 192 calls\n",
        "all samples in one instance: 1,000 of 1,536 calls\n",
        "invalid_input alone: 160 calls\n",
        "tracing allocations: 48 calls\n",
    ] {
        assert!(log.contains(line), "{line}{log}");
    }
}
