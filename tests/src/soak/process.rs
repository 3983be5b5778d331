//! The process of the real binary, and the changes that are made while it serves.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use plimsoll_runtime::identity::digest;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{guest, shared_cache, stamped};

/// The token for administration.
const TOKEN: &str = "the-token-of-the-soak";
/// Resident memory is read when it has not changed for this long.
const REST: Duration = Duration::from_millis(300);
/// How long a change may take until it is applied, beside the requests.
const PATIENCE: Duration = Duration::from_secs(120);

/// What shows that a change is applied.
#[derive(Debug)]
enum Change {
    /// This version of `stamp` serves.
    Serving(String),
    /// So many configurations were served after the first one.
    Reloads(u64),
}

/// The binary that serves four pipelines of test guests: `leaky`, `tester`, `grower` and `stamp`.
pub(super) struct Process {
    pub(super) url: String,
    folder: TempDir,
    child: Child,
    http: reqwest::Client,
    /// The configurations that were served after the first one.
    reloads: AtomicU64,
    /// The digest of the version before the one that was uploaded last.
    before: Mutex<String>,
}

impl Process {
    /// Starts the binary in a new folder, and waits until it listens.
    pub(super) async fn start(binary: &Path) -> Self {
        let folder = TempDir::new().expect("a folder");
        std::fs::create_dir(folder.path().join("plugins")).expect("a folder");
        std::fs::write(folder.path().join("plugins/stamp.wasm"), stamped(0)).expect("written");
        std::fs::write(folder.path().join("plimsoll.toml"), config()).expect("written");
        let mut child = Command::new(binary)
            .current_dir(folder.path())
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
        // If the log were not read, the pipe would fill up.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { url, folder, child, http: reqwest::Client::new(), reloads: AtomicU64::new(0), before: Mutex::default() }
    }

    /// `127.0.0.1:PORT`.
    pub(super) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub(super) fn token(&self) -> &'static str {
        TOKEN
    }

    /// Makes a change: by turns a deployment through the folder, one over HTTP, a rollback, and a reload. Waits until it is
    /// applied.
    ///
    /// # Errors
    /// The reply, if it is not the one that is right for the change; or what serves, if the change is not applied in time.
    pub(super) async fn change(&self, number: u64) -> Result<(), String> {
        let mark = u32::try_from(number % 90_000).unwrap_or(0) * 10 + 1;
        match number % 4 {
            0 => {
                let draft = self.folder.path().join("draft");
                std::fs::write(&draft, stamped(mark)).expect("written");
                std::fs::rename(draft, self.folder.path().join("plugins/stamp.wasm")).expect("renamed");
                self.wait_for(&Change::Serving(digest(&stamped(mark)))).await
            }
            1 => {
                let before = self.serving().await?;
                let request = self.http.put(format!("{}/v1/plugins/stamp", self.url)).body(stamped(mark));
                self.administrate(request).await?;
                *self.before.lock().unwrap_or_else(PoisonError::into_inner) = before;
                self.wait_for(&Change::Serving(digest(&stamped(mark)))).await
            }
            2 => {
                self.administrate(self.http.post(format!("{}/v1/plugins/stamp/rollback", self.url))).await?;
                let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).clone();
                self.wait_for(&Change::Serving(before)).await
            }
            _ => {
                let text = format!("{}# {number}\n", config());
                std::fs::write(self.folder.path().join("plimsoll.toml"), text).expect("written");
                let reloads = self.reloads.fetch_add(1, Relaxed) + 1;
                self.wait_for(&Change::Reloads(reloads)).await
            }
        }
    }

    /// Sends a request of administration. Returns the reply.
    async fn administrate(&self, request: reqwest::RequestBuilder) -> Result<String, String> {
        let reply = request.bearer_auth(TOKEN).send().await.map_err(|error| format!("a change: {error:?}"))?;
        let (status, text) = (reply.status().as_u16(), reply.text().await.unwrap_or_default());
        if status == 200 { Ok(text) } else { Err(format!("a change: {status}: {text}")) }
    }

    /// The digest of the version of `stamp` that serves.
    async fn serving(&self) -> Result<String, String> {
        let text = self.administrate(self.http.get(format!("{}/v1/plugins/stamp", self.url))).await?;
        let plugin: serde_json::Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        plugin["digest"].as_str().map(str::to_owned).ok_or(text)
    }

    async fn is_applied(&self, change: &Change) -> Result<bool, String> {
        match change {
            Change::Serving(digest) => Ok(self.serving().await? == *digest),
            Change::Reloads(count) => {
                let metrics = self.administrate(self.http.get(format!("{}/metrics", self.url))).await?;
                let line = format!("plimsoll_config_reloads_total{{result=\"served\"}} {count}");
                Ok(metrics.lines().any(|found| found == line))
            }
        }
    }

    /// Waits until a change is applied.
    async fn wait_for(&self, change: &Change) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        while !self.is_applied(change).await? {
            if Instant::now() >= end {
                return Err(format!("a change is not applied after {PATIENCE:?}: {change:?}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Resident memory in bytes, once it has stopped changing.
    pub(super) async fn resident_at_rest(&self) -> u64 {
        let mut last = self.resident();
        for _ in 0..20 {
            tokio::time::sleep(REST).await;
            let now = self.resident();
            if now.abs_diff(last) < 64 << 10 {
                return now;
            }
            last = now;
        }
        last
    }

    /// Resident bytes of memory that the process cannot access now: what the unused slots of the instance pool keep
    /// beyond the first pages of the next instance.
    pub(super) fn inaccessible(&self) -> u64 {
        let pid = self.child.id().expect("it runs");
        let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).expect("it runs");
        let (mut is_inaccessible, mut sum) = (false, 0);
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("Rss:"), Some(kib)) if is_inaccessible => sum += kib.parse::<u64>().expect("a number") << 10,
                // The first line of a mapping: addresses and permissions. All others begin with a name and a colon.
                (Some(first), Some(permissions)) if !first.ends_with(':') => is_inaccessible = permissions == "---p",
                _ => {}
            }
        }
        sum
    }

    fn resident(&self) -> u64 {
        let pid = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the system reports it");
        line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).expect("a number") << 10
    }
}

fn config() -> String {
    let file = |name: &str| format!("[plugins.{name}]\nfile = {:?}\n", guest(name));
    let echo = |pipeline: &str, preprocess: &str, more: &str| {
        format!(
            "[pipelines.{pipeline}.preprocess]\nplugin = \"{preprocess}\"\n{more}[pipelines.{pipeline}.chips.c]\n\
             plugin = \"echo-infer\"\n[pipelines.{pipeline}.postprocess]\nplugin = \"echo-postprocess\"\n"
        )
    };
    format!(
        "cache_dir = {:?}\n{}{}{}{}{}{}{}{}\
         [pipelines.stamp.preprocess]\nplugin = \"stamp\"\n[pipelines.stamp.chips.c]\nplugin = \"noop-infer\"\n\
         [pipelines.stamp.postprocess]\nplugin = \"stamp\"\n",
        shared_cache(),
        file("leaker"),
        file("tester"),
        file("echo-infer"),
        file("echo-postprocess"),
        file("noop-infer"),
        echo("leaky", "leaker", ""),
        echo("grower", "tester", "max_memory = \"4MiB\"\n"),
        echo("tester", "tester", "deadline = \"60ms\"\nmax_memory = \"4MiB\"\n"),
    )
}
