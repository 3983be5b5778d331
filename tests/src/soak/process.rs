//! The process of the real binary, and the changes that are made while it serves.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{guest, shared_cache, stamped};

/// The token for administration.
const TOKEN: &str = "the-token-of-the-soak";
/// Resident memory is read when it has not changed for this long.
const REST: Duration = Duration::from_millis(300);

/// The binary that serves four pipelines of test guests: `leaky`, `tester`, `grower` and `stamp`.
pub(super) struct Process {
    pub(super) url: String,
    folder: TempDir,
    child: Child,
    http: reqwest::Client,
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
        Self { url, folder, child, http: reqwest::Client::new() }
    }

    /// `127.0.0.1:PORT`.
    pub(super) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub(super) fn token(&self) -> &'static str {
        TOKEN
    }

    /// Makes a change: by turns a deployment through the folder, one over HTTP, a rollback, and a reload.
    ///
    /// # Errors
    /// The reply, if it is not the one that is right for the change.
    pub(super) async fn change(&self, number: u64) -> Result<(), String> {
        let mark = u32::try_from(number % 90_000).unwrap_or(0) * 10 + 1;
        match number % 4 {
            0 => {
                let draft = self.folder.path().join("draft");
                std::fs::write(&draft, stamped(mark)).expect("written");
                std::fs::rename(draft, self.folder.path().join("plugins/stamp.wasm")).expect("renamed");
                Ok(())
            }
            1 => {
                let request = self.http.put(format!("{}/v1/plugins/stamp", self.url)).body(stamped(mark));
                self.administrate(request, &[200]).await
            }
            // There is nothing to roll back to if the folder's change has not been seen yet.
            2 => {
                self.administrate(self.http.post(format!("{}/v1/plugins/stamp/rollback", self.url)), &[200, 409]).await
            }
            _ => {
                let text = format!("{}# {number}\n", config());
                std::fs::write(self.folder.path().join("plimsoll.toml"), text).expect("written");
                Ok(())
            }
        }
    }

    async fn administrate(&self, request: reqwest::RequestBuilder, wanted: &[u16]) -> Result<(), String> {
        let reply = request.bearer_auth(TOKEN).send().await.map_err(|error| format!("a change: {error:?}"))?;
        let status = reply.status().as_u16();
        if wanted.contains(&status) {
            return Ok(());
        }
        Err(format!("a change: {status}: {}", reply.text().await.unwrap_or_default()))
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
