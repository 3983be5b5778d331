//! The instructions that five paths take, counted by `valgrind --tool=callgrind`, against the values in
//! `tests/benches/gate/instructions.tsv`. Counts do not depend on other load of the machine.
//!
//! A path that takes over 3 % more than its value fails the test. So does one that takes over 3 % less, because its value must
//! then be lowered. `PLIMSOLL_WRITE_VALUES=1` writes new values; the commit that has them says why.
//!
//! Server, plugins and client run in one process with one worker. All instructions of the process during the requests are
//! counted. The server is not optimised in tests, so the values show that a path does more work, not how much slower it is;
//! guests are optimised as always.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use plimsoll::config::Config;
use plimsoll_tests::{Server, TempDir, bench, data, guest, skip, stamped};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const NAME: &str = "gate::no_path_takes_more_instructions";
/// The largest change that is no failure, in percent.
const TOLERANCE: f64 = 3.0;
/// Runs of a path that are not counted.
const WARM_UP: usize = 4;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/gate")
}

/// A path: its requests, which are sent in turn, and the number of requests that are counted.
struct Measured {
    name: &'static str,
    requests: Vec<Vec<u8>>,
    runs: usize,
}

fn paths(token: &str) -> Vec<Measured> {
    let request = |method: &str, route: &str, body: &[u8]| {
        let head = format!(
            "{method} {route} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let infer = |pipeline: &str, body: &[u8]| request("POST", &format!("/v1/pipelines/{pipeline}/infer"), body);
    let swap = [1, 2].map(|mark| request("PUT", "/v1/plugins/stamp", &stamped(mark)));
    let digit = std::fs::read(data("digits/7.jpg")).expect("a digit");
    vec![
        Measured { name: "no-op request", requests: vec![infer("noop", b"body")], runs: 50 },
        Measured { name: "digit", requests: vec![infer("digits", &digit)], runs: 60 },
        Measured { name: "640 x 480 preprocessing", requests: vec![infer("photo", &photo(640, 480))], runs: 4 },
        Measured { name: "swap", requests: swap.to_vec(), runs: 8 },
        Measured { name: "report", requests: vec![request("GET", "/v1/memory", b"")], runs: 30 },
    ]
}

fn config() -> String {
    let file = |name: &str| format!("[plugins.{name}]\nfile = {:?}\n", guest(name));
    let pipeline = |name: &str, preprocess: &str, postprocess: &str| {
        format!(
            "[pipelines.{name}.preprocess]\nplugin = \"{preprocess}\"\n[pipelines.{name}.chips.none]\n\
             plugin = \"noop-infer\"\n[pipelines.{name}.postprocess]\nplugin = \"{postprocess}\"\n"
        )
    };
    [
        "[server]\nmax_concurrency = 2\n".to_owned(),
        file("noop-preprocess"),
        file("noop-infer"),
        file("noop-postprocess"),
        file("stamp"),
        pipeline("noop", "noop-preprocess", "noop-postprocess"),
        pipeline("stamp", "stamp", "stamp"),
        pipeline("photo", "image-preprocess", "noop-postprocess"),
        "[pipelines.photo.preprocess.config]\nwidth = 224\nheight = 224\n".to_owned(),
        "[models.digits]\nfile = \"bundled:digits.onnx\"\n[pipelines.digits]\nmodel = \"digits\"\n\
         [pipelines.digits.preprocess]\nplugin = \"image-preprocess\"\n\
         config = { width = 8, height = 8, channels = \"gray\", scale = 0.00392156862745098 }\n\
         [pipelines.digits.chips.native]\nplugin = \"infer-native\"\n\
         [pipelines.digits.postprocess]\nplugin = \"classify-postprocess\"\n\
         config = { labels = \"labels.txt\", top_k = 3 }\n\
         assets = { \"labels.txt\" = \"bundled:digits-labels.txt\" }\n"
            .to_owned(),
    ]
    .concat()
}

/// A JPEG with grain, from a fixed seed.
fn photo(width: u32, height: u32) -> Vec<u8> {
    let mut state = 7_u32;
    let image = image::RgbImage::from_fn(width, height, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let grain = (state >> 28) as u8;
        image::Rgb([(200 * x / width) as u8 + grain, (200 * y / height) as u8 + grain, grain])
    });
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image.write_to(&mut jpeg, image::ImageFormat::Jpeg).expect("encoded");
    jpeg.into_inner()
}

fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("gate-cache")
}

/// callgrind sets its counts to zero when this function is called.
#[inline(never)]
fn gate_begins() {
    std::hint::black_box(());
}

/// callgrind writes its counts when this function is called.
#[inline(never)]
fn gate_ends() {
    std::hint::black_box(());
}

