//! Changes while a canary is undecided: none of them makes its version serve, or loses it without a trace.

use std::fs;

use plimsoll_tests::{Server, Site, stamped, stamped_reply};
use serde_json::Value;

use crate::process::send_signal;
use crate::reload::wait_for_reloads;
use crate::wrapped::{Wrapped, site, until};

const RULES: &str = "canary = { share = \"25%\", requests = 400 }";

async fn put(server: &Server, mark: u32) -> String {
    let put = server.send("PUT", &format!("/v1/plugins/stamp?version={mark}"), &[], stamped(mark)).await;
    put.json()["state"].as_str().unwrap_or_else(|| panic!("{}", put.text)).to_owned()
}

/// The versions with this state.
async fn versions(server: &Server, state: &str) -> Vec<Value> {
    let view = server.get("/v1/plugins/stamp").await.json();
    let versions = view["versions"].as_array().unwrap_or_else(|| panic!("{view}"));
    versions.iter().filter(|version| version["state"] == state).cloned().collect()
}

/// A version that the configuration names begins as a canary, as one that is uploaded or dropped in.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_in_the_configuration_begins_as_a_canary() {
    let site = Site::new(RULES);
    let server = site.serve().await;
    let file = site.folder.path().join("stamp-1.wasm");
    fs::write(&file, stamped(1)).expect("written");
    let text = fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, format!("{text}[plugins.stamp]\nfile = {file:?}\n")).expect("written");
    wait_for_reloads(&server, "served", 1).await;
    assert_eq!(versions(&server, "canary").await.len(), 1, "{}", server.get("/v1/plugins/stamp").await.text);
    let mut new = 0;
    for _ in 0..80 {
        let reply = server.infer("p", "", "").await.text;
        assert!([stamped_reply(0), stamped_reply(1)].contains(&reply), "{reply}");
        new += usize::from(reply == stamped_reply(1));
    }
    assert!((5..=45).contains(&new), "the share is about 25%: {new} of 80");
    // A restart finds it on canary, too.
    server.stop().await;
    let server = site.serve().await;
    assert_eq!(versions(&server, "canary").await.len(), 1, "{}", server.get("/v1/plugins/stamp").await.text);
}

/// Nothing would decide about it any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_without_the_canary_does_not_promote_its_version() {
    let site = Site::new(RULES);
    let server = site.serve().await;
    assert_eq!(put(&server, 1).await, "canary");
    site.write_config("deadline = \"7s\"");
    wait_for_reloads(&server, "served", 1).await;
    let refused = versions(&server, "refused").await;
    let reason = refused[0]["reason"].as_str().expect("text");
    assert!(reason.contains("has no canary for it any more"), "{reason}");
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));
    assert_eq!(put(&server, 1).await, "serving");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_to_a_version_during_a_canary_records_the_candidate() {
    let site = Site::new("");
    let server = site.serve().await;
    assert_eq!(put(&server, 1).await, "serving");
    site.write_config(RULES);
    wait_for_reloads(&server, "served", 1).await;
    assert_eq!(put(&server, 2).await, "canary");
    let zero = plimsoll_runtime::identity::digest(&stamped(0));
    let back = server.send("POST", &format!("/v1/plugins/stamp/rollback?to={zero}"), &[], Vec::new()).await;
    assert_eq!(back.status, 200, "{}", back.text);
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));
    let refused = versions(&server, "refused").await;
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0]["reason"].as_str().expect("text").contains("during its canary"), "{refused:?}");
    assert_eq!(refused[0]["version"], "2", "{refused:?}");
}

/// The requests of the canary so far.
async fn requests(server: &Server) -> u64 {
    let view = server.get("/v1/plugins/stamp").await.json();
    let of = |side: &str| view["canary"][0][side]["requests"].as_u64().unwrap_or_else(|| panic!("{view}"));
    of("new") + of("old")
}

/// Figures with other limits say nothing about the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_with_another_manifest_begins_again() {
    let site = Site::new(RULES);
    let server = site.serve().await;
    assert_eq!(put(&server, 1).await, "canary");
    for _ in 0..10 {
        assert_eq!(server.infer("p", "", "").await.status, 200);
    }
    assert_eq!(requests(&server).await, 10);
    assert_eq!(put(&server, 1).await, "canary");
    assert_eq!(requests(&server).await, 10, "nothing has changed");
    // `put` has the version 1.
    fs::write(site.plugin("stamp@1.toml"), "max_memory = \"16MiB\"\n").expect("written");
    assert_eq!(put(&server, 1).await, "canary");
    assert_eq!(requests(&server).await, 0);
}

/// As that of the version that serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_changes_during_a_canary_is_applied() {
    let site = Site::new(RULES);
    let server = site.serve().await;
    site.drop_in("stamp.wasm", &stamped(1));
    server.wait_for_state("stamp", "canary").await;
    for _ in 0..10 {
        assert_eq!(server.infer("p", "", "").await.status, 200);
    }
    assert_eq!(requests(&server).await, 10);
    site.drop_in("stamp.toml", b"max_memory = \"16MiB\"\n");
    until("the canary begins again", async || requests(&server).await == 0).await;
    assert_eq!(versions(&server, "canary").await.len(), 1);
}

/// A pipeline that is unloaded needs its plugins, and the canary of a candidate begins when it is loaded.
#[tokio::test(flavor = "multi_thread")]
async fn the_plugins_of_an_unloaded_pipeline_stay() {
    let site = site("");
    let text = fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, text.replace("[pipelines.p]\n", &format!("[pipelines.p]\n{RULES}\n")))
        .expect("written");
    let served = Wrapped::start(&["env"], &site);
    let change = async |what: &str| {
        let (status, text) = served.send("POST", &format!("/v2/repository/models/p/{what}"), Vec::new()).await;
        assert_eq!(status, 200, "{text}");
    };
    change("unload").await;
    let (status, text) = served.send("DELETE", "/v1/plugins/stamp", Vec::new()).await;
    assert!(status == 409 && text.contains("is needed by"), "{status} {text}");
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp", stamped(1)).await;
    assert_eq!((status, &reply["state"]), (200, &"canary".into()), "{reply}");
    served.wait_for_scan(&site, "one").await;
    served.wait_for_scan(&site, "two").await;
    let canaries = "plimsoll_deployments_total{plugin=\"stamp\",result=\"canary\"}";
    assert_eq!(served.metric(canaries).await, 1, "it is not deployed again at every scan: {}", served.log());
    change("load").await;
    assert_eq!(served.states("stamp").await, ["canary", "serving"]);
    until("a reply of the canary", async || served.reply().await == stamped_reply(1)).await;
}

/// A candidate of which there is no copy on disk is still undecided.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_does_not_promote_a_candidate_without_a_copy() {
    let site = site("");
    let text = fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, text.replace("[pipelines.p]\n", &format!("[pipelines.p]\n{RULES}\n")))
        .expect("written");
    let served = Wrapped::start(&["env"], &site);
    // No copy can be written to a file.
    let components = site.folder.path().join(".plimsoll/components");
    fs::rename(&components, site.folder.path().join("moved")).expect("renamed");
    fs::write(&components, "in the way").expect("written");
    site.drop_in("stamp.wasm", &stamped(1));
    until("the canary", async || served.states("stamp").await == ["canary", "serving"]).await;
    for count in 1..=2 {
        send_signal(served.pid().parse().expect("a number"), "-HUP");
        served.wait_for_metric("plimsoll_config_reloads_total{result=\"served\"}", count).await;
        assert_eq!(served.states("stamp").await, ["canary", "serving"], "{}", served.log());
    }
}
