//! A deployment that cannot be tried because the host is full is not the plugin's fault.

use std::sync::Arc;

use plimsoll_runtime::scheduling::EXTRA_RUNS;
use plimsoll_runtime::stage::{Request, RunLog};
use plimsoll_tests::{Server, Site, another_version, guest, guests_config, shared_cache};
use tokio::task::JoinSet;

use crate::wrapped::{Wrapped, can_run, site, until};

/// Fills the instance pool with runs that sleep, until the set is dropped.
async fn fill_pool(server: &Server) -> JoinSet<()> {
    let mut runs = JoinSet::new();
    // A request, a deployment, the shadow runs, and the further runs of requests with steps.
    let slots = 2 + server.app.server.max_shadow_runs + EXTRA_RUNS;
    for _ in 0..slots {
        let app = Arc::clone(&server.app);
        runs.spawn(async move {
            let pipeline = app.pipeline("p").expect("served");
            let infer = pipeline.chip("echo").expect("a chip");
            let parameters = [("do", "sleep"), ("ms", "600000")].map(|(name, value)| (name.into(), value.into()));
            let request = Request { id: "full".into(), content_type: None, parameters: parameters.to_vec() };
            let mut log = RunLog::new(std::time::Duration::from_secs(600));
            let _ = pipeline.run(infer, &mut log, &request, b"").await.map_err(|failed| failed.error.to_string());
        });
    }
    until("a full pool", async || {
        server.app.runtime.pool_usage().expect("a pool").component_instances == u64::from(slots)
    })
    .await;
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_finds_no_free_instance_is_not_rejected() {
    let folder = plimsoll_tests::TempDir::new().expect("a folder");
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).expect("made");
    let guests = guests_config("tester", "deadline = \"10m\"")
        .replace("[pipelines.p.preprocess]", "[pipelines.p]\ndeadline = \"10m\"\n[pipelines.p.preprocess]");
    let declared = format!("[plugins.tester]\nfile = {:?}\n", guest("tester"));
    assert!(guests.contains(&declared), "{guests}");
    let component = std::fs::read(guest("tester")).expect("built");
    std::fs::write(plugins.join("tester.wasm"), &component).expect("written");
    let head = format!("plugin_dir = {plugins:?}\n[deploy]\npoll = \"20ms\"\n[server]\nmax_concurrency = 1\n");
    let server = Server::start(&format!("{head}{}", guests.replace(&declared, ""))).await;

    let full = fill_pool(&server).await;
    let put = server.send("PUT", "/v1/plugins/tester?version=1", &[], another_version(&component, 1)).await;
    assert_eq!((put.status, put.code().as_str()), (503, "overloaded"), "{}", put.text);
    assert!(put.headers.contains_key("retry-after") && put.text.contains("no instance is free"), "{}", put.text);
    let shown = server.get("/v1/plugins/tester").await.json();
    let states: Vec<_> = shown["versions"].as_array().expect("a list").iter().map(|it| &it["state"]).collect();
    assert_eq!(states, ["serving"], "it leaves no trace: {shown}");
    let metrics = server.get("/metrics").await.text;
    assert!(!metrics.contains("result=\"refused\""), "{metrics}");
    // A file is tried again.
    std::fs::write(plugins.join("tester@2.wasm"), another_version(&component, 2)).expect("written");
    until("a failed scan", async || {
        let metrics = server.get("/metrics").await.text;
        metrics.contains("plimsoll_unreadable_files 1\n")
    })
    .await;
    drop(full);
    until("the file", async || server.get("/v1/plugins/tester").await.json()["version"] == "2").await;
    let put = server.send("PUT", "/v1/plugins/tester?version=3", &[], another_version(&component, 3)).await;
    assert_eq!(put.json()["state"], "serving", "{}", put.text);
}

