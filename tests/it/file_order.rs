//! A file that is added to the folder replaces the version that serves only if its version is newer.

use std::fs;

use plimsoll_tests::{Server, Site, stamped, stamped_reply};

use crate::wrapped::until;

/// A site that serves `stamp@1.10` (mark 10) beside `stamp@1.8` (mark 8).
fn site() -> Site {
    let site = Site::new("");
    fs::remove_file(site.plugin("stamp.wasm")).expect("there");
    site.drop_in("stamp@1.10.wasm", &stamped(10));
    site.drop_in("stamp@1.8.wasm", &stamped(8));
    site
}

async fn refusal(server: &Server, version: &str) -> String {
    let mut reason = String::new();
    until("the refusal", async || {
        let plugin = server.get("/v1/plugins/stamp").await.json();
        let versions = plugin["versions"].as_array().expect("a list").clone();
        let refused = versions.iter().find(|it| it["version"] == version && it["state"] == "refused");
        reason = refused.map_or_else(String::new, |it| it["reason"].as_str().expect("text").to_owned());
        refused.is_some()
    })
    .await;
    reason
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_file_does_not_replace_the_version_that_serves() {
    let site = site();
    let server = site.serve().await;
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(10));
    for (version, mark, why) in
        [("1.9", 9, "is older than"), ("green", 3, "cannot be compared"), ("v1.10.0", 11, "equals the version")]
    {
        let file = format!("stamp@{version}.wasm");
        site.drop_in(&file, &stamped(mark));
        let reason = refusal(&server, version).await;
        for word in [why, version, "`1.10`", "plimsoll plugin deploy", &*file, "stamp@1.10.wasm"] {
            assert!(reason.contains(word), "{word:?} is missing in {reason}");
        }
        assert_eq!(server.infer("p", "", "").await.text, stamped_reply(10));
    }
    // A file without a version counts as the oldest.
    site.drop_in("stamp.wasm", &stamped(4));
    let reason = refusal(&server, "unversioned").await;
    assert!(reason.contains("has no version"), "{reason}");
    server.stop().await;

    // A restart decides in the same way, also about files that were added while no server ran.
    site.drop_in("stamp@1.9.9.wasm", &stamped(99));
    let server = site.serve().await;
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(10));
    assert!(refusal(&server, "1.9.9").await.contains("is older than"));

    // It can still be deployed explicitly. Then a newer file replaces it.
    let put = server.send("PUT", "/v1/plugins/stamp?version=1.9", &[], stamped(9)).await;
    assert_eq!(put.json()["state"], "serving", "{}", put.text);
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(9));
    site.drop_in("stamp@1.8.5.wasm", &stamped(85));
    assert!(refusal(&server, "1.8.5").await.contains("`1.9`"), "also a version that came over HTTP has an order");
    site.drop_in("stamp@1.11.wasm", &stamped(111));
    server.wait_for_reply(&stamped_reply(111)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_may_be_replaced_by_an_older_one() {
    let site = site();
    let server = site.serve().await;
    // The newer file is replaced by the older one.
    fs::write(site.folder.path().join("draft"), stamped(9)).expect("written");
    fs::remove_file(site.plugin("stamp@1.10.wasm")).expect("there");
    fs::rename(site.folder.path().join("draft"), site.plugin("stamp@1.9.wasm")).expect("renamed");
    server.wait_for_reply(&stamped_reply(9)).await;
    // Other bytes in the same file have the same version.
    site.drop_in("stamp@1.9.wasm", &stamped(91));
    server.wait_for_reply(&stamped_reply(91)).await;
    // A file without a version replaces a version that came over HTTP, because most plugin files have no version.
    let put = server.send("PUT", "/v1/plugins/other?version=2", &[], stamped(2)).await;
    assert_eq!(put.status, 200, "{}", put.text);
    site.drop_in("other.wasm", &stamped(20));
    until("the file", async || server.get("/v1/plugins/other").await.json()["version"] == "unversioned").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_file_does_not_replace_a_canary() {
    let site = Site::new("canary = { share = \"50%\", requests = 1000 }");
    let server = site.serve().await;
    site.drop_in("stamp@2.0.wasm", &stamped(2));
    server.wait_for_state("stamp", "canary").await;
    site.drop_in("stamp@1.0.wasm", &stamped(1));
    let reason = refusal(&server, "1.0").await;
    assert!(reason.contains("is older than the version `2.0`, which is on canary"), "{reason}");
    assert_eq!(server.wait_for_state("stamp", "canary").await["version"], "2.0");
}
