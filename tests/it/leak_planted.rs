//! The leak laboratory on planted leaks: for every guest it reports the right verdict, the root if there is one, and
//! the allocating function.

use std::fmt::Write as _;
use std::path::Path;

use plimsoll_tests::guest;
use serde_json::Value;

use crate::leak::{ALL, Laboratory, corpus, held_by, print_row, text};

/// The leak that is planted in a guest.
struct Planted {
    guest: &'static str,
    /// The outcomes that leak. All others must not leak.
    leaks_on: &'static [&'static str],
    /// Bytes of one leak, as the guest requests them from the allocator.
    bytes: f64,
    held_by: HeldBy,
    /// The function that allocates the leaked blocks.
    allocated_by: &'static str,
}

#[derive(Clone, Copy)]
enum HeldBy {
    Static(&'static str),
    Ring,
    Nothing,
    /// The heap cannot be walked, or the leak is not on it.
    Unknown,
}

const PLANTED: &[Planted] = {
    use HeldBy::{Nothing, Ring, Static, Unknown};
    const fn leak(
        guest: &'static str,
        leaks_on: &'static [&'static str],
        bytes: f64,
        held_by: HeldBy,
        allocated_by: &'static str,
    ) -> Planted {
        Planted { guest, leaks_on, bytes, held_by, allocated_by }
    }
    const fn none(guest: &'static str) -> Planted {
        leak(guest, &[], 0.0, Unknown, "")
    }
    &[
        leak("static_vec", ALL, 1_000.0, Static("static_vec::HISTORY"), "static_vec::remember_request"),
        leak("thread_local", ALL, 777.0, Static("thread_local::SCRATCH"), "thread_local::take_scratch"),
        leak("map_never_cleared", ALL, 313.0, Static("map_never_cleared::ANSWERS"), "map_never_cleared::cache_answer"),
        leak("rc_cycle", ALL, 1_032.0, Ring, "rc_cycle::new_node"),
        leak("forget", ALL, 2_000.0, Nothing, "forget::hand_over_pixels"),
        leak("leaked_box", ALL, 4_096.0, Nothing, "leaked_box::static_settings"),
        leak(
            "one_outcome",
            &["unsupported_media_type"],
            5_000.0,
            Static("one_outcome::UNKNOWN_KINDS"),
            "one_outcome::note_unknown_kind",
        ),
        leak("growing_log", ALL, 100.0, Static("growing_log::LOG"), "growing_log::append_line"),
        leak("deep_chain", ALL, 1_500.0, Static("deep_chain::REGISTRY"), "deep_chain::record_image"),
        leak("rust_dlmalloc", ALL, 1_200.0, Static("rust_dlmalloc::HISTORY"), "rust_dlmalloc::remember_request"),
        leak("host_tensors", ALL, 4_096.0, Unknown, ""),
        none("logarithmic"),
        none("fragmentation"),
        none("one_time"),
        none("keep_last"),
        none("lru_bounded"),
        none("random_eviction"),
        none("steady"),
    ]
};

/// Returns true if the measured growth is close enough to the planted leak. Allocators round up, and the lists of
/// blocks grow, too. A buffer that doubles its size grows by what is put into it.
fn fits(planted: &Planted, bytes: f64) -> bool {
    let (low, high) = match planted.guest {
        "growing_log" => (0.95, 1.05),
        "map_never_cleared" => (1.0, 1.6),
        _ => (1.0, 1.05),
    };
    let more = if planted.guest == "growing_log" { 0.0 } else { 40.0 };
    bytes >= low * planted.bytes && bytes <= high * planted.bytes + more
}

/// Runs the laboratory on one guest. Returns its row of the table, and the differences from the planted leak.
fn check_guest(planted: &Planted, corpus: &Path) -> (String, Vec<String>) {
    let laboratory = Laboratory::new();
    let output = laboratory.run(&guest(planted.guest), corpus, &[]);
    let mut wrong = Vec::new();
    let expected = i32::from(!planted.leaks_on.is_empty());
    if output.status.code() != Some(expected) {
        wrong.push(format!("exit {:?}: {}{}", output.status.code(), text(&output.stdout), text(&output.stderr)));
        return (planted.guest.to_owned(), wrong);
    }
    let report = laboratory.report();
    let mut worst = 0.0f64;
    for (index, class) in report["classes"].as_array().expect("classes").iter().enumerate() {
        let outcome = class["outcome"].as_str().expect("text");
        let leaks = class["verdict"] == "leaks";
        if leaks != planted.leaks_on.contains(&outcome) {
            wrong.push(format!("{outcome}: {}", class["verdict"]));
        }
        if leaks {
            let bytes = class["growth"]["bytes"].as_f64().expect("a number");
            worst = worst.max(bytes);
            if !fits(planted, bytes) {
                wrong.push(format!("{outcome}: {bytes} bytes per request"));
            }
            if !planted.allocated_by.is_empty() && !allocated_by(&report, index, planted.allocated_by) {
                wrong.push(format!("{outcome}: not allocated by {}", planted.allocated_by));
            }
        }
    }
    let held = held_by(&report);
    let right = match planted.held_by {
        HeldBy::Static(name) => held == format!("static {name}"),
        HeldBy::Ring => held == "each other",
        HeldBy::Nothing => held == "nothing",
        HeldBy::Unknown => true,
    };
    if !right {
        wrong.push(format!("held by {held}"));
    }
    let verdict = report["all"]["verdict"].as_str().expect("text");
    let leaks = if planted.leaks_on.is_empty() { verdict } else { "leaks" };
    let row = format!("{:<18} {leaks:<11} {worst:>9.0} {:>9.0}  {held}", planted.guest, planted.bytes);
    (row, wrong)
}

/// Returns true if `function` is on the stack that allocated most of the surviving blocks of a class.
fn allocated_by(report: &Value, class: usize, function: &str) -> bool {
    let stacks = report["stacks"].as_array().expect("stacks");
    let most = stacks.iter().find(|stack| stack["class"] == class && stack["inuse_objects"].as_u64() > Some(0));
    let Some(most) = most else {
        // A buffer that doubles its size is not reallocated in every class of the single traced round.
        return stacks.iter().any(|stack| has_function(stack, function));
    };
    has_function(most, function)
}

fn has_function(stack: &Value, function: &str) -> bool {
    let frames = stack["frames"].as_array().expect("frames");
    frames.iter().any(|frame| frame["function"].as_str().expect("text").starts_with(function))
}

#[test]
fn planted_leaks_are_found_and_other_growth_is_not_reported_as_a_leak() {
    let corpus = corpus();
    let mut table = format!("{:<18} {:<11} {:>9} {:>9}  held by\n", "guest", "verdict", "found", "planted");
    let mut wrong = Vec::new();
    for planted in PLANTED {
        let (row, mistakes) = check_guest(planted, corpus.path());
        let _ = writeln!(table, "{row}");
        print_row("planted", planted.guest, i32::from(!planted.leaks_on.is_empty()), mistakes.is_empty());
        wrong.extend(mistakes.into_iter().map(|mistake| format!("{}: {mistake}", planted.guest)));
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{table}{}", wrong.join("\n"));
}
