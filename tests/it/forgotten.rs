//! The memory, metrics and files of the host do not grow with the number of versions, plugins and files that were added
//! and removed.

use std::collections::BTreeSet;
use std::fs;

use plimsoll_tests::{Server, Site, another_version, guest, journal_state, stamped, stamped_reply};

use crate::wrapped::until;

/// What could grow: the series and their digests in the metrics, the rows of the memory report, the plugins and versions,
/// the journal, and the copies of components.
#[derive(Debug, PartialEq, Eq)]
struct Sizes {
    series: usize,
    digests: usize,
    rows: usize,
    plugins: usize,
    versions: usize,
    handled: usize,
    components: usize,
}

/// The bytes of the metrics and of the state in the journal.
type Bytes = [usize; 2];

async fn sizes(site: &Site, server: &Server) -> (Sizes, Bytes) {
    let metrics = server.get("/metrics").await.text;
    let digests = metrics.lines().filter_map(|line| line.split("digest=\"").nth(1)).map(|rest| &rest[..12]);
    let plugins = server.get("/v1/plugins").await.json();
    let plugins = plugins["plugins"].as_array().expect("a list");
    let data = site.folder.path().join(".plimsoll");
    let state = journal_state(&fs::read(data.join("plugins.json")).expect("a journal"));
    let records = state["plugins"].as_object().expect("a table");
    let sizes = Sizes {
        series: metrics.lines().filter(|line| !line.starts_with('#')).count(),
        digests: digests.collect::<BTreeSet<_>>().len(),
        rows: server.get("/v1/memory").await.json()["stages"].as_array().expect("rows").len(),
        plugins: plugins.len(),
        versions: plugins.iter().map(|plugin| plugin["versions"].as_array().expect("a list").len()).sum(),
        handled: records.values().map(|record| record["seen"].as_object().expect("a table").len()).sum(),
        components: fs::read_dir(data.join("components")).expect("a folder").count(),
    };
    (sizes, [metrics.len(), state.to_string().len()])
}

