//! What others do to small requests: health checks and inferences of plugins that do nothing, alone, beside four callers of
//! JSON tensors of 28 MiB, and beside bodies that are only announced: `cargo bench --bench beside`. Each phase takes 10 s,
//! or `PLIMSOLL_BESIDE` seconds. The server is the real binary; the clients share the cores with it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use plimsoll_tests::bench::{Table, measures, quantile};
use plimsoll_tests::{TempDir, guest, shared_cache};

const HEALTH: &str = "/v2/health/live";
const NOOP: &str = "/v1/pipelines/noop/infer";
/// The model that gets the large tensors and returns them.
const ECHO: &str = "/v2/models/echo.infer/infer";
/// Elements of FP32 in a tensor of 28 MiB; each is written with four bytes of JSON.
const ELEMENTS: usize = 7 << 20;
const CALLERS: usize = 4;
/// Heads without a body in one connection of HTTP/2, and connections of HTTP/1 that announce one.
const ANNOUNCED: u32 = 16;
/// Time between two requests of a client, so that their number does not depend on their latency.
const PAUSE: Duration = Duration::from_millis(2);

/// Requests of others, until the first value is true. The second counts them.
type Others<'a> = dyn Fn(&AtomicBool, &AtomicU64) + Sync + 'a;

/// The binary on a free port. It is killed on drop.
struct Process {
    address: String,
    child: Child,
    _folder: TempDir,
}

impl Process {
    fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        std::fs::write(folder.path().join("plimsoll.toml"), config()).expect("written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_plimsoll-under-test"))
            .current_dir(folder.path())
            .args(["serve", "--listen", "127.0.0.1:0", "--config", "plimsoll.toml"])
            .env("RUST_LOG", "info,plimsoll::request=warn")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("listening on http://")).expect("it listens before it ends");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next());
        let address = address.expect("an address").to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        Self { address, child, _folder: folder }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config() -> String {
    let file = |name: &str| format!("[plugins.{name}]\nfile = {:?}\n", guest(name));
    let pipeline = |name: &str, infer: &str| {
        format!(
            "[pipelines.{name}.preprocess]\nplugin = \"noop-preprocess\"\n[pipelines.{name}.chips.c]\nplugin = \"{infer}\"\n\
             [pipelines.{name}.postprocess]\nplugin = \"noop-postprocess\"\n"
        )
    };
    let files: String = ["noop-preprocess", "noop-infer", "noop-postprocess", "echo-infer"].map(file).concat();
    format!(
        "cache_dir = {:?}\n{files}{}{}",
        shared_cache(),
        pipeline("noop", "noop-infer"),
        pipeline("echo", "echo-infer")
    )
}

fn client() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Sends requests until `is_over`. Returns the time of each in milliseconds, in ascending order.
fn times(address: &str, path: &str, is_over: &AtomicBool) -> Vec<f64> {
    let mut times = client().block_on(async {
        let (http, url) = (reqwest::Client::new(), format!("http://{address}{path}"));
        let mut times = Vec::new();
        while !is_over.load(Relaxed) {
            let started = Instant::now();
            let request = if path == HEALTH { http.get(&url) } else { http.post(&url) };
            let reply = request.send().await.expect("a reply");
            let status = reply.status();
            let text = reply.text().await.expect("a whole reply");
            assert_eq!(status, 200, "{path}: {text}");
            times.push(started.elapsed().as_secs_f64() * 1e3);
            tokio::time::sleep(PAUSE).await;
        }
        times
    });
    times.sort_by(f64::total_cmp);
    times
}

/// Sends a large tensor again and again.
fn send_large(address: &str, body: &str, is_over: &AtomicBool, sent: &AtomicU64) {
    client().block_on(async {
        let (http, url) = (reqwest::Client::new(), format!("http://{address}{ECHO}"));
        while !is_over.load(Relaxed) {
            let reply = http.post(&url).body(body.to_owned()).send().await.expect("a reply");
            assert_eq!(reply.status(), 200);
            let bytes = reply.bytes().await.expect("a whole reply");
            assert!(bytes.len() > 2 * ELEMENTS, "all elements are returned: {} bytes", bytes.len());
            sent.fetch_add(1, Relaxed);
        }
    });
}

