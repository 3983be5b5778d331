//! New versions are deployed while requests run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plimsoll_tests::{Site, TempDir, is_alone, stamped, stamped_reply};

use crate::wrapped::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_deployments_under_load_fail_no_request_and_leak_no_memory() {
    // Resident memory is that of the whole process, so the test runs alone in a new process.
    if !is_alone("swap::a_hundred_deployments_under_load_fail_no_request_and_leak_no_memory") {
        return;
    }
    const SWAPS: u32 = 100;
    let site = Site::new("");
    let server = Arc::new(site.serve().await);
    let done = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (server, done) = (Arc::clone(&server), Arc::clone(&done));
            tokio::spawn(async move {
                let mut replies = 0u64;
                while !done.load(Ordering::Relaxed) {
                    let reply = server.infer("p", "", "").await;
                    assert_eq!(reply.status, 200, "{}", reply.text);
                    let (first, last) = reply.text.split_once(' ').expect("two marks");
                    assert_eq!(first, last, "the first and the last stage of a request must have the same version");
                    let plugins = reply.headers["x-plimsoll-plugins"].to_str().expect("text").to_owned();
                    let digests: Vec<_> = plugins.split(", ").filter(|entry| entry.contains("=stamp@")).collect();
                    assert_eq!(digests.len(), 2, "{plugins}");
                    assert_eq!(digests[0].rsplit('+').next(), digests[1].rsplit('+').next(), "{plugins}");
                    replies += 1;
                    // The compiler has a low priority. Without pauses the requests would starve it.
                    tokio::time::sleep(Duration::from_millis(4)).await;
                }
                replies
            })
        })
        .collect();

    let (mut after_tenth, mut after_last) = (0, u64::MAX);
    for swap in 1..=SWAPS {
        site.drop_in("stamp.wasm", &stamped(swap));
        server.wait_for_reply(&stamped_reply(swap)).await;
        if swap == 10 {
            after_tenth = resident();
        }
        // The least of the last ones: what a deployment has freed is returned to the operating system a little later.
        if swap > SWAPS - 20 {
            after_last = after_last.min(resident());
        }
    }
    done.store(true, Ordering::Relaxed);
    let mut replies = 0;
    for task in load {
        replies += task.await.expect("no request failed");
    }
    println!("{SWAPS} swaps, {replies} replies, resident memory {after_tenth} -> {after_last} bytes");
    assert!(replies > u64::from(SWAPS), "too few requests ran: {replies}");
    assert!(after_last < after_tenth + (8 << 20), "{after_tenth} -> {after_last}");

    // Three previous versions are kept. Older versions are dropped, and their series, too.
    let plugin = server.get("/v1/plugins/stamp").await.json();
    let states: Vec<_> =
        plugin["versions"].as_array().expect("a list").iter().map(|version| &version["state"]).collect();
    assert_eq!(states, ["serving", "previous", "previous", "previous"]);
    let metrics = server.get("/metrics").await.text;
    let digests: std::collections::BTreeSet<_> = metrics
        .lines()
        .filter(|line| line.contains("plugin=\"stamp\""))
        .filter_map(|line| line.split("digest=\"").nth(1))
        .map(|rest| &rest[..12])
        .collect();
    assert_eq!(digests.len(), 4, "{digests:?}");
}

fn resident() -> u64 {
    plimsoll::base::process::process_memory().resident_bytes.expect("the system reports it")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_request_ends_on_the_version_on_which_it_started() {
    let site = Site::new("");
    let server = Arc::new(site.serve().await);
    let slow = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.infer("p", "?do=sleep&ms=4000", "").await.text }
    });
    until("the request", async || server.get("/metrics").await.text.contains("plugin=\"stamp\"} 1\n")).await;
    let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await;
    assert_eq!(put.status, 200, "{}", put.text);
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(1));
    assert_eq!(slow.await.expect("answered"), stamped_reply(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_may_be_renamed_into_the_folder_written_slowly_or_replaced_in_bursts() {
    let site = Site::new("");
    let server = site.serve().await;
    // An atomic rename.
    std::fs::write(site.folder.path().join("draft"), stamped(1)).expect("written");
    std::fs::rename(site.folder.path().join("draft"), site.plugin("stamp.wasm")).expect("renamed");
    server.wait_for_reply(&stamped_reply(1)).await;

    // The file is written slowly, with pauses: the server waits for the complete file, and rejects nothing.
    use std::io::Write;
    let bytes = stamped(2);
    let mut file = std::fs::File::create(site.plugin("stamp.wasm")).expect("created");
    for part in bytes.chunks(bytes.len().div_ceil(5)) {
        file.write_all(part).expect("written");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    drop(file);
    server.wait_for_reply(&stamped_reply(2)).await;

    // A burst is one deployment.
    for mark in 3..=20 {
        site.drop_in("stamp.wasm", &stamped(mark));
    }
    server.wait_for_reply(&stamped_reply(20)).await;
    let plugin = server.get("/v1/plugins/stamp").await.json();
    let states: Vec<_> =
        plugin["versions"].as_array().expect("a list").iter().map(|version| &version["state"]).collect();
    assert_eq!(
        states,
        ["serving", "previous", "previous", "previous"],
        "the versions are 20, 2, 1 and 0, and none is rejected"
    );

    // The file name contains a version, and there is a manifest with a limit.
    site.drop_in("stamp.toml", b"max_memory = \"3MiB\"\n");
    site.drop_in("stamp@2.0.0.wasm", &stamped(30));
    server.wait_for_reply(&stamped_reply(30)).await;
    let plugin = server.get("/v1/plugins/stamp").await.json();
    assert_eq!((&plugin["version"], &plugin["stages"][0]["max_memory"]), (&"2.0.0".into(), &(3 << 20).into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_file_retires_the_plugin_unless_a_pipeline_needs_it() {
    let site = Site::new("");
    let server = site.serve().await;
    site.drop_in("other.wasm", &stamped(5));
    server.wait_for_state("other", "unused").await;
    std::fs::remove_file(site.plugin("other.wasm")).expect("removed");
    std::fs::remove_file(site.plugin("stamp.wasm")).expect("removed");
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while server.get("/v1/plugins/other").await.status != 404 {
        assert!(std::time::Instant::now() < until, "the plugin is not retired");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // One scan of the folder finds that both files are removed, and handles one after the other.
    let note = loop {
        let stamp = server.get("/v1/plugins/stamp").await.json();
        if let Some(note) = stamp["note"].as_str() {
            break note.to_owned();
        }
        assert!(std::time::Instant::now() < until, "no note: {stamp}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(note.contains("is gone") && note.contains("pipeline `p` needs it"), "{note}");
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_without_a_file_event_is_found_by_polling() {
    let site = Site::new("");
    // The target of the symbolic link is in a folder that is not watched.
    let folder = TempDir::new().expect("a folder");
    let elsewhere = folder.path().join("stamp.bin");
    std::fs::write(&elsewhere, stamped(0)).expect("written");
    std::fs::remove_file(site.plugin("stamp.wasm")).expect("removed");
    std::os::unix::fs::symlink(&elsewhere, site.plugin("stamp.wasm")).expect("linked");
    let server = site.serve().await;
    server.wait_for_reply(&stamped_reply(0)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    std::fs::write(&elsewhere, stamped(1)).expect("written");
    server.wait_for_reply(&stamped_reply(1)).await;
}
