//! A rollback that must build its version again after a restart does not block other changes.

use std::sync::Arc;

use plimsoll::base::bundled;
use plimsoll::config::Config;
use plimsoll_tests::{Server, Site, guest, guests_config, shared_cache};

/// Serves the plugin `front` of a site, with this cache of compiled code.
async fn serve(site: &Site, cache: std::path::PathBuf) -> Server {
    let mut config = Config::load(Some(&site.config)).expect("valid");
    config.data_dir = Some(site.folder.path().join(".plimsoll"));
    config.cache_dir = Some(cache);
    Server::with_config(&config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_compiles_does_not_block_other_changes() {
    let site = Site::new("");
    let guests = guests_config("front", "config = { width = 8, height = 8, channels = \"gray\", scale = 0.01 }");
    let declared = format!("[plugins.front]\nfile = {:?}\n", guest("front"));
    assert!(guests.contains(&declared), "{guests}");
    std::fs::write(&site.config, guests.replace(&declared, "")).expect("written");
    site.drop_in("front.wasm", &std::fs::read(guest("noop-preprocess")).expect("built"));
    let server = serve(&site, shared_cache()).await;
    // A large component, which takes seconds to compile, serves for a while.
    let large = bundled::plugin("image-preprocess").expect("bundled").to_vec();
    let put = server.send("PUT", "/v1/plugins/front?version=2", &[], large).await;
    assert_eq!(put.json()["state"], "serving", "{}", put.text);
    let back = server.send("POST", "/v1/plugins/front/rollback", &[], Vec::new()).await;
    assert_eq!(back.status, 200, "{}", back.text);
    server.stop().await;

    // After the restart its stages are gone, and so is its compiled code.
    let server = Arc::new(serve(&site, site.folder.path().join("empty-cache")).await);
    for name in ["one", "two"] {
        let component = std::fs::read(guest("noop-postprocess")).expect("built");
        let put = server.send("PUT", &format!("/v1/plugins/{name}"), &[], component).await;
        assert_eq!(put.json()["state"], "unused", "{}", put.text);
    }
    let rollback = tokio::spawn({
        let server = Arc::clone(&server);
        async move { server.send("POST", "/v1/plugins/front/rollback", &[], Vec::new()).await }
    });
    // The rollback is requested first, so it would have the lock.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    for name in ["one", "two"] {
        let started = std::time::Instant::now();
        let gone = server.send("DELETE", &format!("/v1/plugins/{name}"), &[], Vec::new()).await;
        assert_eq!(gone.status, 200, "{}", gone.text);
        println!("a change beside a rollback that compiles took {:?}", started.elapsed());
    }
    assert!(!rollback.is_finished(), "the rollback compiled nothing, so this test proves nothing");
    let back = rollback.await.expect("no panic");
    assert_eq!((back.status, &back.json()["version"]), (200, &"2".into()), "{}", back.text);
}
