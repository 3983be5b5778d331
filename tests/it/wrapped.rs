//! The real binary, started by another program that gives it other limits, another user or its own mounts.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use plimsoll_tests::Site;

const BINARY: &str = env!("CARGO_BIN_EXE_plimsoll-under-test");
pub(crate) const TOKEN: &str = "a-token-for-the-tests";
/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process of the real binary that serves on a free port. It is killed on drop.
pub(crate) struct Wrapped {
    child: Child,
    url: String,
    log: Arc<Mutex<String>>,
    client: reqwest::Client,
}

/// Writes a site whose folders are scanned often, with the token of these tests. `deploy` is added to `[deploy]`.
pub(crate) fn site(deploy: &str) -> Site {
    let site = Site::new("");
    let text = std::fs::read_to_string(&site.config).expect("text");
    let tables = format!("[admin]\ntoken_file = \"token\"\n[deploy]\npoll = \"20ms\"\n{deploy}\n[server]");
    plimsoll_tests::replace_file(&site.config, text.replace("[server]", &tables)).expect("written");
    std::fs::write(site.folder.path().join("token"), TOKEN).expect("written");
    site
}

/// Returns true if a program can be started like this. Otherwise prints the reason, and the caller skips its test. What the
/// kernel does not permit (namespaces and mounts in a container) cannot be installed, so it is not required in CI.
///
/// # Panics
/// If the first program is not installed, and `CI` is set.
pub(crate) fn can_run<W: AsRef<str>>(wrapper: &[W]) -> bool {
    let wrapper: Vec<&str> = wrapper.iter().map(AsRef::as_ref).collect();
    let output = Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").output();
    let can = output.as_ref().is_ok_and(|output| output.status.success());
    assert!(
        output.is_ok() || std::env::var_os("CI").is_none(),
        "{wrapper:?} is missing, and CI must not skip: {output:?}"
    );
    if !can {
        eprintln!("SKIPPED: {wrapper:?} is not possible: {output:?}");
    }
    can
}

/// Returns true if this process runs as root.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").expect("there").uid() == 0
}

/// The words that start a program in its own mount namespace, after the commands of `setup`.
pub(crate) fn in_mounts(setup: &str) -> Vec<String> {
    let unshare: &[&str] = if is_root() { &["unshare", "-m"] } else { &["unshare", "-Urm"] };
    let script = format!("set -e; {setup}; exec \"$@\"");
    let words = unshare.iter().map(|word| (*word).to_owned());
    words.chain(["sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]).collect()
}

/// Waits until a condition holds.
///
/// # Panics
/// If it does not hold after a minute.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "timed out while waiting for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Wrapped {
    /// Starts the binary with `wrapper` before it; each of its words may be a program that starts the next one.
    pub(crate) fn start<W: AsRef<str>>(wrapper: &[W], site: &Site) -> Self {
        let mut words: Vec<&str> = wrapper.iter().map(AsRef::as_ref).collect();
        words.push(BINARY);
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .current_dir(site.folder.path())
            .args(["--log", "json", "serve", "--listen", "127.0.0.1:0", "--config", "plimsoll.toml"])
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let mut url = None;
        for line in lines.by_ref() {
            let found = line.find("http://").map(|at| line[at..].split('"').next().expect("an address").to_owned());
            log.lock().expect("no panic").extend([&line, "\n"]);
            if found.is_some() {
                url = found;
                break;
            }
        }
        let url =
            url.unwrap_or_else(|| panic!("the process ended before it listened: {}", log.lock().expect("no panic")));
        let rest = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines {
                rest.lock().expect("no panic").extend([&line, "\n"]);
            }
        });
        // One connection for all requests. A client of HTTP/1.1 opens another one when the reply before is not completely
        // read yet, and a server without file descriptors never accepts it.
        let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
        Self { child, url, log, client }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// The process id.
    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// A path as the process sees it, with its own mounts.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        Path::new("/proc").join(self.pid()).join("root").join(path.strip_prefix("/").expect("absolute"))
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    /// Sends a request with the token. Returns status and text.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Vec<u8>) -> (u16, String) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(TOKEN);
        let reply = request.timeout(PATIENCE).body(body).send().await.expect("an answer");
        (reply.status().as_u16(), reply.text().await.expect("text"))
    }

    /// Sends a request whose reply is JSON.
    pub(crate) async fn json(&self, method: &str, path: &str, body: Vec<u8>) -> (u16, serde_json::Value) {
        let (status, text) = self.send(method, path, body).await;
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// The reply of the pipeline `p`.
    pub(crate) async fn reply(&self) -> String {
        self.send("POST", "/v1/pipelines/p/infer", Vec::new()).await.1
    }

    /// The value of a metric. A series with labels that does not exist yet is 0.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.send("GET", "/metrics", Vec::new()).await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        match value {
            None if name.contains('{') => 0,
            value => value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number"),
        }
    }

    /// Waits until a metric has a value.
    pub(crate) async fn wait_for_metric(&self, name: &str, wanted: u64) {
        until(name, async || self.metric(name).await == wanted).await;
    }

    /// Waits until `count` more scans have failed.
    pub(crate) async fn wait_for_failed_scans(&self, count: u64) {
        let before = self.metric("plimsoll_failed_scans_total").await;
        until("failed scans", async || self.metric("plimsoll_failed_scans_total").await >= before + count).await;
    }

    /// The states of the versions of a plugin; empty if there is no such plugin.
    pub(crate) async fn states(&self, plugin: &str) -> Vec<String> {
        let (_, plugin) = self.json("GET", &format!("/v1/plugins/{plugin}"), Vec::new()).await;
        let versions = plugin["versions"].as_array().into_iter().flatten();
        versions.map(|version| version["state"].as_str().expect("text").to_owned()).collect()
    }

    /// Copies a new plugin into the folder, and waits until a scan has found it. So everything that was changed before is
    /// scanned, too.
    pub(crate) async fn wait_for_scan(&self, site: &Site, name: &str) {
        site.drop_in(&format!("{name}.wasm"), &plimsoll_tests::stamped(99));
        until("a scan", async || self.states(name).await == ["unused"]).await;
    }
}

impl Drop for Wrapped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
