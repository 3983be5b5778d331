//! For tests: a folder with a `plimsoll.toml`, a process that serves it, and commands that run in it. The token of
//! administration is the one that the server makes.

use std::path::Path;
use std::process::{Command, Output};

use plimsoll_tests::{TempDir, guests_config, shared_cache};

use crate::process::{BINARY, Process};

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
pub(crate) struct ServedFolder {
    pub(crate) process: Process,
    /// The address in the log: `http://HOST:PORT` or `https://HOST:PORT`.
    pub(crate) url: String,
}

impl ServedFolder {
    pub(crate) fn serve(folder: &Path, more: &[&str]) -> Self {
        Self::start(command(folder), more)
    }

    /// As [`ServedFolder::serve`], with a command that has its own environment.
    pub(crate) fn start(mut command: Command, more: &[&str]) -> Self {
        command.args(["serve", "--config", "plimsoll.toml", "--listen", "127.0.0.1:0"]).args(more);
        let process = Process::with_own_environment(&mut command);
        let text = process.wait_for("listening on http");
        let at = text.find("listening on http").expect("found") + "listening on ".len();
        let url =
            text[at..].split(|end: char| end.is_whitespace() || end == '"').next().expect("an address").to_owned();
        Self { process, url }
    }

    /// Waits until the log contains `words`. Returns the log so far.
    pub(crate) fn wait_for(&self, words: &str) -> String {
        self.process.wait_for(words)
    }

    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}
