//! For tests: a folder with a `plimsoll.toml`, a process that serves it, and commands that run in it. The token of
//! administration is the one that the server makes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use plimsoll_tests::{TempDir, guests_config, shared_cache};

const BINARY: &str = env!("CARGO_BIN_EXE_plimsoll-under-test");
/// How long a test waits for something that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The command, without any variable that names a server, a configuration or a token.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.current_dir(folder);
    for variable in ["RUST_LOG", "PLIMSOLL_ADMIN_TOKEN", "PLIMSOLL_CONFIG", "PLIMSOLL_DATA_DIR", "PLIMSOLL_SERVER"] {
        command.env_remove(variable);
    }
    command
}

pub(crate) fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command(folder).args(arguments).output().expect("the binary starts");
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

/// A folder with a `plimsoll.toml` of test guests, and `more` before the tables of the plugins.
pub(crate) fn folder(more: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let text = format!("cache_dir = {:?}\n{more}\n{}", shared_cache(), guests_config("tester", ""));
    std::fs::write(folder.path().join("plimsoll.toml"), text).expect("written");
    folder
}

/// A process that serves the `plimsoll.toml` of a folder on a free port. It is killed on drop.
pub(crate) struct Process {
    child: Child,
    log: Arc<(Mutex<String>, Condvar)>,
    /// The address in the log: `http://HOST:PORT` or `https://HOST:PORT`.
    pub(crate) url: String,
}

impl Process {
    pub(crate) fn serve(folder: &Path, more: &[&str]) -> Self {
        Self::start(command(folder), more)
    }

    /// As [`Process::serve`], with a command that has its own environment.
    pub(crate) fn start(mut command: Command, more: &[&str]) -> Self {
        command.args(["serve", "--config", "plimsoll.toml", "--listen", "127.0.0.1:0"]).args(more);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let lines = BufReader::new(child.stderr.take().expect("piped"));
        let log: Arc<(Mutex<String>, Condvar)> = Arc::default();
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut log = written.0.lock().expect("no panic");
                log.push_str(&line);
                log.push('\n');
                written.1.notify_all();
            }
        });
        let mut this = Self { child, log, url: String::new() };
        let text = this.wait_for("listening on http");
        let at = text.find("listening on http").expect("found") + "listening on ".len();
        this.url =
            text[at..].split(|end: char| end.is_whitespace() || end == '"').next().expect("an address").to_owned();
        this
    }

    /// Waits until the log contains `words`. Returns the log so far.
    pub(crate) fn wait_for(&self, words: &str) -> String {
        let log = self.log.0.lock().expect("no panic");
        let (log, _) = self.log.1.wait_timeout_while(log, PATIENCE, |log| !log.contains(words)).expect("no panic");
        assert!(log.contains(words), "no {words:?} in the log: {log}");
        log.clone()
    }

    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
