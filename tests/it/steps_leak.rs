//! `plimsoll leak` with the steps of a pipeline: the steps before it make the inputs of the plugin.

use std::process::Command;

use plimsoll_tests::{TempDir, guest, shared_cache};

use crate::steps_pipelines::{GATHER, IN, config, rows};

const SPLIT: &str =
    r#"{ name = "split", kind = "transform", plugin = "transformer", items = true, config = { split = true } }"#;
const EACH: &str = r#"{ name = "each", kind = "transform", plugin = "transformer", config = { parameter = "each" } }"#;

#[test]
fn a_transformer_is_fed_with_its_items_and_its_leak_is_found() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("corpus")).expect("a folder");
    for count in 2..5 {
        std::fs::write(path("corpus").join(format!("{count}.rows")), rows(count)).expect("written");
    }
    let text = format!("cache_dir = {:?}\n{}", shared_cache(), config("", &[IN, SPLIT, EACH, GATHER]));
    std::fs::write(path("plimsoll.toml"), text).expect("written");
    let leak = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll-under-test"));
        command
            .arg("leak")
            .arg(guest("transformer"))
            .arg("--corpus")
            .arg(path("corpus"))
            .arg("--out")
            .arg(path("report"));
        command.arg("--config").arg(path("plimsoll.toml")).args(["--pipeline", "p", "--no-trace"]).args(more);
        let output = command.output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let (code, text) = leak(&[]);
    assert!(code != Some(0) && text.contains("--step") && text.contains("split, each"), "{text}");
    let (code, text) = leak(&["--step", "each"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = leak(&["--step", "each", "--parameter", "each=leak"]);
    assert_eq!(code, Some(1), "{text}");
    // One input for each item of each file: 2 + 3 + 4.
    let report = std::fs::read_to_string(path("report").join("growth.csv")).unwrap_or_default();
    assert!(report.contains("4.rows item 3") && !report.contains("4.rows item 4"), "{report}");
}
