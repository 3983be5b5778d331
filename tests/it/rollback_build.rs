//! A rollback that must build its version again after a restart does not block other changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use plimsoll::base::bundled;
use plimsoll::config::Config;
use plimsoll_tests::{Server, Site, guest, guests_config, shared_cache, stamped, stamped_reply};

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
    plimsoll_tests::replace_file(&site.config, guests.replace(&declared, "")).expect("written");
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

/// A rollback beside a reload: what the reload has read is not replaced by what was read before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_during_a_reload_keeps_the_files_of_the_reload() {
    let site = Site::new("");
    let asset = site.folder.path().join("labels.txt");
    std::fs::write(&asset, "one").expect("written");
    let text = std::fs::read_to_string(&site.config).expect("text");
    let stage = "[pipelines.p.preprocess]\n";
    assert!(text.contains(stage), "{text}");
    let with_asset = format!("{stage}assets = {{ \"labels.txt\" = {asset:?} }}\n");
    plimsoll_tests::replace_file(&site.config, text.replace(stage, &with_asset)).expect("written");
    let server = site.serve().await;
    let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await;
    assert_eq!(put.json()["state"], "serving", "{}", put.text);
    let version = async || server.get("/v2/models/p").await.json()["versions"][0].clone();
    let before = version().await;

    let config = || {
        let mut config = Config::load(Some(&site.config)).expect("valid");
        config.data_dir = Some(site.folder.path().join(".plimsoll"));
        config
    };
    let reload = async |config: Config| {
        let deployments = Arc::clone(&server.app.deployments);
        deployments.change(async move |serving, deployer| deployer.reload(serving, config).await).await.expect("valid");
    };
    let (deployments, during) = (Arc::clone(&server.app.deployments), config());
    let (is_first, file) = (AtomicBool::new(true), asset.clone());
    let rollback = Arc::clone(&deployments).rehearsed_change(
        async move |serving, deployer| {
            deployer.rehearse_rollback(serving, "stamp", None).await;
            if is_first.swap(false, Relaxed) {
                std::fs::write(&file, "two").expect("written");
                let (deployments, config) = (Arc::clone(&deployments), during.clone());
                let reload = deployments.change(async move |serving, deployer| deployer.reload(serving, config).await);
                reload.await.expect("valid");
            }
        },
        async |serving, deployer| deployer.rollback(serving, "stamp", None, "test").await.map(drop),
    );
    rollback.await.expect("rolled back");
    let after = version().await;
    assert_ne!(after, before);
    // The files are those of the present configuration: another reload changes nothing.
    reload(config()).await;
    assert_eq!(version().await, after);
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));
}
