//! A deployment that cannot be tried because the host is full is not the plugin's fault.

use std::sync::Arc;

use plimsoll_runtime::stage::{Request, RunLog};
use plimsoll_tests::{Server, another_version, guest, guests_config};
use tokio::task::JoinSet;

use crate::wrapped::until;

/// Fills the instance pool with runs that sleep, until the set is dropped.
async fn fill_pool(server: &Server) -> JoinSet<()> {
    let mut runs = JoinSet::new();
    for _ in 0..2 {
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
    until("a full pool", async || server.app.runtime.pool_usage().expect("a pool").component_instances == 2).await;
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
