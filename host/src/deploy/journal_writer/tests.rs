//! Tests of the writer of the journal.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::deploy::journal_state::{PluginRecord, VersionRecord};
use crate::deploy::manifest::Manifest;
use crate::deploy::release::{Release, ReleaseSource};
use crate::records::metrics::Buckets;

/// A state with `count` plugins.
fn state(count: usize) -> JournalState {
    let record = PluginRecord { withdrawn: vec!["ab12".to_owned()], ..PluginRecord::default() };
    let plugins = (0..count).map(|at| (format!("p{at}"), record.clone())).collect();
    JournalState { plugins, ..JournalState::default() }
}

fn writer() -> (JournalWriter, PathBuf) {
    let folder = std::env::temp_dir().join(format!("plimsoll-writer-{}", uuid::Uuid::new_v4()));
    let journal = Arc::new(Journal::open(&folder).expect("opened"));
    (JournalWriter::new(journal, Arc::new(Records::new("caller", 10, Buckets::Fine))), folder)
}

#[tokio::test]
async fn states_are_written_in_their_order_and_the_latest_is_on_disk() {
    let (writer, folder) = writer();
    let tickets: Vec<_> = (1..=50).map(|count| writer.submit(state(count), true)).collect();
    for ticket in tickets {
        ticket.confirmed().await.expect("written");
    }
    assert_eq!(writer.shared.journal.read().expect("read"), state(50));
    let unconfirmed = writer.submit(state(7), true);
    let journal = Arc::clone(&writer.shared.journal);
    drop(writer);
    assert_eq!(journal.read().expect("read"), state(7), "the end waits for it");
    drop(unconfirmed);
    fs::remove_dir_all(folder).expect("removed");
}

#[tokio::test]
async fn a_state_that_cannot_be_written_is_told_and_a_later_one_may_be() {
    let (writer, folder) = writer();
    writer.submit(state(1), true).confirmed().await.expect("written");
    // A folder cannot be replaced by a file.
    fs::remove_file(folder.join("plugins.json")).expect("removed");
    fs::create_dir(folder.join("plugins.json")).expect("made");
    let reason = writer.submit(state(2), true).confirmed().await.expect_err("not written");
    assert!(reason.contains("cannot write to the data folder"), "{reason}");
    writer.latest().confirmed().await.expect_err("still not written");
    fs::remove_dir(folder.join("plugins.json")).expect("removed");
    writer.submit(state(3), true).confirmed().await.expect("written");
    assert_eq!(writer.shared.journal.read().expect("read"), state(3));
    drop(writer);
    fs::remove_dir_all(folder).expect("removed");
}

/// A deployment that is written ahead replaces a canary, and may still fail.
#[tokio::test]
async fn the_copies_of_both_states_stay_until_a_change_is_made() {
    let (writer, folder) = writer();
    let release = |byte: u8| {
        let bytes = vec![byte; 9_000].into();
        Release::new("p", Some("1"), bytes, Manifest::default(), ReleaseSource::Http).expect("valid")
    };
    let on_canary = |release: &Release| {
        let record = PluginRecord { candidate: Some(VersionRecord::of(release)), ..PluginRecord::default() };
        JournalState { plugins: [("p".to_owned(), record)].into(), ..JournalState::default() }
    };
    let is_there =
        |release: &Release| folder.join(format!("components/{}.wasm", release.artifact.identity.digest)).is_file();
    let (old, new) = (release(1), release(2));
    writer.shared.journal.keep(old.artifact.clone()).expect("kept");
    writer.submit(on_canary(&old), true).confirmed().await.expect("written");
    writer.shared.journal.keep(new.artifact.clone()).expect("kept");
    writer.submit_ahead(&on_canary(&old), on_canary(&new)).confirmed().await.expect("written");
    assert!(is_there(&old) && is_there(&new), "the change may fail");
    assert_eq!(writer.shared.journal.read().expect("read"), on_canary(&new), "a killed process begins the new one");
    writer.submit(on_canary(&old), true).confirmed().await.expect("written");
    assert!(is_there(&old) && !is_there(&new), "it has failed");
    drop(writer);
    fs::remove_dir_all(folder).expect("removed");
}

/// A backup, for example.
#[tokio::test]
async fn a_journal_that_someone_put_in_its_place_is_not_replaced_at_the_end() {
    let (writer, folder) = writer();
    let path = folder.join("plugins.json");
    writer.submit(state(1), true).confirmed().await.expect("written");
    let backup = fs::read(&path).expect("readable");
    writer.submit(state(2), true).confirmed().await.expect("appended");
    fs::write(folder.join("backup"), &backup).expect("written");
    fs::rename(folder.join("backup"), &path).expect("restored");
    drop(writer);
    assert_eq!(fs::read(&path).expect("readable"), backup);
    fs::remove_dir_all(folder).expect("removed");
}

#[tokio::test]
async fn a_disk_that_does_not_answer_is_told_after_a_bounded_time() {
    let (writer, folder) = writer();
    // A write that does not end.
    writer.shared.queue().is_writing = true;
    let reason = writer.submit(state(1), true).confirmed_within(Duration::ZERO).await.expect_err("not confirmed");
    assert!(reason.contains("has not confirmed it within"), "{reason}");
    let later = writer.submit(state(2), true);
    Writing::new(&writer.shared).write_all();
    later.confirmed().await.expect("written");
    assert_eq!(writer.shared.journal.read().expect("read"), state(2), "the later state has both changes");
    drop(writer);
    fs::remove_dir_all(folder).expect("removed");
}
