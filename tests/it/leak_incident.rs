//! The incident for which Plimsoll was built, solved by one command on the corpus of real images; and the files of the
//! report.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use plimsoll_tests::{TempDir, data, guest, shared};

use crate::leak::{Laboratory, print_row, text};

#[test]
fn one_command_finds_outcome_bytes_static_and_source_line_of_the_leak() {
    let Some(corpus) = shared("corpus") else { return };
    let laboratory = Laboratory::new();
    let started = Instant::now();
    let output = laboratory.run(&guest("incident"), &corpus, &[]);
    let seconds = started.elapsed().as_secs_f64();
    let summary = text(&output.stdout);
    println!("{summary}\nthe run took {seconds:.1} s");
    assert_eq!(output.status.code(), Some(1), "{summary}{}", text(&output.stderr));

    let report = laboratory.report();
    let classes = report["classes"].as_array().expect("classes");
    let leaking: Vec<_> = classes.iter().enumerate().filter(|(_, class)| class["verdict"] == "leaks").collect();
    let [(index, class)] = leaking[..] else { panic!("{} classes leak, expected one", leaking.len()) };
    assert_eq!(class["outcome"], "invalid_input");

    // Each failing request keeps its image, so the growth is the mean size of the files with this outcome.
    let calls = std::fs::read_to_string(laboratory.out("growth.csv")).expect("figures");
    let sizes: Vec<u64> = calls
        .lines()
        .filter(|line| line.split(',').nth(1) == Some("1") && line.contains(",invalid_input,"))
        .map(|line| corpus.join(line.split(',').nth(2).expect("a sample")).metadata().expect("a file").len())
        .collect();
    assert_eq!(sizes.len() as u64, class["samples"].as_u64().expect("a number"));
    let mean = sizes.iter().sum::<u64>() as f64 / sizes.len() as f64;
    let found = class["growth"]["bytes"].as_f64().expect("a number");
    println!("mean image {mean:.0} bytes, found {found:.0} bytes per request");
    assert!((found / mean - 1.0).abs() < 0.05, "{found}, expected {mean}");

    let group = &report["groups"][0];
    assert_eq!(
        (&group["class"], &group["chain"]["root"]["name"]),
        (&index.into(), &"incident::IMAGE_FORMAT_ERRORS".into())
    );
    let stack = &report["stacks"][0];
    assert_eq!(stack["class"], index);
    let frames = stack["frames"].as_array().expect("frames");
    let read_image = frames.iter().find(|frame| frame["function"] == "incident::read_image").expect("on the stack");
    assert!(read_image["file"].as_str().expect("a file").ends_with("examples/incident.rs"));
    let source = include_str!("../leaks/examples/incident.rs");
    let line = source.lines().nth(read_image["line"].as_u64().expect("a line") as usize - 1).expect("a line");
    assert!(line.contains("to_vec"), "{line}");
    for words in ["static incident::IMAGE_FORMAT_ERRORS", "allocated by incident::read_image", "invalid_input"] {
        assert!(summary.contains(words), "{words}");
    }
    check_files(&laboratory, stack["inuse_space"].as_u64().expect("bytes"));
    print_row("planted", "incident", 1, true);
}

/// Checks that every file of the report exists and has the expected content.
fn check_files(laboratory: &Laboratory, in_use: u64) {
    let read = |name: &str| std::fs::read(laboratory.out(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let page = text(&read("report.html"));
    for words in ["<!DOCTYPE html>", "incident::IMAGE_FORMAT_ERRORS", "incident::read_image", "</html>"] {
        assert!(page.contains(words), "report.html has no {words}");
    }
    assert!(
        page.contains("<svg") && page.contains("srcdoc=\"&lt;svg"),
        "the page must contain the chart and the flame graph"
    );
    assert!(!page.contains("<link") && !page.contains(" src="), "the page must not load other files");
    assert!(text(&read("growth.svg")).contains("invalid_input in abnormal"));
    let flame = text(&read("flame.svg"));
    assert!(flame.contains("incident::read_image"));
    let dot = text(&read("retention.dot"));
    assert!(dot.starts_with("digraph") && dot.contains("incident::IMAGE_FORMAT_ERRORS"), "{dot}");
    check_profile(&laboratory.out("heap.pb.gz"), in_use);
}

/// Reads a profile with an independent reader: the npm package `pprof-format`. `None` if it cannot be installed.
pub(crate) fn read_profile(path: &Path) -> Option<serde_json::Value> {
    let folder = TempDir::new().expect("a folder");
    let install = ["install", "--silent", "--no-audit", "--no-fund", "--prefix", ".", "pprof-format@2.3.2"];
    let installed = Command::new("npm").args(install).current_dir(folder.path()).output();
    if !installed.as_ref().is_ok_and(|output| output.status.success()) {
        plimsoll_tests::skip(&format!("npm cannot install pprof-format, the reader of the profile: {installed:?}"));
        return None;
    }
    let script = data("read_pprof.cjs");
    let output = Command::new("node").arg(script).arg(path).current_dir(folder.path()).output().expect("npm has node");
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

fn check_profile(path: &Path, in_use: u64) {
    let Some(profile) = read_profile(path) else { return };
    let types = serde_json::json!([
        ["inuse_space", "bytes"],
        ["inuse_objects", "count"],
        ["alloc_space", "bytes"],
        ["alloc_objects", "count"]
    ]);
    assert_eq!((&profile["sample_types"], &profile["default_sample_type"]), (&types, &"inuse_space".into()));
    let samples = profile["samples"].as_array().expect("samples");
    let of_images = |sample: &&serde_json::Value| {
        let frames = sample["frames"].as_array().expect("frames");
        frames.iter().any(|frame| frame[0] == "incident::read_image")
    };
    let sample = samples.iter().find(of_images).expect("the stack that allocated the images");
    // Two rounds were traced: both count as allocated, and only the second as in use.
    let space = |index: usize| sample["values"][index].as_u64().expect("a number");
    assert_eq!((space(0), space(2)), (in_use, 2 * in_use));
    assert_eq!(space(3), 2 * space(1));
    assert_eq!(sample["labels"]["class"], "invalid_input in abnormal");
    assert_eq!(
        sample["frames"].as_array().expect("frames").last().expect("a frame")[0],
        "plimsoll:stage/preprocess@0.1.0#run"
    );
}
