//! Measures the cost of traces. A pipeline of three stages that do nothing runs in process, with its record: traces off, and
//! on with 0 %, 1 % and 100 % of the requests sampled: `cargo bench --bench traces`. The collector is a thread that takes
//! everything.
//!
//! The figures are medians over short blocks. The difference is the median of the differences within pairs of blocks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use plimsoll::config::Config;
use plimsoll::serve::App;
use plimsoll_runtime::pipeline::Pipeline;
use plimsoll_runtime::stage::Request;
use plimsoll_tests::bench::{self, Table};
use plimsoll_tests::bench_support::request_record;
use plimsoll_tests::pairs::Pairs;
use plimsoll_tests::{TempDir, shared_cache};

const PAIRS: usize = 1_000;
const REQUESTS: u32 = 50;
const TIME: Duration = Duration::from_secs(10);

fn main() {
    let pairs = bench::count(PAIRS);
    let collector = collector();
    bench::runtime().block_on(async {
        let (_folder, off) = app("").await;
        let figures = [("µs", 2), ("requests/s", 0), ("lost %", 2)];
        let mut table = Table::new("traces", &[("traces", 28)], &figures);
        for share in ["0%", "1%", "100%"] {
            let telemetry = format!("[telemetry]\nendpoint = {collector:?}\nshare = {share:?}\n");
            let (_folder, on) = app(&telemetry).await;
            let pipelines = [&on, &off].map(|app| app.pipeline("p").expect("configured"));
            block(&on, &pipelines[0]).await;
            block(&off, &pipelines[1]).await;
            let times =
                Pairs::run(pairs, async || block(&on, &pipelines[0]).await, async || block(&off, &pipelines[1]).await)
                    .await;
            let (with, without) = (times.median(|on, _| on), times.median(|_, off| off));
            let added = times.median(|on, off| (on - off) / off);
            if share == "0%" {
                table.row(&["off"], &[without, 1e6 / without, f64::NAN]);
            }
            table.row(&[&format!("{share} sampled")], &[with, 1e6 / with, 100.0 * (1.0 - 1.0 / (1.0 + added))]);
        }
        table.end(&format!(
            "three stages that do nothing; lost: share of the throughput; medians of {pairs} pairs of blocks of \
             {REQUESTS} requests, one thread"
        ));
    });
}

/// A server's application; its data folder is removed on drop.
async fn app(telemetry: &str) -> (TempDir, App) {
    let folder = TempDir::new().expect("a folder");
    let text = telemetry.to_owned() + &bench::noop_config("noop-preprocess");
    let config = Config::parse(&text, Path::new("bench.toml")).expect("valid");
    let data_dir = Some(folder.path().to_owned());
    let config = Config { cache_dir: Some(shared_cache()), data_dir, ..config };
    (folder, App::open(&config).await.expect("served"))
}

/// Microseconds per request, averaged over one block.
async fn block(app: &App, pipeline: &Pipeline) -> f64 {
    let infer = pipeline.chip("none").expect("configured");
    let started = Instant::now();
    for _ in 0..REQUESTS {
        let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
        let mut record = request_record(app, "p", "none", TIME, Some(b"customer-7"));
        record.set_queue_time(Duration::ZERO);
        pipeline.run(infer, &mut record, &request, b"body").await.expect("a reply");
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS)
}

/// The address of a collector that takes everything.
fn collector() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer_all(stream));
        }
    });
    url
}

fn answer_all(stream: TcpStream) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        stream.read_exact(&mut vec![0; length]).ok()?;
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}
