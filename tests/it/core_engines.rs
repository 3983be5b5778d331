//! A stage that has run often gets a copy of its code for each core, in an engine of that core. All promises hold there, too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::config::Config;
use plimsoll_runtime::engine::PoolUsage;
use plimsoll_runtime::engine::cores::SLOTS;
use plimsoll_tests::{Reply, Server, Site, data, guests_config, stamped, stamped_reply};
use tokio::task::JoinSet;

use crate::wrapped::until;

/// Makes the copies of all stages of a pipeline. Returns false on a machine with one core, where there are none.
async fn copied(server: &Server, pipeline: &str) -> bool {
    let cores = server.app.runtime.cores.count();
    let pipeline = server.app.pipeline(pipeline).expect("served");
    let infer = pipeline.chips.values().map(|infer| infer.core());
    for stage in [pipeline.preprocess.core(), pipeline.postprocess.core()].into_iter().chain(infer) {
        until("copies", async || {
            assert_eq!(stage.code().no_copies(), None);
            stage.code().copy_now() == cores
        })
        .await;
    }
    cores > 0
}

/// How many instances are live in all pools, and in that of the engine that all cores share.
fn live(server: &Server) -> [u64; 2] {
    let runtime = &server.app.runtime;
    let common = runtime.engine.pooling_allocator_metrics().expect("a pool");
    [
        runtime
            .pool_usage()
            .as_ref()
            .map(|PoolUsage { component_instances, .. }| *component_instances)
            .expect("a pool"),
        common.component_instances(),
    ]
}

