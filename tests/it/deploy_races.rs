//! Changes of one plugin at the same time: afterwards, what serves, what is listed and what a restart remembers are the
//! same version.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_tests::{Site, journal_state, stamped, stamped_reply};
use serde_json::Value;

use crate::process::send_signal;
use crate::wrapped::{Wrapped, site, until};

/// The versions of a plugin, without the times and reasons.
async fn versions(served: &Wrapped, plugin: &str) -> Vec<(String, String, String)> {
    let (_, shown) = served.json("GET", &format!("/v1/plugins/{plugin}"), Vec::new()).await;
    let text = |version: &Value, key: &str| version[key].as_str().unwrap_or_default().to_owned();
    let versions = shown["versions"].as_array().into_iter().flatten();
    versions.map(|it| (text(it, "state"), text(it, "version"), text(it, "digest"))).collect()
}

/// Checks that listing, replies and journal have the same version of `stamp`. Returns the versions that a restart
/// remembers.
async fn check_agreement(site: &Site, served: &Wrapped) -> Vec<(String, String, String)> {
    let versions = versions(served, "stamp").await;
    let (_, version, digest) = versions.iter().find(|(state, ..)| state == "serving").expect("one serves");
    // The versions are called as their marks.
    let mark = version.rsplit('.').next().and_then(|mark| mark.parse().ok()).unwrap_or(0);
    assert_eq!(served.reply().await, stamped_reply(mark), "{versions:?}");
    let journal = journal_state(&fs::read(site.folder.path().join(".plimsoll/plugins.json")).expect("a journal"));
    let record = &journal["plugins"]["stamp"];
    assert_eq!(record["serving"]["digest"], digest.as_str(), "{versions:?} {record}");
    let previous: Vec<_> = record["previous"].as_array().expect("a list").iter().map(|it| &it["digest"]).collect();
    let listed: Vec<_> = versions.iter().filter(|(state, ..)| state == "previous").map(|(.., it)| it).collect();
    assert_eq!(previous, listed, "{versions:?} {record}");
    versions.into_iter().filter(|(state, ..)| state == "serving" || state == "previous").collect()
}

/// Starts uploads, rollbacks, retirements and reloads at once. Returns the status of each.
async fn change_at_once(served: &Arc<Wrapped>, round: u32) -> Vec<(String, u16, String)> {
    let put = |mark: u32| ("PUT", format!("/v1/plugins/stamp?version=1.0.{mark}"), stamped(mark));
    let first = round * 10;
    let changes = [
        put(first + 1),
        ("POST", "/v1/plugins/stamp/rollback".to_owned(), Vec::new()),
        put(first + 2),
        ("PUT", "/v1/plugins/other".to_owned(), stamped(first + 5)),
        ("DELETE", "/v1/plugins/stamp".to_owned(), Vec::new()),
        put(first + 3),
        ("DELETE", "/v1/plugins/other".to_owned(), Vec::new()),
        ("POST", "/v1/plugins/stamp/rollback".to_owned(), Vec::new()),
        ("POST", "/v2/repository/models/p/load".to_owned(), b"{}".to_vec()),
        put(first + 4),
    ];
    let process: u32 = served.pid().parse().expect("a number");
    let tasks = changes.map(|(method, path, body)| {
        let served = Arc::clone(served);
        tokio::spawn(async move {
            let (status, text) = served.send(method, &path, body).await;
            (format!("{method} {path}"), status, text)
        })
    });
    send_signal(process, "-HUP");
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("no panic"));
    }
    send_signal(process, "-HUP");
    results
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_the_same_time_leave_one_state_that_survives_a_kill() {
    let site = site("");
    let mut served = Arc::new(Wrapped::start(&["env"], &site));
    for round in 1..=4 {
        let results = change_at_once(&served, round).await;
        for (what, status, text) in &results {
            // A pipeline needs `stamp`, `other` may not be there yet, and there may be no previous version.
            let is_expected = match *status {
                200 => !what.starts_with("DELETE /v1/plugins/stamp"),
                404 => what.starts_with("DELETE /v1/plugins/other"),
                409 => what.starts_with("DELETE /v1/plugins/stamp") || what.ends_with("/rollback"),
                _ => false,
            };
            assert!(is_expected, "{what}: {status} {text}");
        }
        served.wait_for_scan(&site, &format!("round-{round}")).await;
        let before = check_agreement(&site, &served).await;
        let process: u32 = served.pid().parse().expect("a number");
        send_signal(process, "-KILL");
        drop(served);
        served = Arc::new(Wrapped::start(&["env"], &site));
        assert_eq!(check_agreement(&site, &served).await, before, "after a restart");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_during_changes_leaves_a_state_that_was_replied_or_requested() {
    let site = site("");
    for round in 1..=4_u32 {
        let served = Arc::new(Wrapped::start(&["env"], &site));
        let before = check_agreement(&site, &served).await;
        let first = round * 10;
        let (status, text) =
            served.send("PUT", &format!("/v1/plugins/stamp?version=1.0.{first}"), stamped(first)).await;
        assert_eq!(status, 200, "{text}");
        let running = Arc::clone(&served);
        let unfinished = tokio::spawn(async move {
            for mark in first + 1..first + 10 {
                running.send("PUT", &format!("/v1/plugins/stamp?version=1.0.{mark}"), stamped(mark)).await;
            }
        });
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 37)).await;
        send_signal(served.pid().parse().expect("a number"), "-KILL");
        // Its request fails.
        drop(unfinished.await);
        drop(served);
        let served = Wrapped::start(&["env"], &site);
        let after = check_agreement(&site, &served).await;
        let version = &after[0].1;
        let mark: u32 = version.rsplit('.').next().and_then(|mark| mark.parse().ok()).expect("a mark");
        assert!((first..first + 10).contains(&mark), "{before:?} {after:?}");
    }
}

