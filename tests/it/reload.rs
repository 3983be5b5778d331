//! A changed configuration is served without a restart, or changes nothing.

use std::time::{Duration, Instant};

use plimsoll_tests::{Server, Site, stamped_reply};

use crate::cli::Served;

async fn until_deadline(server: &Server, seconds: f64) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let shown = server.get("/v1/pipelines").await.json()["pipelines"][0]["deadline_seconds"].clone();
        if shown == seconds {
            return;
        }
        assert!(Instant::now() < until, "{shown}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_served_and_a_wrong_one_changes_nothing() {
    let site = Site::new("deadline = \"7s\"");
    let server = site.serve().await;
    until_deadline(&server, 7.0).await;
    site.write_config("deadline = \"8s\"");
    until_deadline(&server, 8.0).await;

    let refused = |metrics: &str| metrics.contains("plimsoll_config_reloads_total{result=\"refused\"} 2");
    for wrong in ["deadline = \"soon\"", "default_chip = \"none\""] {
        site.write_config(wrong);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let metrics = server.get("/metrics").await.text;
    assert!(refused(&metrics), "{metrics}");
    until_deadline(&server, 8.0).await;
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));

    site.write_config("deadline = \"9s\"");
    until_deadline(&server, 9.0).await;
}

#[test]
fn sighup_reads_the_file_again() {
    let site = Site::new("");
    let served = Served::start(&site.config);
    // Nothing has changed, so only the signal can be the cause.
    std::thread::sleep(Duration::from_millis(300));
    served.signal("-HUP");
    std::thread::sleep(Duration::from_millis(1500));
    served.terminate();
    let (code, log) = served.ended();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("\"action\":\"reload\"").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_data_folder_a_new_configuration_keeps_the_plugins() {
    let site = Site::new("deadline = \"7s\"");
    // A file in the folder's place: nothing can be written there, whoever tries.
    std::fs::write(site.folder.path().join(".plimsoll"), "").expect("written");
    let server = site.serve().await;
    site.write_config("deadline = \"8s\"");
    until_deadline(&server, 8.0).await;
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));
}
