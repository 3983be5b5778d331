//! The journal has the number of its format and a digest. A later format or a damaged file is refused, and a journal of an
//! earlier release, which has neither, is read.

use std::fs;
use std::path::Path;

use plimsoll_tests::{Site, stamped, stamped_reply};
use serde_json::Value;

use crate::process::Process;
use crate::served_folder::command;
use crate::wrapped::{Wrapped, site};

/// A site whose server was killed after a deployment of mark 1, and its journal.
async fn after_a_deployment() -> (Site, Value) {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let (status, text) = served.send("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!(status, 200, "{text}");
    drop(served);
    let text = fs::read_to_string(journal(&site)).expect("a journal");
    (site, serde_json::from_str(&text).expect("JSON"))
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
    let (site, journal_before) = after_a_deployment().await;
    assert_eq!(journal_before["format"], 1, "{journal_before}");
    let mut old = journal_before.clone();
    let keys = old.as_object_mut().expect("an object");
    assert!(keys.remove("format").is_some() && keys.remove("sha256").is_some());
    fs::write(journal(&site), old.to_string()).expect("written");
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(1));
    drop(served);
    let mut later = old.clone();
    later["format"] = 2.into();
    fs::write(journal(&site), later.to_string()).expect("written");
    let log = refusal(site.folder.path());
    assert!(log.contains("it has format 2") && log.contains("reads format 1"), "{log}");
    let unchanged = fs::read_to_string(journal(&site)).expect("a journal");
    assert_eq!(unchanged, later.to_string(), "a refused journal stays as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_journal_is_refused() {
    let (site, _) = after_a_deployment().await;
    let text = fs::read_to_string(journal(&site)).expect("a journal");
    let digest = text.find("\"digest\": \"").expect("a digest") + "\"digest\": \"".len();
    let mut other_digest = text.clone().into_bytes();
    other_digest[digest] = if other_digest[digest] == b'0' { b'1' } else { b'0' };
    let other_key = text.replacen("\"serving\"", "\"sarving\"", 1).into_bytes();
    let cut_off = text.as_bytes()[..text.len() / 2].to_vec();
    for (what, damaged) in [("digest", other_digest), ("key", other_key), ("cut off", cut_off), ("empty", Vec::new())] {
        fs::write(journal(&site), damaged).expect("written");
        println!("{what}: {}", refusal(site.folder.path()));
    }
    fs::write(journal(&site), text).expect("written");
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(1));
}