/// A canary is decided, replaced and ended while other versions come.
#[tokio::test(flavor = "multi_thread")]
async fn canaries_and_uploads_at_the_same_time_leave_one_candidate() {
    let site = Site::new("");
    let text = fs::read_to_string(&site.config).expect("text");
    let tables = "[admin]\ntoken_file = \"token\"\n[deploy]\npoll = \"20ms\"\n[server]";
    let text = text.replace("[server]", tables);
    let canary = "[pipelines.p]\ncanary = { share = \"50%\", requests = 1000000 }\n";
    plimsoll_tests::replace_file(&site.config, text.replace("[pipelines.p]\n", canary)).expect("written");
    fs::write(site.folder.path().join("token"), "a-token-for-the-tests").expect("written");
    let mut served = Arc::new(Wrapped::start(&["env"], &site));
    for round in 1..=3 {
        let results = change_at_once(&served, round).await;
        for (what, status, text) in &results {
            assert!([200, 404, 409].contains(status), "{what}: {status} {text}");
        }
        served.wait_for_scan(&site, &format!("round-{round}")).await;
        let listed = versions(&served, "stamp").await;
        let of = |state: &str| listed.iter().filter(|(other, ..)| other == state).cloned().collect::<Vec<_>>();
        let (candidates, serving) = (of("canary"), of("serving"));
        assert!(candidates.len() <= 1 && serving.len() == 1, "{listed:?}");
        let mark = |version: &str| version.rsplit('.').next().and_then(|mark| mark.parse().ok()).unwrap_or(0);
        let mut allowed: Vec<_> = candidates.iter().chain(&serving).map(|(_, it, _)| stamped_reply(mark(it))).collect();
        let mut seen = std::collections::BTreeSet::new();
        until("replies of all versions", async || {
            let reply = served.reply().await;
            assert!(allowed.contains(&reply), "{reply} {listed:?}");
            seen.insert(reply);
            seen.len() == allowed.len()
        })
        .await;
        drop(served);
        served = Arc::new(Wrapped::start(&["env"], &site));
        let restarted = versions(&served, "stamp").await;
        let kept = |list: &[(String, String, String)]| {
            list.iter().filter(|(state, ..)| state != "refused").cloned().collect::<Vec<_>>()
        };
        assert_eq!(kept(&restarted), kept(&listed));
        allowed.clear();
    }
}
