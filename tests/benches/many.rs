//! Many plugins and pipelines in the real binary: `cargo bench --bench many`. `PLIMSOLL_MANY=500` sets how many.
//!
//! Each pipeline has a plugin of its own, which does nothing, and shares two others. Printed are:
//! - the time of a start with one pipeline and with many, with a cold and a warm cache of compiled code
//! - resident memory at rest, and for each idle pipeline
//! - the median of a request
//! - the time from the moment when new files of all plugins are in the folder until the last pipeline replies with its new
//!   version, and the p99 of requests to another pipeline meanwhile
//! - the time until as many plugins that no pipeline uses are admitted
//! - size and time of `/metrics`: before requests, and after requests to all pipelines, with each value of
//!   `server.metric_buckets`, as it is and compressed

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use plimsoll_runtime::identity::digest;
use plimsoll_tests::bench::{Table, count, measures, quantile};
use plimsoll_tests::{TempDir, guest};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long something may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// The token for administration.
const TOKEN: &str = "the-token-of-the-bench";
/// Requests for a median.
const REQUESTS: usize = 2_000;

#[tokio::main]
async fn main() {
    let many = std::env::var("PLIMSOLL_MANY").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    let many = if measures() { many } else { 4 };
    let mut table = Table::new("many", &[("measurement", 66)], &[("figure", 2)]);
    let folder = TempDir::new().expect("a folder");
    let mut row = |what: &str, figure: f64| table.row(&[what], &[figure]);

    let one = Site::new(folder.path().join("one"), 1, "fine");
    let served = one.start().await;
    let resident_of_one = served.resident_at_rest().await;
    row("resident MiB with 1 pipeline", mib(resident_of_one));
    row("p50 of a request with 1 pipeline, µs", served.median(1).await);
    served.stop().await;

    let site = Site::new(folder.path().join("many"), many, "fine");
    let started = Instant::now();
    site.start().await.stop().await;
    row("start with many pipelines, cold cache, s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    let served = site.start().await;
    row("start with many pipelines, warm cache, s", started.elapsed().as_secs_f64());
    let resident = served.resident_at_rest().await;
    row("resident MiB with many pipelines", mib(resident));
    let each = (resident as f64 - resident_of_one as f64) / 1024.0 / (many - 1) as f64;
    row("resident KiB for each idle pipeline with its own plugin", each);
    let (bytes, ms) = served.metrics("identity").await;
    row("/metrics before any request, KB", bytes / 1e3);
    row("/metrics before any request, ms", ms);
    row("p50 of a request with many pipelines, to one of them, µs", served.median(1).await);
    row("p50 of a request with many pipelines, to 20 in turn, µs", served.median(many.min(20)).await);
    row("p50 of a request with many pipelines, to all in turn, µs", served.median(many).await);
    row(
        "p99 of a request to one pipeline, quiet, ms",
        served.beside(tokio::time::sleep(Duration::from_secs(3))).await.0,
    );

    let (p99, seconds) = served.beside(served.replace_all(&site, many)).await;
    row("many new versions in the folder until all serve, s", seconds);
    row("p99 of a request to another pipeline meanwhile, ms", p99);
    let (p99, seconds) = served.beside(served.add_unused(&site, many)).await;
    row("many new plugins in the folder until all are admitted, s", seconds);
    row("p99 of a request to another pipeline meanwhile, ms", p99);
    served.stop().await;

    for buckets in ["fine", "coarse", "none"] {
        site.write_config(many, buckets);
        let served = site.start().await;
        served.median(many).await;
        for encoding in ["identity", "gzip"] {
            let (bytes, ms) = served.metrics(encoding).await;
            row(&format!("/metrics after requests to all, {buckets}, {encoding}, KB"), bytes / 1e3);
            row(&format!("/metrics after requests to all, {buckets}, {encoding}, ms"), ms);
        }
        served.stop().await;
    }
    table.end(&format!("many: {many}; a plugin has {} bytes", component(0, 0).len()));
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A plugin that does nothing, with other bytes for each number and version.
fn component(number: usize, version: u8) -> Vec<u8> {
    let bytes = std::fs::read(guest("noop-preprocess")).expect("built");
    let number = u32::try_from(number).expect("few").to_le_bytes();
    // A custom section: its size, the length of its name and the name, then the content.
    [&bytes[..], &[0, 7, 1, b'v', version], &number].concat()
}

/// A configuration with its folders.
struct Site {
    folder: PathBuf,
}

impl Site {
    fn new(folder: PathBuf, pipelines: usize, buckets: &str) -> Self {
        for name in ["plugins", "drafts"] {
            std::fs::create_dir_all(folder.join(name)).expect("a folder");
        }
        let this = Self { folder };
        (0..=pipelines).for_each(|at| this.write(&format!("own-{at:03}.wasm"), &component(at, 0)));
        this.write_config(pipelines, buckets);
        this
    }

    /// Writes a file to the plugin folder.
    fn write(&self, name: &str, bytes: &[u8]) {
        let draft = self.folder.join("drafts").join(name);
        std::fs::write(&draft, bytes).expect("written");
        std::fs::rename(draft, self.folder.join("plugins").join(name)).expect("renamed");
    }

    /// One pipeline more than asked for, `p000`, which is never changed.
    fn write_config(&self, pipelines: usize, buckets: &str) {
        let file = |name: &str| format!("[plugins.{name}]\nfile = {:?}\n", guest(name));
        let mut text =
            format!("[server]\nmetric_buckets = \"{buckets}\"\n{}{}", file("noop-infer"), file("noop-postprocess"));
        for at in 0..=pipelines {
            text.push_str(&format!(
                "[pipelines.p{at:03}.preprocess]\nplugin = \"own-{at:03}\"\n[pipelines.p{at:03}.chips.c]\n\
                 plugin = \"noop-infer\"\n[pipelines.p{at:03}.postprocess]\nplugin = \"noop-postprocess\"\n"
            ));
        }
        std::fs::write(self.folder.join("plimsoll.toml"), text).expect("written");
    }

    /// Starts the binary, and waits until it is ready.
    async fn start(&self) -> Served {
        let mut child = Command::new(Path::new(env!("CARGO_BIN_EXE_plimsoll-under-test")))
            .current_dir(&self.folder)
            .args(["--log", "json", "serve", "--listen", "127.0.0.1:0", "--config", "plimsoll.toml"])
            .env("PLIMSOLL_ADMIN_TOKEN", TOKEN)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let url = loop {
            let line = lines.next_line().await.expect("text").expect("it listens before it ends");
            if let Some(at) = line.find("http://") {
                break line[at..].split('"').next().expect("an address").to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let served = Served { child, url, http: reqwest::Client::new() };
        served
            .until("ready", async || {
                served
                    .http
                    .get(format!("{}/v2/health/ready", served.url))
                    .send()
                    .await
                    .is_ok_and(|it| it.status() == 200)
            })
            .await;
        served
    }
}

/// The process.
struct Served {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Served {
    /// Ends the process. The next one can lock the folder then.
    async fn stop(mut self) {
        self.child.kill().await.expect("ended");
    }

    async fn until(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds().await {
            assert!(Instant::now() < end, "timed out while waiting for: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends a request to a pipeline. Returns the versions that replied.
    async fn infer(&self, pipeline: usize) -> String {
        let url = format!("{}/v1/pipelines/p{pipeline:03}/infer", self.url);
        let reply = self.http.post(url).body("x").send().await.expect("a reply");
        assert_eq!(reply.status(), 200);
        let plugins = reply.headers()["x-plimsoll-plugins"].to_str().expect("text").to_owned();
        reply.bytes().await.expect("a body");
        plugins
    }

    /// The median time of a request in µs, to so many pipelines in turn.
    async fn median(&self, pipelines: usize) -> f64 {
        let mut times = Vec::new();
        for at in 0..count(REQUESTS).max(2 * pipelines) {
            let started = Instant::now();
            self.infer(1 + at % pipelines).await;
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        quantile(&times, 0.5)
    }

    /// Sends requests to the pipeline that is not changed, during `work`. Returns their p99 in ms, and the seconds that the
    /// work took.
    async fn beside(&self, work: impl Future<Output = ()>) -> (f64, f64) {
        let (is_over, started) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let requests = async {
            let mut times = Vec::new();
            while !is_over.load(Relaxed) {
                let started = Instant::now();
                self.infer(0).await;
                times.push(started.elapsed().as_secs_f64() * 1e3);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            times.sort_by(f64::total_cmp);
            quantile(&times, 0.99)
        };
        let work = async {
            work.await;
            is_over.store(true, Relaxed);
            started.elapsed().as_secs_f64()
        };
        tokio::join!(requests, work)
    }

    /// Puts new versions of all plugins into the folder, and waits until each pipeline replies with its own.
    async fn replace_all(&self, site: &Site, many: usize) {
        (1..=many).for_each(|at| site.write(&format!("own-{at:03}.wasm"), &component(at, 1)));
        for at in 1..=many {
            let version = digest(&component(at, 1))[..12].to_owned();
            self.until("the new version", async || self.infer(at).await.contains(&version)).await;
        }
    }

    /// Puts plugins into the folder that no pipeline uses, and waits until all are admitted.
    async fn add_unused(&self, site: &Site, many: usize) {
        (1..=many).for_each(|at| site.write(&format!("unused-{at:03}.wasm"), &component(at, 2)));
        self.until("the plugins", async || {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let reply = String::from_utf8(self.administrate("/v1/plugins", "identity").await).expect("text");
            reply.matches("\"unused\"").count() >= many
        })
        .await;
    }

    async fn administrate(&self, path: &str, encoding: &str) -> Vec<u8> {
        let request =
            self.http.get(format!("{}{path}", self.url)).bearer_auth(TOKEN).header("accept-encoding", encoding);
        request.send().await.expect("a reply").bytes().await.expect("a body").to_vec()
    }

    /// The bytes of the metrics, and the median of the milliseconds until they have arrived.
    async fn metrics(&self, encoding: &str) -> (f64, f64) {
        let (mut bytes, mut times) = (0, Vec::new());
        for _ in 0..9 {
            // Beyond some requests in a short time, the server sends copies.
            tokio::time::sleep(Duration::from_millis(60)).await;
            let started = Instant::now();
            bytes = self.administrate("/metrics", encoding).await.len();
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        (bytes as f64, quantile(&times, 0.5))
    }

    /// Resident memory in bytes, once it has stopped changing.
    async fn resident_at_rest(&self) -> u64 {
        let mut last = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let pid = self.child.id().expect("it runs");
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
            let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the system reports it");
            let now = line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).expect("a number") << 10;
            if now.abs_diff(last) < 256 << 10 {
                return now;
            }
            last = now;
        }
    }
}
