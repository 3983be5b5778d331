//! The journal and the copies of components are there together, or the start is refused. A version that only cannot be used
//! now is not lost: no older one serves in its place.

use std::fs;
use std::path::Path;

use plimsoll_runtime::identity::digest;
use plimsoll_tests::{Site, journal_state, stamped, stamped_reply};
use serde_json::{Value, json};

use crate::lost_copies::{after, copy, data, journal, refusal};
use crate::watch::lines;
use crate::wrapped::{Wrapped, site};

/// Changes the journal of a server that has ended, and writes it without its digest, as an earlier release did.
fn edit(site: &Site, change: impl FnOnce(&mut Value)) {
    let mut state = journal_state(&journal(site));
    change(&mut state);
    fs::write(data(site).join("plugins.json"), state.to_string()).expect("written");
}

/// The marks of the previous versions in the journal.
fn previous(site: &Site) -> Vec<u32> {
    let state = journal_state(&journal(site));
    let records = state["plugins"]["stamp"]["previous"].as_array().expect("a list");
    let mark = |record: &Value| (0..10).find(|mark| record["digest"] == digest(&stamped(*mark)));
    records.iter().map(|record| mark(record).expect("a known version")).collect()
}

/// Puts a folder in place of a copy, so that the copy cannot be read. Returns where the copy is.
fn hide(site: &Site, mark: u32) -> std::path::PathBuf {
    let away = site.folder.path().join(format!("away-{mark}"));
    fs::rename(copy(site, mark), &away).expect("renamed");
    fs::create_dir(copy(site, mark)).expect("made");
    away
}

fn restore(site: &Site, mark: u32, away: &Path) {
    fs::remove_dir(copy(site, mark)).expect("removed");
    fs::rename(away, copy(site, mark)).expect("renamed");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_without_a_journal_are_refused_and_kept() {
    let site = after(&[1, 2]).await;
    let (path, away) = (data(&site).join("plugins.json"), site.folder.path().join("away"));
    fs::rename(&path, &away).expect("renamed");
    for _ in 0..2 {
        let log = refusal(&["env"], &site);
        assert!(log.contains("plugins.json is missing") && log.contains("the copies of 4 components"), "{log}");
        assert!(log.contains("restore it from a backup, or remove"), "{log}");
        assert!(!path.exists() && [0, 1, 2].iter().all(|mark| copy(&site, *mark).is_file()));
    }
    fs::rename(&away, &path).expect("renamed");
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(2));
    drop(served);
    // Without both, the plugin folder decides, as at the first start.
    fs::remove_file(&path).expect("removed");
    fs::remove_dir_all(data(&site).join("components")).expect("removed");
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(0));
}

/// Not only if the version that serves is lost: previous versions would be forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_folder_of_copies_is_refused_although_a_file_could_serve() {
    let site = after(&[1]).await;
    site.drop_in("stamp@1.1.wasm", &stamped(1));
    let (components, away) = (data(&site).join("components"), site.folder.path().join("away"));
    let before = journal(&site);
    fs::rename(&components, &away).expect("renamed");
    // What a file system has at its root is no copy.
    fs::create_dir_all(components.join("lost+found")).expect("made");
    let log = refusal(&["env"], &site);
    assert!(log.contains("is empty, but the journal names components"), "{log}");
    assert_eq!(journal(&site), before);
    fs::remove_dir_all(&components).expect("removed");
    fs::rename(&away, &components).expect("renamed");
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(1));
    let (status, text) = served.send("POST", "/v1/plugins/stamp/rollback", Vec::new()).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(served.reply().await, stamped_reply(0), "nothing was forgotten");
}

/// The folder of copies is mounted or unmounted while the server runs.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_to_another_folder_in_place_of_the_copies() {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let (components, away) = (data(&site).join("components"), site.folder.path().join("away"));
    let before = journal(&site);
    fs::rename(&components, &away).expect("renamed");
    fs::create_dir(&components).expect("made");
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!((status, &reply["durable"]), (200, &false.into()), "{reply}");
    let warning = reply["warning"].as_str().expect("text");
    assert!(warning.contains("another folder is in the place of `components`"), "{warning}");
    assert!(fs::read_dir(&components).expect("a folder").next().is_none() && journal(&site) == before);
    fs::remove_dir(&components).expect("empty");
    fs::rename(&away, &components).expect("renamed");
    served.wait_for_metric("plimsoll_deployments_not_durable", 0).await;
    drop(served);
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_version_is_not_replaced_by_one_before_another_that_cannot_be_read() {
    let site = after(&[1, 2, 3]).await;
    let before = journal(&site);
    fs::remove_file(copy(&site, 3)).expect("removed");
    let away = hide(&site, 2);
    let log = refusal(&["env"], &site);
    let named = log.contains(&format!("{}.wasm", digest(&stamped(2))));
    assert!(named && log.contains("version 1.3 is lost, and the version before it cannot be read"), "{log}");
    assert_eq!(journal(&site), before);
    restore(&site, 2, &away);
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(2));
    assert_eq!(lines(&served, "ERROR", "version 1.3 is lost, so version 1.2 before it serves"), 1, "{}", served.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_be_read_keeps_its_place_among_the_previous_ones() {
    let site = after(&[1, 2, 3]).await;
    assert_eq!(previous(&site), [2, 1, 0]);
    let away = hide(&site, 2);
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(3));
    assert_eq!(previous(&site), [2, 1, 0]);
    let (status, text) = served.send("PUT", "/v1/plugins/stamp?version=1.4", stamped(4)).await;
    assert_eq!(status, 200, "{text}");
    drop(served);
    assert_eq!(previous(&site), [3, 2, 1, 0]);
    restore(&site, 2, &away);
    let served = Wrapped::start(&["env"], &site);
    let (status, text) = served.send("POST", "/v1/plugins/stamp/rollback?to=1.2", Vec::new()).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(served.reply().await, stamped_reply(2));
}

/// Another version of the program reads other manifests. A version whose manifest it does not read is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_with_a_manifest_that_is_not_valid_is_not_lost() {
    let site = after(&[1, 2]).await;
    let original = journal(&site);
    let later = "max_memory = \"64MiB\"\nof_a_later_release = 1\n";
    edit(&site, |state| state["plugins"]["stamp"]["serving"]["manifest"] = json!(later));
    let before = journal(&site);
    let log = refusal(&["env"], &site);
    assert!(
        log.contains("the manifest of version 1.2 of plugin `stamp`") && log.contains("of_a_later_release"),
        "{log}"
    );
    assert!(log.contains("start the version of plimsoll that deployed it"), "{log}");
    assert!(journal(&site) == before && copy(&site, 2).is_file());

    fs::write(data(&site).join("plugins.json"), &original).expect("written");
    edit(&site, |state| state["plugins"]["stamp"]["previous"][0]["manifest"] = json!(later));
    let served = Wrapped::start(&["env"], &site);
    assert_eq!(served.reply().await, stamped_reply(2));
    assert_eq!(lines(&served, "no rollback to version 1.1", "of_a_later_release"), 1, "{}", served.log());
    drop(served);
    let state = journal_state(&journal(&site));
    assert_eq!(state["plugins"]["stamp"]["previous"][0]["manifest"], later, "{state}");
    assert!(copy(&site, 1).is_file());
    edit(&site, |state| state["plugins"]["stamp"]["previous"][0]["manifest"] = json!(""));
    let served = Wrapped::start(&["env"], &site);
    let (status, text) = served.send("POST", "/v1/plugins/stamp/rollback", Vec::new()).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(served.reply().await, stamped_reply(1));
}
