//! `lifecycle.init`: run once at deployment, snapshotted, refused when it fails.

use std::time::Instant;

use plimsoll_tests::{Server, TempDir, guests_config};

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_fails_is_refused_with_its_reason() {
    for (plugin, words) in [
        ("init-fails", vec!["`init` failed", "the weights are missing"]),
        ("init-panics", vec!["`init` failed", "trap"]),
    ] {
        let message = Server::refused(&guests_config(plugin, "")).await;
        assert!(message.starts_with("test.toml: pipelines.p.preprocess.plugin: "), "{message}");
        for word in words {
            assert!(message.contains(word), "{word:?} is missing in {message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_does_not_end_is_refused_at_its_deadline() {
    let config = guests_config("init-loops", "")
        .replace("[plugins.init-loops]\n", "[plugins.init-loops]\ninit_deadline = \"300ms\"\n");
    let message = Server::refused(&config).await;
    assert!(message.contains("pipelines.p.preprocess.plugin") && message.contains("deadline"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_init_begins_when_the_plugin_is_compiled() {
    // In a cache of its own: it is compiled for longer than `init` may take, which fills 16 MiB in many ticks of the epoch.
    let cache = TempDir::new().expect("a folder");
    let config = guests_config("init-big", "")
        .replace("[plugins.init-big]\n", "[plugins.init-big]\ninit_deadline = \"200ms\"\n");
    let started = Instant::now();
    Server::start(&format!("cache_dir = {:?}\n{config}", cache.path())).await;
    println!("ready after {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_that_cannot_grow_has_no_snapshot_and_is_served() {
    // In a cache of its own, which does not know yet that there is no snapshot.
    let cache = TempDir::new().expect("a folder");
    let server = Server::start(&format!("cache_dir = {:?}\n{}", cache.path(), guests_config("init-full", ""))).await;
    for _ in 0..2 {
        let reply = server.infer("p", "", "").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.high_water("preprocess"), 2 << 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_instance_starts_from_what_init_left() {
    // It checks a 16 MiB static that `init` filled, and `init` printed: handles must not be in the snapshot.
    let server = Server::start(&guests_config("init-prints", "")).await;
    for _ in 0..5 {
        let reply = server.infer("p", "", "").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.high_water("preprocess") >= 16 << 20);
    }
    // Because of those handles there is no snapshot, and `init` ran in every instance, after `initial`.
    let row = server.memory_row("preprocess", "ok").await.expect("a row");
    assert!(row["initial"].as_u64().expect("bytes") < 16 << 20, "{row}");
    assert!(row["grown_max"].as_u64().expect("bytes") >= 16 << 20, "{row}");

    let server = Server::start(&guests_config("init-big", "")).await;
    assert_eq!(server.infer("p", "", "").await.status, 200);
    let row = server.memory_row("preprocess", "ok").await.expect("a row");
    assert!(row["initial"].as_u64().expect("bytes") >= 16 << 20, "the snapshot is there from the start: {row}");
    assert_eq!(row["grown_max"], 0, "{row}");
}
