//! A rollback, and every other change that compiles nothing, does not wait for a deployment that pulls or compiles.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_tests::{Server, Site, another_version, guest, stamped, stamped_reply};
use tokio::net::TcpListener;

/// How long `init` of the slow release runs. A change that waits for it comes after it.
const SLOW: Duration = Duration::from_secs(8);

/// A site whose plugin `stamp` may run `init` for [`SLOW`], and a server with the marks 0 and 1.
async fn served() -> (Site, Arc<Server>) {
    let site = Site::new("");
    let text = std::fs::read_to_string(&site.config).expect("text");
    let slow = format!("[plugins.stamp]\ninit_deadline = \"{}s\"\n[pipelines.p]", SLOW.as_secs());
    plimsoll_tests::replace_file(&site.config, text.replace("[pipelines.p]", &slow)).expect("written");
    let server = site.serve().await;
    let put = server.send("PUT", "/v1/plugins/stamp?version=1", &[], stamped(1)).await;
    assert_eq!(put.status, 200, "{}", put.text);
    (site, Arc::new(server))
}

async fn roll_back(server: &Server, mark: u32) {
    let back = server.send("POST", "/v1/plugins/stamp/rollback", &[], Vec::new()).await;
    assert_eq!(back.status, 200, "{}", back.text);
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(mark));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_compile_nothing_do_not_wait_for_a_release_that_is_being_compiled() {
    let (_site, server) = served().await;
    let unused = server.send("PUT", "/v1/plugins/other", &[], stamped(5)).await;
    assert_eq!(unused.json()["state"], "unused", "{}", unused.text);
    let slow = tokio::spawn({
        let server = Arc::clone(&server);
        let bytes = std::fs::read(guest("init-loops")).expect("built");
        async move { server.send("PUT", "/v1/plugins/stamp?version=2", &[], bytes).await }
    });
    let compiling = server.wait_for_state("stamp", "compiling").await;
    assert_eq!(compiling["version"], "2", "{compiling}");
    let started = Instant::now();
    roll_back(&server, 0).await;
    let took = started.elapsed();
    assert_eq!(server.send("DELETE", "/v1/plugins/other", &[], Vec::new()).await.status, 200);
    assert!(!slow.is_finished(), "the release was not compiled for so long, so this test proves nothing");
    println!("a rollback beside a release that is compiled took {took:?}");
    let slow = slow.await.expect("no panic");
    assert_eq!((slow.status, slow.code().as_str()), (422, "plugin_refused"), "{}", slow.text);
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));
    let shown = server.get("/v1/plugins/stamp").await.json();
    let states: Vec<_> = shown["versions"].as_array().expect("a list").iter().map(|it| &it["state"]).collect();
    assert_eq!(states, ["serving", "previous", "refused"], "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_does_not_wait_for_a_silent_registry() {
    let (site, server) = served().await;
    let registry = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = registry.local_addr().expect("bound");
    let text = std::fs::read_to_string(&site.config).expect("text");
    let noop = format!("file = {:?}", guest("noop-infer"));
    assert!(text.contains(&noop), "{text}");
    plimsoll_tests::replace_file(&site.config, text.replace(&noop, &format!("file = \"oci://{address}/noop:1\"")))
        .expect("written");
    // The registry accepts the connection and sends nothing.
    let connection = tokio::time::timeout(Duration::from_secs(60), registry.accept()).await.expect("a reload pulls");
    let connection = connection.expect("a connection");
    let started = Instant::now();
    roll_back(&server, 0).await;
    println!("a rollback beside a silent registry took {:?}", started.elapsed());
    let metrics = server.get("/metrics").await.text;
    assert!(!metrics.contains("plimsoll_config_reloads_total{result"), "the reload has ended: {metrics}");
    drop((connection, registry));
}

/// The versions on which a deployment is based may change before it is complete. Then both changes take effect.
#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_and_a_rollback_at_the_same_time_both_take_effect() {
    let site = Site::new("");
    let text = std::fs::read_to_string(&site.config).expect("text");
    let (_, rest) = text.split_once('\n').expect("lines");
    // An empty cache, so that the deployment compiles, and a plugin that may be replaced.
    let rest = rest.replace(&format!("[plugins.noop-infer]\nfile = {:?}\n", guest("noop-infer")), "");
    plimsoll_tests::replace_file(&site.config, format!("cache_dir = \"cache\"\n{rest}")).expect("written");
    let noop = std::fs::read(guest("noop-infer")).expect("built");
    site.drop_in("noop-infer.wasm", &noop);
    let server = Arc::new(site.serve().await);
    for round in 1..=5_u8 {
        let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(u32::from(round))).await;
        assert_eq!(put.status, 200, "{}", put.text);
        let deploy = tokio::spawn({
            let (server, bytes) = (Arc::clone(&server), another_version(&noop, round));
            async move { server.send("PUT", &format!("/v1/plugins/noop-infer?version={round}"), &[], bytes).await }
        });
        roll_back(&server, u32::from(round) - 1).await;
        let deploy = deploy.await.expect("no panic");
        assert_eq!((deploy.status, &deploy.json()["state"]), (200, &"serving".into()), "{}", deploy.text);
        let reply = server.infer("p", "", "").await;
        assert_eq!(reply.text, stamped_reply(u32::from(round) - 1));
        let plugins = reply.headers["x-plimsoll-plugins"].to_str().expect("text");
        assert!(plugins.contains(&format!("infer=noop-infer@{round}+")), "{plugins}");
        // Switches to the newer version again, so that the next round rolls back to this round's version.
        roll_back(&server, u32::from(round)).await;
    }
}
