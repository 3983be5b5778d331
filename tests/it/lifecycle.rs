//! `lifecycle.init`: it runs once at deployment and its result is snapshotted. A plugin whose `init` fails is rejected.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use plimsoll_tests::{Server, TempDir, guests_config};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_whose_init_fails_is_rejected_with_the_reason() {
    for (plugin, words) in [
        ("init-fails", vec!["`init` failed", "the weights are missing"]),
        ("init-panics", vec!["`init` failed", "trap"]),
    ] {
        let message = Server::rejection(&guests_config(plugin, "")).await;
        assert!(message.starts_with("test.toml: pipelines.p.preprocess.plugin: "), "{message}");
        for word in words {
            assert!(message.contains(word), "{word:?} is missing in {message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_whose_init_does_not_end_is_rejected_at_the_deadline_of_init() {
    let config = guests_config("init-loops", "")
        .replace("[plugins.init-loops]\n", "[plugins.init-loops]\ninit_deadline = \"300ms\"\n");
    let message = Server::rejection(&config).await;
    assert!(message.contains("pipelines.p.preprocess.plugin") && message.contains("deadline"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_of_init_starts_after_compilation() {
    // With an empty cache: compiling takes longer than `init` may take. `init` fills 16 MiB, which takes many epoch
    // ticks.
    let config = guests_config("init-big", "")
        .replace("[plugins.init-big]\n", "[plugins.init-big]\ninit_deadline = \"200ms\"\n");
    for tries in 1.. {
        let (cache, started) = (TempDir::new().expect("a folder"), Instant::now());
        let toml = format!("cache_dir = {:?}\n{config}", cache.path());
        let server = AssertUnwindSafe(Server::start(&toml)).catch_unwind().await;
        println!("try {tries}: {:?}", started.elapsed());
        match server {
            Ok(_) => {
                assert!(started.elapsed() > Duration::from_millis(200), "compiling took less than the deadline");
                return;
            }
            // On a busy machine `init` itself may take so long.
            Err(error) => {
                let error = error.downcast_ref::<String>().map_or("", String::as_str);
                assert!(tries < 20 && error.contains("`init`") && error.contains("deadline"), "{error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_whose_memory_cannot_grow_is_served_without_a_snapshot() {
    // With an empty cache, which does not yet record that there is no snapshot.
    let cache = TempDir::new().expect("a folder");
    let server = Server::start(&format!("cache_dir = {:?}\n{}", cache.path(), guests_config("init-full", ""))).await;
    for _ in 0..2 {
        let reply = server.infer("p", "", "").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.high_water("preprocess"), 2 << 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_instance_starts_with_the_state_that_init_left() {
    // The guest checks a 16 MiB static that `init` filled. `init` also prints, which opens handles; a snapshot must not
    // contain handles.
    let server = Server::start(&guests_config("init-prints", "")).await;
    for _ in 0..5 {
        let reply = server.infer("p", "", "").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.high_water("preprocess") >= 16 << 20);
    }
    // Because of these handles there is no snapshot, and `init` ran in every instance after `initial` was measured.
    let row = server.memory_row("preprocess", "ok").await.expect("a row");
    assert!(row["initial"].as_u64().expect("bytes") < 16 << 20, "{row}");
    assert!(row["grown_max"].as_u64().expect("bytes") >= 16 << 20, "{row}");

    let server = Server::start(&guests_config("init-big", "")).await;
    assert_eq!(server.infer("p", "", "").await.status, 200);
    let row = server.memory_row("preprocess", "ok").await.expect("a row");
    assert!(row["initial"].as_u64().expect("bytes") >= 16 << 20, "the initial memory includes the snapshot: {row}");
    assert_eq!(row["grown_max"], 0, "{row}");
}