/// Announces bodies and sends none, on new connections each second.
fn announce(address: &str, is_over: &AtomicBool, sent: &AtomicU64) {
    let head = format!("POST {NOOP} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 33554432\r\n\r\n");
    let mut silent: Vec<TcpStream> = Vec::new();
    let mut open = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.write_all(bytes).expect("sent");
        silent.push(stream);
        // The server ends them after `body_timeout`; these are the latest of some seconds.
        if silent.len() > 20 * ANNOUNCED as usize {
            silent.remove(0);
        }
    };
    while !is_over.load(Relaxed) {
        open(&http2_heads());
        (0..ANNOUNCED).for_each(|_| open(head.as_bytes()));
        sent.fetch_add(u64::from(2 * ANNOUNCED), Relaxed);
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The start of a connection of HTTP/2 and heads of requests whose bodies never come.
fn http2_heads() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for stream in 0..ANNOUNCED {
        // HPACK: `:method POST` and `:scheme http` of the static table, then `:path` and `:authority` as literals.
        let mut head = vec![0x83, 0x86, 0x04, NOOP.len() as u8];
        head.extend_from_slice(NOOP.as_bytes());
        head.extend_from_slice(b"\x01\x01x");
        // The last header, but not the end of the stream.
        bytes.extend_from_slice(&[0, 0, head.len() as u8, 1, 4]);
        bytes.extend_from_slice(&(2 * stream + 1).to_be_bytes());
        bytes.extend_from_slice(&head);
    }
    bytes
}

/// One phase: small requests, and what the others send meanwhile.
fn phase(table: &mut Table, name: &str, address: &str, time: Duration, others: &[&Others<'_>]) {
    let (is_over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let (health, noop) = std::thread::scope(|scope| {
        let (is_over, sent) = (&is_over, &sent);
        for other in others {
            scope.spawn(move || other(is_over, sent));
        }
        let health = scope.spawn(|| times(address, HEALTH, is_over));
        let noop = scope.spawn(|| times(address, NOOP, is_over));
        std::thread::sleep(time);
        is_over.store(true, Relaxed);
        (health.join().expect("no request fails"), noop.join().expect("no request fails"))
    });
    for (what, times) in [("health", health), ("noop", noop)] {
        let figures = [times.len() as f64, quantile(&times, 0.5), quantile(&times, 0.99), quantile(&times, 1.0)];
        table.row(&[name, what], &[&figures[..], &[sent.load(Relaxed) as f64]].concat());
    }
}

fn main() {
    let seconds = std::env::var("PLIMSOLL_BESIDE").ok().and_then(|text| text.parse().ok()).unwrap_or(10.0);
    let time = Duration::from_secs_f64(if measures() { seconds } else { 0.2 });
    let process = Process::start();
    let address = process.address.as_str();
    let numbers = "1.5,".repeat(ELEMENTS - 1);
    let large = format!(
        "{{\"inputs\":[{{\"name\":\"x\",\"shape\":[{ELEMENTS}],\"datatype\":\"FP32\",\"data\":[{numbers}1.5]}}]}}"
    );
    let send_large = |is_over: &AtomicBool, sent: &AtomicU64| send_large(address, &large, is_over, sent);
    let announce = |is_over: &AtomicBool, sent: &AtomicU64| announce(address, is_over, sent);
    let figures = [("requests", 0), ("p50 ms", 2), ("p99 ms", 2), ("max ms", 1), ("others' requests", 0)];
    let mut table = Table::new("beside", &[("beside", 24), ("request", 8)], &figures);
    phase(&mut table, "nothing", address, time, &[]);
    phase(&mut table, "4 callers of 28 MiB", address, time, &[&send_large as &Others<'_>; CALLERS]);
    phase(&mut table, "nothing", address, time, &[]);
    phase(&mut table, "announced bodies", address, time, &[&announce]);
    table.end("each request must be answered with 200; a client sends the next one 2 ms after a reply");
}