/// A server whose limit of the address space (`ulimit -v`) leaves room for the process itself and a few instances. `None`
/// if that is not possible.
fn with_little_memory() -> Option<(Site, Arc<Wrapped>)> {
    let limited = ["prlimit", "--as=22000000000"];
    if !can_run(&limited) {
        return None;
    }
    let site = site("");
    let plugins = site.folder.path().join("plugins");
    let component = std::fs::read(guest("tester")).expect("built");
    std::fs::write(plugins.join("tester.wasm"), &component).expect("written");
    let declared = format!("[plugins.tester]\nfile = {:?}\n", guest("tester"));
    let canary = "[pipelines.p]\ncanary = { share = \"50%\", requests = 10000 }\n[pipelines.p.preprocess]";
    let guests = guests_config("tester", "").replace(&declared, "").replace("[pipelines.p.preprocess]", canary);
    let text = format!(
        "cache_dir = {:?}\n[admin]\ntoken_file = \"token\"\n[deploy]\npoll = \"20ms\"\n{guests}",
        shared_cache()
    );
    plimsoll_tests::replace_file(&site.config, text).expect("written");
    let served = Arc::new(Wrapped::start(&limited, &site));
    assert!(served.log().contains("instances are allocated on demand"), "{}", served.log());
    Some((site, served))
}

/// A canary of which most of the requests find no memory is not judged by them.
#[tokio::test(flavor = "multi_thread")]
async fn requests_without_memory_are_refused_and_do_not_count_for_a_canary() {
    let Some((_site, served)) = with_little_memory() else { return };
    let component = std::fs::read(guest("tester")).expect("built");
    let (status, put) = served.json("PUT", "/v1/plugins/tester?version=2", another_version(&component, 2)).await;
    assert_eq!((status, &put["state"]), (200, &"canary".into()), "{put}");
    let mut requests = JoinSet::new();
    for _ in 0..64 {
        let served = Arc::clone(&served);
        requests.spawn(async move { served.send("POST", "/v1/pipelines/p/infer?do=sleep&ms=300", Vec::new()).await });
    }
    let mut counts = [0_u64; 2];
    while let Some(reply) = requests.join_next().await {
        let (status, text) = reply.expect("no panic");
        match status {
            200 => counts[0] += 1,
            503 => {
                assert!(text.contains("the host has no memory for an instance; try again"), "{text}");
                assert!(text.contains("`ulimit -v`") && text.contains("4 GiB"), "the message names the cause: {text}");
                counts[1] += 1;
            }
            _ => panic!("{status}: {text}"),
        }
    }
    assert!(counts[0] > 0 && counts[1] > 0, "answered and refused: {counts:?}");
    let (_, view) = served.json("GET", "/v1/plugins/tester", Vec::new()).await;
    let canary = &view["canary"][0];
    assert_eq!((&canary["new"]["failures"], &canary["old"]["failures"]), (&0.into(), &0.into()), "{view}");
    let judged = ["new", "old"].map(|side| canary[side]["requests"].as_u64().expect("a number")).iter().sum::<u64>();
    assert_eq!(judged, counts[0], "only requests that ran count: {view}");
    assert_eq!(served.send("POST", "/v1/pipelines/p/infer", Vec::new()).await.0, 200);
}

/// A configuration that cannot be tried now is not rejected.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_finds_no_memory_for_its_sample_is_served_later() {
    let Some((site, served)) = with_little_memory() else { return };
    let mut requests = JoinSet::new();
    for _ in 0..16 {
        let served = Arc::clone(&served);
        requests
            .spawn(async move { served.send("POST", "/v1/pipelines/p/infer?do=sleep&ms=9000", Vec::new()).await.0 });
    }
    // Those that find no memory are answered at once.
    while requests.len() > 8 {
        assert_eq!(requests.join_next().await.expect("a reply").expect("no panic"), 503);
    }
    let text = std::fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, text.replace("[pipelines.p]\n", "[pipelines.p]\ndeadline = \"29s\"\n"))
        .expect("written");
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    served.wait_for_failed_scans(2).await;
    let tried = served.log();
    assert_eq!(tried.matches("the sample of pipeline `p` failed").count(), 1, "reported once: {tried}");
    assert!(tried.contains("it is tried again") && tried.contains("ulimit -v"), "{tried}");
    assert_eq!(served.metric("plimsoll_config_reloads_total{result=\"refused\"}").await, 0);
    until("the configuration", async || {
        served.json("GET", "/v1/pipelines", Vec::new()).await.1["pipelines"][0]["deadline_seconds"] == 29.0
    })
    .await;
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
}
