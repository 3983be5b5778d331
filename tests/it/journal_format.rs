//! The first line of the journal is a state with the number of its format and a digest, every other one a change with a
//! digest. A later format or a damaged line is refused, a part of a line at the end is dropped, and a journal of an earlier
//! release is read.

use std::fs;
use std::path::Path;

use plimsoll_runtime::identity::digest;
use plimsoll_tests::{Site, journal_state, stamped, stamped_reply};
use serde_json::Value;

use crate::process::Process;
use crate::served_folder::command;
use crate::watch::lines;
use crate::wrapped::{Wrapped, site};

/// A site whose server was killed after a deployment of mark 1, and its journal.
async fn after_a_deployment() -> (Site, String) {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let (status, text) = served.send("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!(status, 200, "{text}");
    drop(served);
    let text = fs::read_to_string(journal(&site)).expect("a journal");
    (site, text)
}

fn journal(site: &Site) -> std::path::PathBuf {
    site.folder.path().join(".plimsoll/plugins.json")
}

fn refusal(folder: &Path) -> String {
    let mut command = command(folder);
    let mut process =
        Process::with_own_environment(command.args(["serve", "--listen", "127.0.0.1:0", "--config", "plimsoll.toml"]));
    let (code, log) = process.wait_for_exit();
    assert!(code.is_some_and(|code| code != 0), "{code:?} {log}");
    assert!(log.contains("plugins.json") && log.contains("to start from the plugin folder"), "{log}");
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_an_earlier_release_is_read_and_one_of_a_later_release_is_refused() {
    let (site, text) = after_a_deployment().await;
    let (first, changes) = text.split_once('\n').expect("a line");
    let first: Value = serde_json::from_str(first).expect("JSON");
    assert!(first["format"] == 1 && first["sha256"].is_string() && !changes.is_empty(), "{text}");
    // Without format and digest, and as one state in many lines with both.
    let mut state = journal_state(text.as_bytes());
    let bare = serde_json::to_string_pretty(&state).expect("JSON");
    state["format"] = 1.into();
    let json = serde_json::to_string(&state).expect("JSON");
    state["sha256"] = digest(json.as_bytes()).into();
    for old in [bare, serde_json::to_string_pretty(&state).expect("JSON")] {
        fs::write(journal(&site), old).expect("written");
        let served = Wrapped::start(&["env"], &site);
        assert_eq!(served.reply().await, stamped_reply(1));
        // Changes are appended after it was written anew.
        let (status, text) = served.send("PUT", "/v1/plugins/other", stamped(2)).await;
        assert_eq!(status, 200, "{text}");
        let (status, text) = served.send("DELETE", "/v1/plugins/other", Vec::new()).await;
        assert_eq!(status, 200, "{text}");
        drop(served);
        let served = Wrapped::start(&["env"], &site);
        assert_eq!(served.reply().await, stamped_reply(1));
    }
    for later in [text.replacen("\"format\":1", "\"format\":2", 1), "{\"format\": 2}".to_owned()] {
        fs::write(journal(&site), &later).expect("written");
        let log = refusal(site.folder.path());
        assert!(log.contains("it has format 2") && log.contains("reads format 1"), "{log}");
        let unchanged = fs::read_to_string(journal(&site)).expect("a journal");
        assert_eq!(unchanged, later, "a refused journal stays as it is");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_is_refused() {
    let (site, text) = after_a_deployment().await;
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    assert!(lines.len() >= 3, "{text}");
    let other_digit = |line: &str| {
        let digit = line.rfind("\"digest\":\"").expect("a digest") + "\"digest\":\"".len();
        let other = if line.as_bytes()[digit] == b'0' { "1" } else { "0" };
        format!("{}{other}{}", &line[..digit], &line[digit + 1..])
    };
    let (last, before) = lines.split_last().expect("lines");
    let cases = [
        ("a digest in the last line", before.concat() + &other_digit(last)),
        ("a key in the first line", text.replacen("\"plugins\"", "\"plagins\"", 1)),
        ("the first line is cut off", lines[0][..lines[0].len() / 2].to_owned()),
        ("the second line is cut off", [lines[0], &lines[1][..80], "\n", &lines[2..].concat()].concat()),
        ("the second line is missing", [lines[0], &lines[2..].concat()].concat()),
        ("the first line is missing", lines[1..].concat()),
        ("the last line is there twice", text.clone() + last),
        ("empty", String::new()),
    ];
    for (what, damaged) in cases {
        fs::write(journal(&site), &damaged).expect("written");
        println!("{what}: {}", refusal(site.folder.path()));
        assert_eq!(fs::read_to_string(journal(&site)).expect("a journal"), damaged, "{what}");
    }
    fs::write(journal(&site), text).expect("written");
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(1));
}

/// The machine stopped while a line was being appended.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_line_at_the_end_is_dropped_and_the_log_says_so() {
    let (site, text) = after_a_deployment().await;
    let serving = |text: &str| journal_state(text.as_bytes())["plugins"]["stamp"]["serving"]["digest"].clone();
    // The lines up to the one that made mark 1 serve.
    let ends = text.match_indices('\n').map(|(at, _)| at + 1);
    let end = ends.filter(|end| serving(&text[..*end]) == digest(&stamped(1))).min().expect("mark 1 served");
    for (part, mark, is_dropped) in [(&text[..end - 1], 1, false), (&text[..end - 40], 0, true)] {
        fs::write(journal(&site), part).expect("written");
        let served = Wrapped::start(&["env"], &site);
        assert_eq!(served.reply().await, stamped_reply(mark), "{}", served.log());
        let said = lines(&served, "WARN", "plugins.json: the last change is not complete and is dropped");
        assert_eq!(said, usize::from(is_dropped), "{}", served.log());
        let (status, text) = served.send("DELETE", "/v1/plugins/other", Vec::new()).await;
        assert_eq!(status, 404, "{text}");
        drop(served);
        // Nothing follows the part of a line.
        let after = fs::read_to_string(journal(&site)).expect("a journal");
        assert!(after.ends_with('\n') && serving(&after) == digest(&stamped(mark)), "{after}");
        assert_eq!(Wrapped::start(&["env"], &site).reply().await, stamped_reply(mark));
    }
}