/// Sends a request on a connection that is kept, and reads its reply.
async fn send(connection: &mut TcpStream, request: &[u8]) -> u16 {
    connection.write_all(request).await.expect("sent");
    let (mut reply, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let length = connection.read(&mut piece).await.expect("a reply");
        assert!(length > 0, "the connection is closed: {}", String::from_utf8_lossy(&reply));
        reply.extend_from_slice(&piece[..length]);
        let Some(end) = reply.windows(4).position(|part| part == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&reply[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap_or_else(|| panic!("no length: {head}")).parse().expect("a number");
        if reply.len() >= end + 4 + length {
            return head.split(' ').nth(1).expect("a status").parse().expect("a number");
        }
    }
}

async fn measure() {
    let mut config = Config::parse(&config(), Path::new("gate.toml")).expect("valid");
    // Compiled code depends on the processor, and valgrind shows another one than the machine has.
    config.cache_dir = Some(cache());
    // Only optimised code is counted, and kept in the cache.
    config.deploy.quick_start = false;
    let server = Server::with_config(&config).await;
    let address = server.url.strip_prefix("http://").expect("an address");
    let mut connection = TcpStream::connect(address).await.expect("connected");
    for Measured { name, requests, runs } in paths(server.token.as_ref().expect("made")) {
        for (run, request) in requests.iter().cycle().take(WARM_UP + runs).enumerate() {
            if run == WARM_UP {
                gate_begins();
            }
            assert_eq!(send(&mut connection, request).await, 200, "{name}");
        }
        gate_ends();
    }
    server.stop().await;
}

/// Runs the paths in valgrind with these options.
fn run(options: &[&str]) {
    let mut valgrind = Command::new("python3");
    valgrind.arg(folder().join("valgrind.py")).args(["valgrind", "--quiet"]).args(options);
    valgrind.arg(std::env::current_exe().expect("a program")).args(["--exact", NAME, "--nocapture"]);
    // With several threads, how long they wait for each other would be counted.
    let output = valgrind.env("GATE", "1").env("RTEN_NUM_THREADS", "1").output().expect("it starts");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{log}", String::from_utf8_lossy(&output.stdout));
}

/// The instructions of each path for one request.
fn count() -> BTreeMap<String, u64> {
    if !cache().is_dir() {
        // Plugins are compiled in the same processor as below, but nothing is counted, which is many times slower.
        run(&["--tool=none"]);
    }
    let out = TempDir::new().expect("a folder");
    let file = out.path().join("counts");
    let to = format!("--callgrind-out-file={}", file.display());
    run(&["--tool=callgrind", "--zero-before=*gate_begins*", "--dump-before=*gate_ends*", &to]);
    let counted = paths("").into_iter().enumerate().map(|(index, path)| {
        let counts = std::fs::read_to_string(format!("{}.{}", file.display(), index + 1)).expect("counts");
        let total = counts.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
        let total: u64 = total.expect("a sum").trim().parse().expect("a number");
        (path.name.to_owned(), total / path.runs as u64)
    });
    counted.collect()
}

/// What the counts depend on beside the code: the instructions of the processor, by which compiled code and the C library
/// choose theirs, and the number of cores, which is the number of threads.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    let known = ["sse4_2", "popcnt", "avx", "avx2", "bmi1", "bmi2", "fma", "lzcnt", "abm"];
    let has = |flag: &&str| flags.split_whitespace().any(|word| word == *flag);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{} cores={cores}", known.into_iter().filter(has).collect::<Vec<_>>().join(" "))
}

/// Prints the counts, and returns the paths that changed by more than [`TOLERANCE`].
fn changes(known: &BTreeMap<String, u64>, counted: &BTreeMap<String, u64>) -> Vec<String> {
    let mut changed = Vec::new();
    for (name, &count) in counted {
        let value = *known.get(name).unwrap_or_else(|| panic!("no value of {name}"));
        let percent = 100.0 * (count as f64 / value as f64 - 1.0);
        println!("{name:28} {count:>12} instructions, {percent:+.2} % of {value}");
        if percent.abs() > TOLERANCE {
            changed.push(name.clone());
        }
    }
    changed
}

#[test]
fn no_path_takes_more_instructions() {
    if std::env::var_os("GATE").is_some() {
        return bench::runtime().block_on(measure());
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        return skip("valgrind is missing");
    }
    let (values, machine) = (folder().join("instructions.tsv"), machine());
    if std::env::var_os("PLIMSOLL_WRITE_VALUES").is_some() {
        count();
        let rows = count().into_iter().map(|(name, count)| format!("{name}\t{count}\n"));
        return std::fs::write(&values, format!("{machine}\n{}", rows.collect::<String>())).expect("written");
    }
    let known = std::fs::read_to_string(&values).expect("values");
    let (measured_on, known) = known.split_once('\n').expect("a line for the machine");
    if measured_on != machine {
        // Not `skip`: another machine has no values, in CI too.
        eprintln!("SKIPPED: the values in {} are not those of a machine with {machine}", values.display());
        return;
    }
    let known = known.lines().filter_map(|line| line.split_once('\t'));
    let known = known.map(|(name, count)| (name.to_owned(), count.parse().expect("a number"))).collect();
    // The least of up to four counts: what else happens meanwhile only adds instructions, and if a plugin was not in the cache,
    // the first counts include its compilation.
    let mut least = count();
    for _ in 0..3 {
        if changes(&known, &least).is_empty() {
            return;
        }
        for (name, count) in count() {
            least.entry(name).and_modify(|least| *least = count.min(*least));
        }
    }
    let changed = changes(&known, &least);
    assert!(
        changed.is_empty(),
        "{changed:?} changed by more than is tolerated. If that is meant, write the values with PLIMSOLL_WRITE_VALUES=1, and say \
         why in the commit"
    );
}
