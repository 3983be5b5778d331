//! A host without file descriptors says so. This is not the plugin's fault.

use std::process::Command;

use plimsoll_tests::{stamped, stamped_reply};

use crate::lost_copies::refusal;
use crate::wrapped::{Wrapped, can_run, site, until};

/// Sets the soft limit of open files of a running process.
fn limit(served: &Wrapped, limit: &str) {
    let status = Command::new("prlimit").args(["--pid", &served.pid(), limit]).status().expect("it starts");
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_cannot_be_built_for_lack_of_descriptors_is_not_rejected() {
    if !can_run(&["prlimit", "--nofile=100:1000"]) {
        return;
    }
    let site = site("");
    let served = Wrapped::start(&["prlimit", "--nofile=1000:1000"], &site);
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!((status, &reply["state"]), (200, &"serving".into()), "{reply}");
    // Connections that are open keep working. No file can be opened, and no initial memory of an instance be made.
    limit(&served, "--nofile=4:1000");
    for plugin in ["stamp", "new"] {
        let path = format!("/v1/plugins/{plugin}?version=2");
        let (status, reply) = served.json("PUT", &path, stamped(2)).await;
        if plugin == "stamp" {
            assert_eq!((status, &reply["code"]), (503, &"overloaded".into()), "{reply}");
            let detail = reply["detail"].as_str().expect("text");
            assert!(detail.contains("file descriptors (`ulimit -n`)") && detail.contains("try again"), "{detail}");
            assert!(!detail.contains("the plugin crashed"), "{detail}");
        } else {
            // A plugin that no pipeline uses is only compiled and checked, which opens no file.
            assert_eq!((status, &reply["state"]), (200, &"unused".into()), "{reply}");
        }
    }
    assert_eq!(served.reply().await, stamped_reply(1), "the old version still serves");
    assert_eq!(served.states("stamp").await, ["serving", "previous"], "the release leaves no trace");
    assert_eq!(served.metric("plimsoll_deployments_total{plugin=\"stamp\",result=\"refused\"}").await, 0);
    limit(&served, "--nofile=1000:1000");
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=2", stamped(2)).await;
    assert_eq!((status, &reply["state"]), (200, &"serving".into()), "{reply}");
    assert_eq!(served.reply().await, stamped_reply(2));
}

/// A canary is not rolled back because of it, and a file is tried again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn requests_and_files_outlive_a_lack_of_descriptors() {
    if !can_run(&["prlimit", "--nofile=100:1000"]) {
        return;
    }
    let site = site("");
    let text = std::fs::read_to_string(&site.config).expect("text");
    let canary = "[pipelines.p.canary]\nshare = \"50%\"\nrequests = 1000\n[pipelines.p.preprocess]";
    plimsoll_tests::replace_file(&site.config, text.replacen("[pipelines.p.preprocess]", canary, 1)).expect("written");
    let served = Wrapped::start(&["prlimit", "--nofile=1000:1000"], &site);
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!((status, &reply["state"]), (200, &"canary".into()), "{reply}");
    limit(&served, "--nofile=4:1000");
    site.drop_in("late.wasm", &stamped(7));
    served.wait_for_failed_scans(3).await;
    let mut marks = [0, 0];
    for _ in 0..40 {
        let reply = served.reply().await;
        let mark = [stamped_reply(0), stamped_reply(1)].iter().position(|wanted| *wanted == reply);
        marks[mark.unwrap_or_else(|| panic!("{reply}"))] += 1;
    }
    assert!(marks.iter().all(|count| *count > 0), "both versions answer: {marks:?}");
    assert_eq!(served.states("stamp").await, ["canary", "serving"]);
    limit(&served, "--nofile=1000:1000");
    until("the new file", async || served.states("late").await == ["unused"]).await;
    assert_eq!(served.states("stamp").await, ["canary", "serving"]);
}

/// The number of open file descriptors of the process.
fn open(served: &Wrapped) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", served.pid())).expect("it runs").count()
}

/// Each version takes descriptors. One that takes the last ones is refused: otherwise nothing could connect any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_would_take_the_last_descriptors_is_refused_and_new_clients_are_served() {
    if !can_run(&["prlimit", "--nofile=100:1000"]) {
        return;
    }
    let site = site("");
    let log = refusal(&["prlimit", "--nofile=24:24"], &site);
    assert!(log.contains("too few file descriptors (`ulimit -n`"), "{log}");
    let served = Wrapped::start(&["prlimit", "--nofile=1000:1000"], &site);
    limit(&served, &format!("--nofile={}:1000", open(&served) + 6));
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!((status, &reply["code"]), (503, &"overloaded".into()), "{reply}");
    let detail = reply["detail"].as_str().expect("text");
    assert!(detail.contains("too few file descriptors (`ulimit -n`") && detail.contains("deploy.keep"), "{detail}");
    site.drop_in("stamp.wasm", &stamped(2));
    served.wait_for_failed_scans(3).await;
    // A client that connects now is served by the old version.
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("http://{}/v1/pipelines/p/infer", served.address());
    let reply = client.post(url).send().await.expect("a reply").text().await.expect("text");
    assert_eq!(reply, stamped_reply(0));
    until("no trace of the releases", async || served.states("stamp").await == ["serving"]).await;
    limit(&served, "--nofile=1000:1000");
    until("the file", async || served.reply().await == stamped_reply(2)).await;
    let (status, reply) = served.json("PUT", "/v1/plugins/stamp?version=1", stamped(1)).await;
    assert_eq!((status, &reply["durable"]), (200, &true.into()), "{reply}");
}
