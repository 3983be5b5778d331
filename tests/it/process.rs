//! For tests: a process of the real binary with its log, and a folder with its configuration.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use plimsoll_tests::{TempDir, guests_config, shared_cache};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_plimsoll-under-test");
/// The token of administration, for the server and for the commands.
pub(crate) const TOKEN: &str = "a-token-for-the-tests";
/// How long a test waits for something that should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A process of the real binary, and its log so far. It is killed on drop.
pub(crate) struct Process {
    pub(crate) child: Child,
    log: Arc<(Mutex<Log>, Condvar)>,
}

#[derive(Default)]
struct Log {
    text: String,
    is_complete: bool,
}

impl Process {
    /// Starts `plimsoll serve` with these arguments.
    pub(crate) fn serve(arguments: &[&str]) -> Self {
        Self::spawn(Command::new(BINARY).arg("serve").args(arguments))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self::with_own_environment(command.env_remove("RUST_LOG").env("PLIMSOLL_ADMIN_TOKEN", TOKEN))
    }

    /// As [`Process::spawn`], but the variables are those of the command.
    pub(crate) fn with_own_environment(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let lines = BufReader::new(child.stderr.take().expect("piped"));
        let log = Arc::new((Mutex::new(Log::default()), Condvar::new()));
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut log = written.0.lock().expect("no panic");
                log.text.push_str(&line);
                log.text.push('\n');
                written.1.notify_all();
            }
            written.0.lock().expect("no panic").is_complete = true;
            written.1.notify_all();
        });
        Self { child, log }
    }

    /// Waits until the log contains `words`. Returns the log so far.
    pub(crate) fn wait_for(&self, words: &str) -> String {
        self.wait_within(words, PATIENCE)
    }

    /// As [`Process::wait_for`], for something that takes longer.
    pub(crate) fn wait_within(&self, words: &str, patience: Duration) -> String {
        let log = self.log.0.lock().expect("no panic");
        let waits = |log: &mut Log| !log.text.contains(words) && !log.is_complete;
        let (log, _) = self.log.1.wait_timeout_while(log, patience, waits).expect("no panic");
        assert!(log.text.contains(words), "no {words:?} in the log: {}", log.text);
        log.text.clone()
    }

    /// Waits until the server listens. Returns `http://HOST:PORT` of its first address.
    pub(crate) fn url(&self) -> String {
        let log = self.wait_for("listening on http://");
        let start = log.find("listening on http://").expect("found") + "listening on ".len();
        log[start..].split_whitespace().next().expect("an address").to_owned()
    }

    /// Sends a signal with the program `kill`.
    pub(crate) fn signal(&self, signal: &str) {
        send_signal(self.child.id(), signal);
    }

    /// Waits until the process exits. Returns the exit code and the log.
    pub(crate) fn wait_for_exit(&mut self) -> (Option<i32>, String) {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < end, "the process does not exit: {}", self.log.0.lock().expect("no panic").text);
            std::thread::sleep(Duration::from_millis(5));
        };
        let log = self.log.0.lock().expect("no panic");
        let (log, _) = self.log.1.wait_timeout_while(log, PATIENCE, |log| !log.is_complete).expect("no panic");
        (status.code(), log.text.clone())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn send_signal(process: u32, signal: &str) {
    let status = Command::new("kill").args([signal, &process.to_string()]).status().expect("kill");
    assert!(status.success());
}

/// A folder with a `plimsoll.toml` of test guests. `server` is the content of `[server]`.
pub(crate) struct Setup {
    pub(crate) folder: TempDir,
}

impl Setup {
    pub(crate) fn new(server: &str) -> Self {
        let cache = format!("cache_dir = {:?}\n[server]\n{server}\n", shared_cache());
        Self::with(&(cache + &guests_config("tester", "deadline = \"60s\"")))
    }

    pub(crate) fn with(config: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        std::fs::write(folder.path().join("plimsoll.toml"), config).expect("written");
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("text").to_owned()
    }

    /// Serves on a free port.
    pub(crate) fn serve(&self) -> Process {
        self.serve_on("127.0.0.1:0")
    }

    pub(crate) fn serve_on(&self, listen: &str) -> Process {
        Process::serve(&["--config", &self.path("plimsoll.toml"), "--listen", listen])
    }
}

/// The binary as on a machine without CA certificates.
pub(crate) fn without_certificates() -> Command {
    let mut command = Command::new(BINARY);
    command.env("PLIMSOLL_ADMIN_TOKEN", TOKEN);
    command.env_remove("RUST_LOG").env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/var/empty/none");
    command
}

pub(crate) fn run_without_certificates(arguments: &[&str]) -> Output {
    without_certificates().args(arguments).output().expect("the binary starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One request over a unix socket. Returns the whole reply.
pub(crate) fn get_over(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("sent");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply");
    reply
}
