//! The plugin folder is watched, and for a while it cannot be read. A file that cannot be seen does not count as
//! removed.

use std::fs;
use std::process::Command;

use plimsoll_tests::{stamped, stamped_reply};

use crate::watch::{assert_unchanged, lines, roll_back, rolled_back};
use crate::wrapped::{Wrapped, can_run, in_mounts, is_root, site, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_read_changes_nothing_and_is_reported_once() {
    let (site, served) = rolled_back(&["env"]).await;
    let folder = site.folder.path().join("plugins");
    let away = site.folder.path().join("away");
    let make = |what: &str| match what {
        "a file" => fs::write(&folder, "").expect("written"),
        // The folder as it looks when its file system was unmounted.
        "another empty folder" => fs::create_dir(&folder).expect("made"),
        _ => {}
    };
    for (round, what) in ["a file", "another empty folder", "nothing"].into_iter().enumerate() {
        fs::rename(&folder, &away).expect("renamed");
        make(what);
        served.wait_for_metric("plimsoll_unreadable_files", 1).await;
        served.wait_for_failed_scans(3).await;
        assert_unchanged(&served).await;
        match what {
            "a file" => fs::remove_file(&folder).expect("removed"),
            "another empty folder" => fs::remove_dir(&folder).expect("removed"),
            _ => {}
        }
        fs::rename(&away, &folder).expect("renamed");
        served.wait_for_metric("plimsoll_unreadable_files", 0).await;
        served.wait_for_scan(&site, &format!("scan-{round}")).await;
        assert_unchanged(&served).await;
    }
    let folder = folder.display().to_string();
    until("the log", async || lines(&served, &folder, "this problem is over") == 3).await;
    assert_eq!(lines(&served, &folder, "it is tried again"), 3, "{}", served.log());

    // A file that was really removed counts as removed.
    fs::remove_file(site.plugin("other.wasm")).expect("removed");
    until("the removal", async || served.states("other").await.is_empty()).await;
}

/// A file system was mounted or unmounted, and there are other files at the path of the folder.
#[tokio::test(flavor = "multi_thread")]
async fn another_folder_without_the_files_changes_nothing_until_a_signal_says_that_it_is_the_right_one() {
    let (site, served) = rolled_back(&["env"]).await;
    let (folder, away) = (site.folder.path().join("plugins"), site.folder.path().join("away"));
    let replace = || {
        fs::rename(&folder, &away).expect("renamed");
        fs::create_dir(&folder).expect("made");
        site.drop_in("stamp.wasm", &stamped(7));
        site.drop_in("new.wasm", &stamped(8));
    };
    replace();
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    served.wait_for_failed_scans(3).await;
    assert_unchanged(&served).await;
    assert!(served.states("new").await.is_empty());
    assert_eq!(lines(&served, &folder.display().to_string(), "it is tried again"), 1, "{}", served.log());
    fs::remove_dir_all(&folder).expect("removed");
    fs::rename(&away, &folder).expect("renamed");
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
    served.wait_for_scan(&site, "scan").await;
    assert_unchanged(&served).await;

    replace();
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    crate::process::send_signal(served.pid().parse().expect("a number"), "-HUP");
    until("the other folder", async || served.reply().await == stamped_reply(7)).await;
    until("the removal", async || served.states("other").await.is_empty()).await;
    assert_eq!(served.states("new").await, ["unused"]);
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
    // A folder with all files, and others, needs no signal: nothing is missing in it.
    fs::remove_dir_all(&away).expect("removed");
    replace();
    site.drop_in("more.wasm", &stamped(9));
    until("the other folder", async || served.states("more").await == ["unused"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lack_of_file_descriptors_changes_no_deployment() {
    if !can_run(&["prlimit", "--nofile=100:1000"]) {
        return;
    }
    let (site, served) = rolled_back(&["prlimit", "--nofile=1000:1000"]).await;
    let limit = |limit: &str| {
        let status = Command::new("prlimit").args(["--pid", &served.pid(), limit]).status().expect("it starts");
        assert!(status.success());
    };
    // Connections that are open keep working. No file can be opened.
    limit("--nofile=4:1000");
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    site.drop_in("late.wasm", &stamped(7));
    served.wait_for_failed_scans(3).await;
    assert_unchanged(&served).await;
    limit("--nofile=1000:1000");
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
    until("the new file", async || served.states("late").await == ["unused"]).await;
    assert_unchanged(&served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_mount_changes_no_deployment() {
    let site = site("");
    let mounts = in_mounts("mount --bind store plugins");
    let store = site.folder.path().join("store");
    fs::rename(site.folder.path().join("plugins"), &store).expect("renamed");
    fs::create_dir(site.folder.path().join("plugins")).expect("made");
    if !can_run(&in_mounts("true")) {
        return;
    }
    let served = Wrapped::start(&mounts, &site);
    let write = |name: &str, mark| fs::write(store.join(name), stamped(mark)).expect("written");
    write("stamp.wasm", 1);
    write("other.wasm", 9);
    until("mark 1", async || served.reply().await == stamped_reply(1)).await;
    until("the other plugin", async || served.states("other").await == ["unused"]).await;
    roll_back(&served).await;
    assert_unchanged(&served).await;
    let inside = |command: &[&str]| {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &served.pid(), "--mount"]);
        if !is_root() {
            nsenter.args(["--user", "--preserve-credentials"]);
        }
        let output = nsenter.args(command).output().expect("it starts");
        assert!(output.status.success(), "{command:?}: {output:?}");
    };
    let plugins = site.folder.path().join("plugins").display().to_string();
    inside(&["umount", "--lazy", &plugins]);
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    served.wait_for_failed_scans(3).await;
    assert_unchanged(&served).await;
    inside(&["mount", "--bind", &store.display().to_string(), &plugins]);
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
    write("late.wasm", 7);
    until("the new file", async || served.states("late").await == ["unused"]).await;
    assert_unchanged(&served).await;
}

/// A configuration that cannot be read for a while does not count as removed either.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_missing_for_a_while_is_reported_and_read_when_it_is_back() {
    let (site, served) = rolled_back(&["env"]).await;
    let text = fs::read_to_string(&site.config).expect("text");
    fs::remove_file(&site.config).expect("removed");
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    served.wait_for_failed_scans(3).await;
    assert_unchanged(&served).await;
    fs::write(&site.config, text.replace("[pipelines.p]\n", "[pipelines.p]\ndeadline = \"9s\"\n")).expect("written");
    until("the new configuration", async || {
        served.json("GET", "/v1/pipelines", Vec::new()).await.1["pipelines"][0]["deadline_seconds"] == 9.0
    })
    .await;
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
    assert_unchanged(&served).await;
}
