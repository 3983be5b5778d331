//! Versions are exchanged while a load of requests runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plimsoll_tests::{Site, TempDir, stamped, stamped_reply};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_swaps_under_load_lose_no_request_and_keep_no_memory() {
    // Resident memory is that of the whole process, so nothing else may run in it.
    if std::env::var_os("ALONE").is_none() {
        let name = "swap::a_hundred_swaps_under_load_lose_no_request_and_keep_no_memory";
        let mut alone = tokio::process::Command::new(std::env::current_exe().expect("a file"));
        let output = alone.args(["--exact", name, "--nocapture"]).env("ALONE", "1").output().await.expect("it starts");
        let (told, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("{told}");
        assert!(output.status.success() && told.contains("1 passed"), "{told}{log}");
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
                    assert_eq!(first, last, "one version answers a request, first to last");
                    let plugins = reply.headers["x-plimsoll-plugins"].to_str().expect("text").to_owned();
                    let digests: Vec<_> = plugins.split(", ").filter(|entry| entry.contains("=stamp@")).collect();
                    assert_eq!(digests.len(), 2, "{plugins}");
                    assert_eq!(digests[0].rsplit('+').next(), digests[1].rsplit('+').next(), "{plugins}");
                    replies += 1;
                    // A load that leaves nothing of the machine would starve the compiler, which has a low priority.
                    tokio::time::sleep(Duration::from_millis(4)).await;
                }
                replies
            })
        })
        .collect();

    let mut after_tenth = 0;
    for swap in 1..=SWAPS {
        site.drop_in("stamp.wasm", &stamped(swap));
        server.until_reply(&stamped_reply(swap)).await;
        if swap == 10 {
            after_tenth = resident();
        }
    }
    let after_last = resident();
    done.store(true, Ordering::Relaxed);
    let mut replies = 0;
    for task in load {
        replies += task.await.expect("no request failed");
    }
    println!("{SWAPS} swaps, {replies} replies, resident memory {after_tenth} -> {after_last} bytes");
    assert!(replies > u64::from(SWAPS), "the load ran: {replies}");
    assert!(after_last < after_tenth + (8 << 20), "{after_tenth} -> {after_last}");

    // Three previous versions stay; of those before them nothing does, also not in the reports.
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
    plimsoll::base::process::process_memory().resident_bytes.expect("the system tells")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_inside_ends_on_the_version_with_which_it_began() {
    let site = Site::new("");
    let server = Arc::new(site.serve().await);
    let slow = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.infer("p", "?do=sleep", "").await.text }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await;
    assert_eq!(put.status, 200, "{}", put.text);
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(1));
    assert_eq!(slow.await.expect("answered"), stamped_reply(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_may_be_renamed_into_place_written_slowly_or_come_in_bursts() {
    let site = Site::new("");
    let server = site.serve().await;
    // An atomic rename.
    std::fs::write(site.folder.path().join("draft"), stamped(1)).expect("written");
    std::fs::rename(site.folder.path().join("draft"), site.plugin("stamp.wasm")).expect("renamed");
    server.until_reply(&stamped_reply(1)).await;

    // Slowly, with pauses: what is torn is waited for, and nothing is refused.
    use std::io::Write;
    let bytes = stamped(2);
    let mut file = std::fs::File::create(site.plugin("stamp.wasm")).expect("created");
    for part in bytes.chunks(bytes.len().div_ceil(5)) {
        file.write_all(part).expect("written");
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    drop(file);
    server.until_reply(&stamped_reply(2)).await;

    // A burst is one deployment.
    for mark in 3..=20 {
        site.drop_in("stamp.wasm", &stamped(mark));
    }
    server.until_reply(&stamped_reply(20)).await;
    let plugin = server.get("/v1/plugins/stamp").await.json();
    let states: Vec<_> =
        plugin["versions"].as_array().expect("a list").iter().map(|version| &version["state"]).collect();
    assert_eq!(states, ["serving", "previous", "previous", "previous"], "0, 1, 2 and 20, and none refused");

    // A version in the file's name, and a manifest with a limit beside it.
    site.drop_in("stamp.toml", b"max_memory = \"3MiB\"\n");
    site.drop_in("stamp@2.0.0.wasm", &stamped(30));
    server.until_reply(&stamped_reply(30)).await;
    let plugin = server.get("/v1/plugins/stamp").await.json();
    assert_eq!((&plugin["version"], &plugin["stages"][0]["max_memory"]), (&"2.0.0".into(), &(3 << 20).into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_retires_a_plugin_unless_a_pipeline_needs_it() {
    let site = Site::new("");
    let server = site.serve().await;
    site.drop_in("other.wasm", &stamped(5));
    server.until_state("other", "unused").await;
    std::fs::remove_file(site.plugin("other.wasm")).expect("removed");
    std::fs::remove_file(site.plugin("stamp.wasm")).expect("removed");
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while server.get("/v1/plugins/other").await.status != 404 {
        assert!(std::time::Instant::now() < until, "it is not retired");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // One look at the folder finds both gone, and handles one after the other.
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
async fn a_change_that_sends_no_event_is_found_by_the_clock() {
    let site = Site::new("");
    // The file behind a link lies in a folder that nobody watches.
    let folder = TempDir::new().expect("a folder");
    let elsewhere = folder.path().join("stamp.bin");
    std::fs::write(&elsewhere, stamped(0)).expect("written");
    std::fs::remove_file(site.plugin("stamp.wasm")).expect("removed");
    std::os::unix::fs::symlink(&elsewhere, site.plugin("stamp.wasm")).expect("linked");
    let server = site.serve().await;
    server.until_reply(&stamped_reply(0)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    std::fs::write(&elsewhere, stamped(1)).expect("written");
    server.until_reply(&stamped_reply(1)).await;
}
