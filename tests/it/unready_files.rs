//! Paths in the plugin folder that are incomplete files, or are not regular files: nothing else waits for them, and the
//! log names them.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use plimsoll_tests::{Site, stamped, stamped_reply};

use crate::wrapped::{Wrapped, site, until};

/// A file that grows until the value is dropped.
struct Growing {
    stop: Arc<AtomicBool>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Growing {
    fn start(path: PathBuf, start: &[u8], more: &'static [u8]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stop);
        let mut file = fs::File::create(path).expect("created");
        file.write_all(start).expect("written");
        let writer = std::thread::spawn(move || {
            while !is_stopped.load(Relaxed) {
                file.write_all(more).expect("written");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, writer: Some(writer) }
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let _ = self.writer.take().map(std::thread::JoinHandle::join);
    }
}

/// The number of log lines with both texts.
fn lines(served: &Wrapped, one: &str, other: &str) -> usize {
    served.log().lines().filter(|line| line.contains(one) && line.contains(other)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_grows_forever_blocks_nothing_else() {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    // It ends inside of a section of 100,000,000 bytes, so that it is never whole in a pause of the writer.
    let start = [stamped(2), vec![0, 0x80, 0xC2, 0xD7, 0x2F]].concat();
    let growing = Growing::start(site.plugin("slow@2.wasm"), &start, b"\0");
    site.drop_in("stamp.wasm", &stamped(1));
    until("the other plugin", async || served.reply().await == stamped_reply(1)).await;
    // A new configuration does not wait either.
    let text = fs::read_to_string(&site.config).expect("text");
    fs::write(&site.config, text.replace("[pipelines.p]\n", "[pipelines.p]\ndeadline = \"9s\"\n")).expect("written");
    until("the new configuration", async || {
        served.json("GET", "/v1/pipelines", Vec::new()).await.1["pipelines"][0]["deadline_seconds"] == 9.0
    })
    .await;
    served.wait_for_scan(&site, "more").await;
    served.wait_for_metric("plimsoll_unreadable_files", 1).await;
    assert_eq!(lines(&served, "slow@2.wasm", "has been changing for more than"), 1, "{}", served.log());
    assert_eq!(served.states("slow").await, [""; 0], "it is not read before it is complete");
    // Once it is complete it is deployed.
    drop(growing);
    site.drop_in("slow@2.wasm", &stamped(2));
    until("the complete file", async || served.states("slow").await == ["unused"]).await;
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_changes_forever_blocks_nothing_else() {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let text = fs::read(&site.config).expect("text");
    let growing = Growing::start(site.config.clone(), &text, b"\n");
    site.drop_in("stamp.wasm", &stamped(1));
    until("the plugin", async || served.reply().await == stamped_reply(1)).await;
    until("the log", async || lines(&served, "plimsoll.toml", "has been changing for more than") == 1).await;
    drop(growing);
    let served_once = "plimsoll_config_reloads_total{result=\"served\"}";
    until("the configuration", async || served.metric(served_once).await > 0).await;
}

/// Runs a program.
fn make(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("it starts");
    assert!(status.success(), "{program} {arguments:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_not_a_regular_file_is_logged_once() {
    let site = site("");
    let served = Wrapped::start(&["env"], &site);
    let path = |name: &str| site.plugin(name).display().to_string();
    make("mkfifo", &[&path("pipe.wasm")]);
    make("mkdir", &[&path("folder@1.wasm")]);
    make("ln", &["-s", "/dev/zero", &path("device.wasm")]);
    let _socket = UnixListener::bind(site.plugin("socket.wasm")).expect("bound");
    // A manifest that cannot be read may have limits, so its plugin is not deployed without them.
    make("mkfifo", &[&path("limited.toml")]);
    site.drop_in("limited.wasm", &stamped(7));
    served.wait_for_metric("plimsoll_unreadable_files", 5).await;
    served.wait_for_failed_scans(3).await;
    served.wait_for_scan(&site, "scan").await;
    for (name, what) in [
        ("pipe.wasm", "a FIFO"),
        ("folder@1.wasm", "a folder"),
        ("device.wasm", "a device"),
        ("socket.wasm", "a socket"),
        ("limited.wasm", "limited.toml: it is a FIFO"),
    ] {
        assert_eq!(lines(&served, name, what), 1, "{name}: {}", served.log());
    }
    assert_eq!(served.states("limited").await, [""; 0]);
    fs::remove_file(site.plugin("limited.toml")).expect("removed");
    until("the plugin without a manifest", async || served.states("limited").await == ["unused"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_not_a_regular_file_is_reported_at_the_start() {
    let site = Site::new("");
    fs::remove_file(site.plugin("stamp.wasm")).expect("there");
    make("mkfifo", &[&site.plugin("stamp.wasm").display().to_string()]);
    let text = fs::read_to_string(&site.config).expect("text");
    let text = format!("plugin_dir = {:?}\n{text}", site.folder.path().join("plugins"));
    let message = plimsoll_tests::Server::rejection(&text).await;
    assert!(message.contains("stamp.wasm") && message.contains("a FIFO, not a regular file"), "{message}");
}

/// Its name cannot be the name of a plugin, so it is never deployed. Hidden files are not meant to be.
#[tokio::test(flavor = "multi_thread")]
async fn a_component_whose_name_is_not_valid_is_reported_once() {
    let site = site("");
    site.drop_in("my plugin.wasm", &stamped(1));
    site.drop_in("two\nlines.wasm", &stamped(1));
    site.drop_in("._hidden.wasm", &stamped(1));
    let served = Wrapped::start(&["env"], &site);
    served.wait_for_metric("plimsoll_unreadable_files", 2).await;
    served.wait_for_failed_scans(3).await;
    let log = served.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("is not a valid plugin name")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines.iter().any(|line| line.contains("my plugin") && line.contains("letters, digits")), "{lines:?}");
    assert!(!log.contains("hidden"), "{log}");
    fs::remove_file(site.plugin("my plugin.wasm")).expect("removed");
    fs::remove_file(site.plugin("two\nlines.wasm")).expect("removed");
    served.wait_for_metric("plimsoll_unreadable_files", 0).await;
}
