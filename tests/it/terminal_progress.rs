//! On a terminal, long work says how far it is: a push, a pull and a study of the leak laboratory. `terminal.rs` has the start of
//! a server and a replay.

use std::fs;

use plimsoll_tests::guest;

use crate::docker_registry::Registry;
use crate::leak::{Laboratory, corpus};
use crate::terminal::{BACK, on_terminal};

#[test]
fn a_push_says_how_many_bytes_there_are_and_a_pull_counts_them() {
    let Some(registry) = Registry::start() else { return };
    let (component, pulled) = (guest("noop-infer"), registry.folder.path().join("pulled.wasm"));
    let reference = format!("oci://{}/team/noop:1.0", registry.address);
    let push = ["plugin", "push", component.to_str().expect("text"), &reference];
    let Some(seen) = on_terminal("", &[], &push) else { return };
    let size = seen.split_once("pushing ").and_then(|(_, rest)| rest.split_once(&format!(" to {reference}")));
    let (size, _) = size.unwrap_or_else(|| panic!("{seen:?}"));
    assert!(size.ends_with("iB"), "{seen:?}");

    let pull = ["plugin", "pull", &reference, "--out", pulled.to_str().expect("text")];
    let seen = on_terminal("", &[], &pull).expect("as before");
    assert!(seen.contains(&format!("pulling {reference} …\r\n{BACK}")), "{seen:?}");
    // The line is removed before the result is printed.
    let (_, result) = seen.split_once(&format!("pulled {size} of {size} of {reference}\r\n{BACK}")).expect(&seen);
    assert!(result.contains("sha256 "), "{seen:?}");
    assert!(fs::read(pulled).expect("pulled") == fs::read(component).expect("built"));
}

#[test]
fn a_study_of_leaks_has_a_bar() {
    let (laboratory, corpus) = (Laboratory::new(), corpus());
    let [plugin, out] = [guest("steady"), laboratory.out("")].map(|path| path.to_str().expect("text").to_owned());
    let corpus = corpus.path().to_str().expect("text");
    let leak = ["leak", &plugin, "--corpus", corpus, "--out", &out, "--no-trace"];
    let Some(seen) = on_terminal("", &[], &leak) else { return };
    assert!(seen.contains("inputs with other bytes") && seen.contains("all samples in one instance"), "{seen:?}");
    // The number of calls that were made, of all that are known so far.
    let (before, _) = seen.split_once("all samples in one instance").expect("just seen");
    let counts = before.rsplit(['\r', '\n']).next().unwrap_or_default().split_whitespace();
    let is_count = |word: &str| {
        word.split_once('/').is_some_and(|(made, all)| [made, all].iter().all(|it| it.parse::<u64>().is_ok()))
    };
    assert!(counts.into_iter().any(is_count), "{seen:?}");
    assert!(!seen.contains("inputs with other bytes: 48 calls"), "a bar instead of lines: {seen:?}");
}
