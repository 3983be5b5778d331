//! A log that cannot be written does not affect requests. If the reader of stderr has ended or does not read, if the
//! disk is full, or if stderr is closed, only log lines are lost. All tests use the real binary.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use plimsoll_tests::{Site, TempDir, guest, stamped, stamped_reply};

use crate::cli::run;

const BINARY: &str = env!("CARGO_BIN_EXE_plimsoll-under-test");
/// Only a process that hangs takes this long.
const BOUND: Duration = Duration::from_secs(60);
/// Requests that log more than 1 MiB together, the size of the queue.
const LOUD_REQUESTS: usize = 300;

/// A site with a second pipeline `loud`, whose plugin panics with the message of the request.
fn site() -> Site {
    let site = Site::new("");
    let text = std::fs::read_to_string(&site.config).expect("text");
    let file = |name: &str| format!("[plugins.{name}]\nfile = {:?}\n", guest(name));
    let loud = "[pipelines.loud.preprocess]\nplugin = \"tester\"\n[pipelines.loud.chips.c]\nplugin = \"noop-infer\"\n\
                [pipelines.loud.postprocess]\nplugin = \"echo-postprocess\"\n";
    let text = text.replace("[server]\n", "[server]\ndrain = \"0s\"\n");
    let text = format!("{text}{}{}{loud}", file("tester"), file("echo-postprocess"));
    plimsoll_tests::replace_file(&site.config, text).expect("written");
    site
}

/// A process of the real binary; it is killed on drop.
struct Process {
    child: Child,
    url: String,
    client: reqwest::Client,
}

impl Process {
    /// Starts the binary with `stderr`, and waits until it serves.
    async fn start(site: &Site, stderr: impl Into<Stdio>) -> Self {
        let mut command = Command::new(BINARY);
        command.stderr(stderr);
        Self::start_by(site, command).await
    }