/// Requests to both sides of a canary, so that both versions have series. The side of each request is random.
async fn send_requests(server: &Server) {
    for _ in 0..20 {
        assert_eq!(server.infer("p", "", "").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_versions_come_and_go_and_leave_nothing() {
    const VERSIONS: u32 = 300;
    let site = Site::new("canary = { share = \"50%\", requests = 1000 }");
    let text = fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, text.replace("[server]", "[deploy]\npoll = \"10ms\"\n[server]"))
        .expect("written");
    let server = site.serve().await;
    let small = fs::read(guest("noop-preprocess")).expect("built");
    let mut before = None;
    for version in 1..=VERSIONS {
        match version % 3 {
            // A canary that is rolled back.
            0 => {
                let path = format!("/v1/plugins/stamp?version=1.0.{version}");
                let put = server.send("PUT", &path, &[], stamped(version)).await;
                assert_eq!(put.json()["state"], "canary", "{}", put.text);
                send_requests(&server).await;
                let back = server.send("POST", "/v1/plugins/stamp/rollback", &[], Vec::new()).await;
                assert_eq!(back.status, 200, "{}", back.text);
            }
            // A file that is deployed and removed, each with its own name.
            1 => {
                let name = format!("plugin-{version}");
                let file = format!("{name}@1.{version}.wasm");
                let mark = u8::try_from(version % 251).expect("small");
                site.drop_in(&file, &another_version(&small, mark));
                server.wait_for_state(&name, "unused").await;
                fs::remove_file(site.plugin(&file)).expect("removed");
                let path = format!("/v1/plugins/{name}");
                until("the removal", async || server.get(&path).await.status == 404).await;
            }
            // A plugin that is rejected, over HTTP and as a file.
            _ => {
                let name = format!("refused-{version}");
                let put = server.send("PUT", &format!("/v1/plugins/{name}"), &[], vec![7; 50]).await;
                assert_eq!(put.status, 422, "{}", put.text);
                let (name, file) = (format!("bad-{version}"), format!("bad-{version}.wasm"));
                site.drop_in(&file, &version.to_le_bytes());
                server.wait_for_state(&name, "refused").await;
                fs::remove_file(site.plugin(&file)).expect("removed");
                let path = format!("/v1/plugins/{name}");
                until("the removal", async || server.get(&path).await.status == 404).await;
            }
        }
        if version == VERSIONS / 4 {
            // The rounds so far fill the lists that have a limit: the latest rejected versions and plugins.
            let filled = sizes(&site, &server).await;
            assert_eq!(filled.0.digests, 2, "`stamp` and `noop-infer`: {filled:?}");
            before = Some(filled);
        }
    }
    let ((before, bytes_before), (after, bytes)) = (before.expect("measured"), sizes(&site, &server).await);
    println!("{after:?}, metrics and journal have {bytes:?} bytes");
    assert_eq!(before, after);
    // Counts and names of more digits take some more bytes.
    for (before, after) in bytes_before.into_iter().zip(bytes) {
        assert!(after < before + before / 20, "{bytes_before:?} -> {bytes:?}");
    }
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));

    // The figures of a canary that was rolled back are still shown.
    let plugin = server.get("/v1/plugins/stamp").await.json();
    let versions = plugin["versions"].as_array().expect("a list");
    let refused: Vec<_> = versions.iter().filter(|version| version["state"] == "refused").collect();
    assert_eq!(refused.len(), 5, "{plugin}");
    assert!(refused.iter().all(|version| version["runs"].as_u64().expect("a count") > 0), "{plugin}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_outlives_its_version_leaves_no_series() {
    let site = Site::new("");
    let text = fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(
        &site.config,
        text.replace("[server]", "[deploy]\npoll = \"10ms\"\nkeep = 0\n[server]"),
    )
    .expect("written");
    let server = std::sync::Arc::new(site.serve().await);
    let old = plimsoll_runtime::identity::digest(&stamped(0))[..12].to_owned();
    let slow = tokio::spawn({
        let server = std::sync::Arc::clone(&server);
        async move { server.infer("p", "?do=sleep&ms=4000", "").await.text }
    });
    until("the request runs", async || {
        server
            .get("/metrics")
            .await
            .text
            .contains("plimsoll_stage_live_instances{pipeline=\"p\",stage=\"preprocess\",plugin=\"stamp\"} 1")
    })
    .await;
    let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await;
    assert_eq!(put.status, 200, "{}", put.text);
    assert_eq!(slow.await.expect("no panic"), stamped_reply(0), "it ends on the version on which it began");
    until("its series are forgotten", async || !server.get("/metrics").await.text.contains(&old)).await;
    let report = server.get("/v1/memory").await.text;
    assert!(!report.contains(&old), "{report}");
}

/// A host that reloads for months has other pipelines again and again.
#[tokio::test(flavor = "multi_thread")]
async fn pipelines_and_chips_that_a_new_configuration_removed_are_forgotten() {
    let site = Site::new("");
    let text = fs::read_to_string(&site.config).expect("text");
    let text = text.replace("[server]", "[deploy]\npoll = \"10ms\"\n[server]");
    plimsoll_tests::replace_file(&site.config, &text).expect("written");
    let server = site.serve().await;
    let stages = &text[text.find("[pipelines.p]").expect("a pipeline")..];
    let mut before = None;
    for round in 0..12 {
        let (pipeline, chip) = (format!("q{round}"), format!("chip{round}"));
        let more = stages.replace("pipelines.p", &format!("pipelines.{pipeline}"));
        let chips = format!("default_chip = \"c\"\n[pipelines.p.chips.{chip}]\nplugin = \"noop-infer\"\n[pipelines.p.");
        let changed = text.replacen("[pipelines.p.", &chips, 1);
        plimsoll_tests::replace_file(&site.config, format!("{changed}{more}")).expect("written");
        until("the new pipeline", async || server.infer(&pipeline, "", "").await.status == 200).await;
        let of_chip = server.infer("p", &format!("?chip={chip}"), "").await;
        assert_eq!(of_chip.status, 200, "{}", of_chip.text);
        let wrong = server.infer(&pipeline, "?chip=none", "").await;
        assert_eq!(wrong.status, 404, "{}", wrong.text);
        plimsoll_tests::replace_file(&site.config, &text).expect("written");
        until("the old pipelines", async || server.infer(&pipeline, "", "").await.status == 404).await;
        let names = [format!("\"{pipeline}\""), format!("\"{chip}\"")];
        let is_there = |text: &str| names.iter().any(|name| text.contains(name));
        until("the metrics are forgotten", async || !is_there(&server.get("/metrics").await.text)).await;
        assert!(!is_there(&server.get("/v1/memory").await.text));
        assert_eq!(server.infer("p", "", "").await.status, 200);
        let (found, _) = sizes(&site, &server).await;
        assert_eq!(*before.get_or_insert_with(|| sizes_of(&found)), sizes_of(&found));
    }
    // The series that stay have kept their counts.
    let metrics = server.get("/metrics").await.text;
    let ok = "plimsoll_requests_total{pipeline=\"p\",chip=\"c\",outcome=\"ok\"} 12";
    assert!(metrics.contains(ok), "{metrics}");
}

/// The statistics of a model of a pipeline that is gone are forgotten; those of an unloaded pipeline stay.
#[tokio::test(flavor = "multi_thread")]
async fn the_statistics_of_a_removed_model_start_again_from_zero() {
    let site = Site::new("");
    let text = fs::read_to_string(&site.config).expect("text");
    let text = text.replace("[server]", "[deploy]\npoll = \"10ms\"\n[server]");
    let stages = &text[text.find("[pipelines.p]").expect("a pipeline")..];
    let both = format!("{text}{}", stages.replace("pipelines.p", "pipelines.q"));
    plimsoll_tests::replace_file(&site.config, &both).expect("written");
    let server = site.serve().await;
    let count = async |model: &str| {
        let stats = server.get(&format!("/v2/models/{model}/stats")).await.json();
        stats["model_stats"][0]["inference_count"].as_u64().expect("a count")
    };
    for pipeline in ["p", "q", "q"] {
        assert_eq!(server.infer(pipeline, "", "").await.status, 200);
    }
    assert_eq!((count("p").await, count("q").await), (1, 2));
    for change in ["unload", "load"] {
        let reply = server.send("POST", &format!("/v2/repository/models/q/{change}"), &[], Vec::new()).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    assert_eq!(count("q").await, 2, "an unloaded pipeline is still there");

    plimsoll_tests::replace_file(&site.config, &text).expect("written");
    until("the removal", async || server.infer("q", "", "").await.status == 404).await;
    plimsoll_tests::replace_file(&site.config, &both).expect("written");
    until("the return", async || server.get("/v2/models/q/stats").await.status == 200).await;
    assert_eq!((count("p").await, count("q").await), (1, 0));
}

fn sizes_of(sizes: &Sizes) -> [usize; 4] {
    [sizes.series, sizes.digests, sizes.rows, sizes.handled]
}
