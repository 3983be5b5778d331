//! Guests that are bounded, many times each: none may be reported as a leak, whatever the corpus is and whatever chance does.

use std::path::{Path, PathBuf};

use plimsoll_tests::{TempDir, data, guest, shared};

use crate::leak::{Laboratory, text};

/// Runs of each guest, unless `PLIMSOLL_LEAK_RUNS` says another number.
const RUNS: u64 = 100;
/// Guests of `tests/leaks` that are bounded.
const BOUNDED: &[&str] =
    &["fragmentation", "keep_last", "logarithmic", "lru_bounded", "one_time", "random_eviction", "steady"];
/// What `by_parameter` keeps, if it is bounded.
const KEPT: &[&str] = &["ring", "recent", "random_ring", "queue", "expiring"];
/// Bounded guests of `../shared/cases/leaks`.
const SHARED: &[&str] = &["batch_flush", "steady_dlm"];

/// Numbers that look random: the same for the same seed (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) % end
    }
}

/// A corpus of 1 to 40 files: whole images, those that are cut, and files that are no images.
fn corpus(seed: u64) -> TempDir {
    let (corpus, mut numbers) = (TempDir::new().expect("a folder"), Numbers(seed));
    for file in 0..=numbers.below(40) {
        let digit = numbers.below(10);
        let extension = if [3, 7].contains(&digit) { "jpg" } else { "png" };
        let whole = std::fs::read(data(&format!("digits/{digit}.{extension}"))).expect("a digit");
        let bytes = match numbers.below(4) {
            0 => whole[..1 + numbers.below(whole.len() as u64 - 1) as usize].to_vec(),
            1 => (0..1 << numbers.below(15)).map(|_| numbers.below(256) as u8).collect(),
            _ => whole,
        };
        std::fs::write(corpus.path().join(format!("{file}.{extension}")), bytes).expect("written");
    }
    corpus
}

/// The exit codes of the runs of a guest that are none of `expected`.
fn alarms(plugin: &Path, arguments: &[&str], runs: u64, expected: &[i32]) -> Vec<String> {
    let run = |seed: u64| {
        let (laboratory, corpus) = (Laboratory::new(), corpus(seed));
        let output = laboratory.run(plugin, corpus.path(), &[&["--no-trace"], arguments].concat());
        let is_right = output.status.code().is_some_and(|code| expected.contains(&code));
        (!is_right)
            .then(|| format!("{plugin:?} {arguments:?} {seed}: {}{}", text(&output.stdout), text(&output.stderr)))
    };
    (0..runs).filter_map(run).collect()
}

#[test]
#[ignore = "takes long; run it with `-- --ignored --nocapture`"]
fn what_is_bounded_is_no_leak_in_any_of_many_runs() {
    let runs = std::env::var("PLIMSOLL_LEAK_RUNS").map_or(RUNS, |runs| runs.parse().expect("a number"));
    let mut guests: Vec<(String, PathBuf, Vec<String>)> =
        BOUNDED.iter().map(|&name| (name.to_owned(), guest(name), Vec::new())).collect();
    for kept in KEPT {
        let parameter = vec!["--parameter".to_owned(), format!("keep={kept}")];
        guests.push((format!("by_parameter {kept}"), guest("by_parameter"), parameter));
    }
    if let Some(cases) = shared("cases/leaks") {
        let folder = crate::leak_cases::build(&cases);
        guests.extend(SHARED.iter().map(|name| ((*name).to_owned(), folder.join(format!("{name}.wasm")), Vec::new())));
    }
    let mut all = Vec::new();
    for (name, plugin, arguments) in guests {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let found = alarms(&plugin, &arguments, runs, &[0]);
        println!("{name:<26} {runs} runs, {} false alarms", found.len());
        all.extend(found);
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}