/// Sends requests that wait for `ms` milliseconds each, at once, and waits until all have their instances.
async fn sleeping(server: &Arc<Server>, count: u64, ms: u64) -> JoinSet<Reply> {
    let mut requests = JoinSet::new();
    for _ in 0..count {
        let server = Arc::clone(server);
        requests.spawn(async move { server.infer("p", &format!("?do=sleep&ms={ms}"), "x").await });
    }
    until("the instances", async || live(server)[0] == count).await;
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_in_the_engines_of_the_cores() {
    let server = Arc::new(Server::start(&guests_config("tester", "max_memory = \"64MiB\"\ndeadline = \"4s\"")).await);
    let has_cores = copied(&server, "p").await;
    let mut waiting = sleeping(&server, 1, 3_000).await;
    assert_eq!(live(&server), [1, u64::from(!has_cores)], "the run is in the engine of a core");
    assert_eq!(waiting.join_next().await.expect("one").expect("no panic").status, 200);
    for (query, status, code) in [
        ("?do=loop", 504, "deadline"),
        ("?do=sleep&ms=60000", 504, "deadline"),
        ("?do=grow", 413, "memory_limit"),
        ("?do=recurse", 500, "trap"),
        ("?do=panic", 500, "trap"),
        ("?do=authority", 200, "ok"),
        ("?do=ok", 200, "ok"),
    ] {
        let started = Instant::now();
        let reply = server.infer("p", query, "x").await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{query}: {}", reply.text);
        // Not a measurement: a deadline that is not enforced would take minutes.
        assert!(started.elapsed() < Duration::from_secs(30), "{query}: {:?}", started.elapsed());
    }
    until("the end of all instances", async || live(&server) == [0, 0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_give_the_same_replies() {
    let server = Server::with_config(&Config::load(None).expect("the demo")).await;
    let replies = async || {
        let mut replies = Vec::new();
        for digit in 0..10 {
            let kind = if [3, 7].contains(&digit) { "jpg" } else { "png" };
            let image = std::fs::read(data(&format!("digits/{digit}.{kind}"))).expect("a digit");
            for chip in ["native", "wasm"] {
                let reply = server.infer("digits", &format!("?chip={chip}"), image.clone()).await;
                assert_eq!((reply.status, reply.headers["x-plimsoll-chip"].to_str().expect("text")), (200, chip));
                replies.push(reply.text);
            }
        }
        replies
    };
    let common = replies().await;
    copied(&server, "digits").await;
    assert_eq!(replies().await, common);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_run_finds_what_another_wrote() {
    let server = Arc::new(Server::start(&guests_config("tester", "")).await);
    copied(&server, "p").await;
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let server = Arc::clone(&server);
        clients.spawn(async move {
            // A slot there keeps up to 6 MiB.
            for bytes in [0, 1 << 20, 3 << 20, 5 << 20, 9 << 20] {
                for command in ["fill", "search", "search"] {
                    let reply = server.infer("p", &format!("?do={command}&bytes={bytes}"), "x").await;
                    assert_eq!(reply.status, 200, "{command} {bytes}: {}", reply.text);
                }
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_without_a_place_use_the_common_engine() {
    let config = format!("[server]\nmax_concurrency = 400\n{}", guests_config("tester", "deadline = \"60s\""));
    let server = Arc::new(Server::start(&config).await);
    if !copied(&server, "p").await {
        return;
    }
    let more = 20;
    let places = u64::from(SLOTS) * server.app.runtime.cores.count() as u64;
    let mut waiting = sleeping(&server, places + more, 5_000).await;
    let [all, common] = live(&server);
    assert!(all == places + more && (more..all).contains(&common), "{common} of {all}");
    while let Some(reply) = waiting.join_next().await {
        let reply = reply.expect("no panic");
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    until("the end of all instances", async || live(&server) == [0, 0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_and_a_rollback_replace_the_copies_at_once() {
    let site = Site::new("");
    let server = site.serve().await;
    let replies = async |mark| {
        for _ in 0..50 {
            assert_eq!(server.infer("p", "", "").await.text, stamped_reply(mark));
        }
    };
    for mark in 1..=3 {
        let put = server.send("PUT", &format!("/v1/plugins/stamp?version=1.0.{mark}"), &[], stamped(mark)).await;
        assert_eq!((put.status, &put.json()["state"]), (200, &"serving".into()), "{}", put.text);
        replies(mark).await;
        copied(&server, "p").await;
        replies(mark).await;
    }
    for back in [2, 3] {
        let reply = server.send("POST", &format!("/v1/plugins/stamp/rollback?to=1.0.{back}"), &[], Vec::new()).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        replies(back).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_runs_often_is_copied_without_being_asked() {
    let server = Arc::new(Server::start(&guests_config("tester", "")).await);
    let (app, cores) = (Arc::clone(&server.app), server.app.runtime.cores.count());
    if cores == 0 {
        return;
    }
    // 256 runs within a second, also on a busy machine: in process, and as often as it takes.
    until("an instance in the engine of a core", async || {
        let pipeline = app.pipeline("p").expect("served");
        for _ in 0..300 {
            pipeline.preprocess.core().instantiate_only().await.expect("an instance");
        }
        pipeline.preprocess.core().code().copies() == cores
    })
    .await;
    let _waiting = sleeping(&server, 1, 5_000).await;
    assert_eq!(live(&server), [1, 0], "the run is in the engine of a core");
}

/// False where slots of the cores keep less than 6 MiB: on one core, or with little memory for the number of cores.
fn keeps_most(server: &Server) -> bool {
    let keeps_most = server.app.runtime.cores.count() > 0 && server.app.runtime.cores.kept() == 6 << 20;
    if !keeps_most {
        eprintln!("SKIPPED: slots of the cores keep less than 6 MiB on this machine");
    }
    keeps_most
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_whose_memory_rises_high_is_copied_after_few_runs() {
    let server = Arc::new(Server::start(&guests_config("tester", "")).await);
    if !keeps_most(&server) {
        return;
    }
    let cores = server.app.runtime.cores.count();
    let pipeline = server.app.pipeline("p").expect("served");
    let stage = pipeline.preprocess.core();
    // At most 25 runs in a second, which are few. On a busy machine as often as it takes.
    let five = async |query: &str| {
        for _ in 0..5 {
            let reply = server.infer("p", query, "x").await;
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        stage.code().copies()
    };
    for _ in 0..10 {
        assert_eq!(five("?do=ok").await, 0);
    }
    until("copies", async || five("?do=fill&bytes=8000000").await == cores).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_that_begin_with_much_memory_are_copied_only_if_it_is_zeros_that_a_slot_keeps() {
    for (config, refusal) in [
        ("bytes = 1000000", None),
        ("bytes = 4000000, zeros = 1", None),
        ("bytes = 4000000", Some("it has too much data for its memories")),
        ("bytes = 16000000, zeros = 1", Some("its memory begins with more than a slot keeps")),
    ] {
        let server = Server::start(&guests_config("init-big", &format!("config = {{ {config} }}"))).await;
        if !keeps_most(&server) {
            return;
        }
        let cores = server.app.runtime.cores.count();
        let code = server.app.pipeline("p").expect("served").preprocess.core().code();
        until("copies or a refusal", async || code.copy_now() == cores || code.no_copies().is_some()).await;
        assert_eq!((code.no_copies(), code.copies() == cores), (refusal, refusal.is_none()), "{config}");
        assert_eq!(server.infer("p", "", "x").await.status, 200);
    }
}