    async fn start_by(site: &Site, mut command: Command) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
        let listen = format!("127.0.0.1:{port}");
        command.args(["--log", "json", "serve", "--listen", &listen, "--config"]).arg(&site.config);
        let child = command.env_remove("RUST_LOG").stdin(Stdio::null()).spawn().expect("the binary starts");
        let client = reqwest::Client::builder().timeout(BOUND).build().expect("a client");
        let mut this = Self { child, url: format!("http://{listen}"), client };
        let end = Instant::now() + BOUND;
        while this.client.get(format!("{}/v2/health/live", this.url)).send().await.is_err() {
            assert_eq!(this.child.try_wait().expect("a child"), None, "the process ended");
            assert!(Instant::now() < end, "the server does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        this
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let reply = self.client.get(format!("{}{path}", self.url)).send().await.expect("an answer");
        (reply.status().as_u16(), reply.text().await.expect("text"))
    }

    async fn infer(&self, pipeline: &str, query: &str) -> (u16, String) {
        let url = format!("{}/v1/pipelines/{pipeline}/infer{query}", self.url);
        let reply = self.client.post(url).send().await.expect("an answer");
        (reply.status().as_u16(), reply.text().await.expect("text"))
    }

    async fn dropped_lines(&self) -> u64 {
        let (status, metrics) = self.get("/metrics").await;
        assert_eq!(status, 200);
        let value = metrics.lines().find_map(|line| line.strip_prefix("plimsoll_log_lines_dropped_total "));
        value.unwrap_or_else(|| panic!("no count in {metrics}")).parse().expect("a number")
    }

    /// A request of administration.
    async fn administrate(&self, site: &Site, method: reqwest::Method, path: &str, body: Vec<u8>) -> serde_json::Value {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = request.bearer_auth(plimsoll_tests::made_token(site.folder.path())).body(body);
        let reply = request.send().await.expect("an answer");
        let (status, text) = (reply.status().as_u16(), reply.text().await.expect("text"));
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Requests, health, deployments and a rollback, while the log writes more than its queue holds.
    async fn works(&self, site: &Site) {
        let query = format!("?do=panic&message={}", "x".repeat(6000));
        for _ in 0..LOUD_REQUESTS / 4 {
            let four = [(); 4].map(|()| self.infer("loud", &query));
            for (status, text) in futures_util::future::join_all(four).await {
                assert_eq!(status, 500, "{text}");
            }
        }
        assert_eq!(self.infer("p", "").await, (200, stamped_reply(0)));
        for health in ["live", "ready"] {
            assert_eq!(self.get(&format!("/v2/health/{health}")).await.0, 200);
        }
        site.drop_in("stamp.wasm", &stamped(1));
        let end = Instant::now() + BOUND;
        while self.infer("p", "").await != (200, stamped_reply(1)) {
            assert!(Instant::now() < end, "the new version is not deployed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Over HTTP, too: each is applied and answered.
        let put = self.administrate(site, reqwest::Method::PUT, "/v1/plugins/stamp?version=2", stamped(2)).await;
        assert_eq!((&put["state"], &put["durable"]), (&"serving".into(), &true.into()), "{put}");
        assert_eq!(self.infer("p", "").await, (200, stamped_reply(2)));
        let back = self.administrate(site, reqwest::Method::POST, "/v1/plugins/stamp/rollback", Vec::new()).await;
        assert_eq!(back["durable"], true, "{back}");
        assert_eq!(self.infer("p", "").await, (200, stamped_reply(1)));
        let (_, metrics) = self.get("/metrics").await;
        for counter in ["panics_total", "handler_panics_total", "background_task_panics_total{task=\"watcher\"}"] {
            assert!(metrics.contains(&format!("plimsoll_{counter} 0\n")), "{counter} in {metrics}");
        }
    }

    /// Sends SIGTERM and returns the exit code.
    async fn stop(&mut self) -> Option<i32> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill");
        assert!(status.success());
        exit_code(&mut self.child).await
    }

    fn stderr(&mut self) -> BufReader<ChildStderr> {
        BufReader::new(self.child.stderr.take().expect("piped"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn exit_code(child: &mut Child) -> Option<i32> {
    let end = Instant::now() + BOUND;
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        assert!(Instant::now() < end, "the process does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn full_disk() -> File {
    File::options().write(true).open("/dev/full").expect("/dev/full")
}

/// A command whose stderr is closed.
fn closed_stderr() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&-", BINARY]);
    command
}

/// A pipe that is full and is not read. Keep the reader as long as the writer is used: without it, writes fail.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    // The capacity of a pipe (pipe(7)).
    writer.write_all(&[b'\n'; 64 << 10]).expect("written");
    (reader, writer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_gone_costs_only_log_lines() {
    let site = site();
    let mut process = Process::start(&site, Stdio::piped()).await;
    let mut first = String::new();
    let mut stderr = process.stderr();
    stderr.read_line(&mut first).expect("a line");
    drop(stderr);
    process.works(&site).await;
    assert!(process.dropped_lines().await > LOUD_REQUESTS as u64);
    assert_eq!(process.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_only_log_lines() {
    let site = site();
    let mut process = Process::start(&site, full_disk()).await;
    process.works(&site).await;
    assert!(process.dropped_lines().await > LOUD_REQUESTS as u64);
    assert_eq!(process.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_stderr_costs_only_log_lines() {
    let site = site();
    let mut process = Process::start_by(&site, closed_stderr()).await;
    process.works(&site).await;
    assert_eq!(process.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_never_reads_costs_only_log_lines() {
    let site = site();
    let (reader, writer) = full_pipe();
    let mut process = Process::start(&site, writer).await;
    process.works(&site).await;
    assert!(process.dropped_lines().await > 0);
    assert_eq!(process.stop().await, Some(0));
    drop(reader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_reads_again_gets_whole_lines_the_number_of_lost_ones_and_the_end() {
    let site = site();
    let mut process = Process::start(&site, Stdio::piped()).await;
    process.works(&site).await;
    let dropped = process.dropped_lines().await;
    assert!(dropped > 0);
    let stderr = process.stderr();
    let (reports, report) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let event = |line: std::io::Result<String>| {
            let line = line.expect("text");
            let event: serde_json::Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if event["target"] == "plimsoll::log" {
                // Nobody waits for a second one.
                let _ = reports.send(());
            }
            event
        };
        stderr.lines().map(event).collect::<Vec<_>>()
    });
    // Until then the queue may be full, and the lines of the next requests are lost, too.
    tokio::task::block_in_place(|| report.recv_timeout(BOUND)).expect("a report of lost lines");
    assert_eq!(process.infer("p", "").await, (200, stamped_reply(1)));
    let dropped_at_end = process.dropped_lines().await;
    assert_eq!(process.stop().await, Some(0));
    let events = reader.join().expect("no panic");
    let reported: u64 = events
        .iter()
        .filter(|event| event["target"] == "plimsoll::log")
        .map(|event| event["lines"].as_u64().expect("a number"))
        .sum();
    assert!(dropped_at_end >= dropped, "{dropped_at_end} after {dropped}");
    assert_eq!(reported, dropped_at_end);
    assert_eq!(events.last().expect("an event")["message"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_configuration_exits_with_64_whatever_stderr_is() {
    let folder = TempDir::new().expect("a folder");
    let config = folder.path().join("none.toml");
    let arguments = ["serve", "--config", config.to_str().expect("text")];
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let (unread, full) = full_pipe();
    let mut commands = [Stdio::from(full_disk()), writer.into(), full.into()].map(|stderr| {
        let mut command = Command::new(BINARY);
        command.stderr(stderr);
        command
    });
    for command in commands.iter_mut().chain([&mut closed_stderr()]) {
        let mut child = command.args(arguments).stdin(Stdio::null()).spawn().expect("the binary starts");
        let code = exit_code(&mut child).await;
        assert_eq!(code, Some(64), "{command:?}");
    }
    drop(unread);
    // With a reader there is a message.
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("none.toml"), "{output:?}");
}

#[test]
fn an_invalid_filter_is_reported() {
    let mut command = Command::new(BINARY);
    command.arg("inspect").arg(guest("tester")).env("RUST_LOG", "plimsoll=loud");
    let output = command.output().expect("the binary starts");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(log.contains("RUST_LOG is not valid") && log.contains("plimsoll=loud"), "{log}");
}

#[test]
fn a_panic_is_counted() {
    let previous = std::panic::take_hook();
    plimsoll::base::panics::log_panics();
    let before = plimsoll::base::panics::panics();
    let caught = std::panic::catch_unwind(|| panic!("on purpose"));
    let after = plimsoll::base::panics::panics();
    std::panic::set_hook(previous);
    assert!(caught.is_err());
    assert_eq!(after, before + 1);
}
