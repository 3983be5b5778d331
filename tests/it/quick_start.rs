//! A first start serves with quickly compiled code, which optimised code replaces: the answers are the same, limits hold in
//! both, and code that cannot be optimised goes on. The real binary with an empty cache; `tests/under_test.rs` makes the
//! optimiser wait or panic.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use image::codecs::png::PngEncoder;
use image::{Rgb, RgbImage};
use plimsoll_tests::jpeg::Jpeg;
use plimsoll_tests::{TempDir, data, guest, shared, skip};

use crate::process::{BINARY, Process};

const QUICK: &str = "serving with quickly compiled code";
const OPTIMISED: &str = "optimised code serves now";
/// Whether this processor has the quick compiler.
const IS_QUICK: bool = cfg!(target_arch = "x86_64");
/// How long optimised code may take, compiled at a low priority beside other tests.
const SLOW: Duration = Duration::from_secs(300);
/// Each image of so many of the corpus is sent, unless `PLIMSOLL_QUICK_START=all`.
const SAMPLE: usize = 9;

/// A folder with a configuration of shipped plugins, an empty cache, and a folder for faults.
struct Cold(TempDir);

impl Cold {
    fn new() -> Self {
        Self::with(true)
    }

    /// With one pipeline only, or with all.
    fn with(all: bool) -> Self {
        let folder = TempDir::new().expect("a folder");
        std::fs::create_dir(folder.path().join("faults")).expect("a folder");
        let raw = |name: &str, config: &str, more: &str| {
            format!(
                "[pipelines.{name}.preprocess]\nplugin = \"image-preprocess\"\nconfig = {{ {config} }}\n{more}\n\
                 [pipelines.{name}.chips.c]\nplugin = \"echo-infer\"\n\
                 [pipelines.{name}.postprocess]\nplugin = \"tensors-postprocess\"\n"
            )
        };
        let demo = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../host/demo/plimsoll.toml"));
        let soon = raw("soon", "width = 224, height = 224", "deadline = \"300ms\"");
        let others = [
            demo.expect("the demo"),
            raw("small", "width = 32, height = 24, mean = [100.0, 110.0, 120.0], scale = 0.02", ""),
            raw("crop", "width = 40, height = 40, resize = \"crop\", dtype = \"u8\", layout = \"nhwc\"", ""),
            raw("tight", "width = 224, height = 224", "max_memory = \"4MiB\""),
        ];
        let text = format!(
            "cache_dir = \"cache\"\n[server]\nlisten = \"127.0.0.1:0\"\n[plugins.echo-infer]\nfile = {:?}\n{soon}{}",
            guest("echo-infer"),
            if all { others.concat() } else { String::new() },
        );
        std::fs::write(folder.path().join("plimsoll.toml"), text).expect("written");
        Self(folder)
    }

    fn replace(&self, from: &str, to: &str) {
        let file = self.0.path().join("plimsoll.toml");
        let text = std::fs::read_to_string(&file).expect("text");
        std::fs::write(&file, text.replacen(from, to, 1)).expect("written");
    }

    fn fault(&self, name: &str) -> PathBuf {
        self.0.path().join("faults").join(name)
    }

    fn start(&self) -> Process {
        let mut command = Command::new(BINARY);
        command.args(["serve", "--config"]).arg(self.0.path().join("plimsoll.toml"));
        command.env("PLIMSOLL_TEST_FAULTS", self.0.path().join("faults"));
        Process::spawn(&mut command)
    }
}

/// A reply: the path of the request, the status, and the body unless it is a refusal.
#[derive(Debug, PartialEq)]
struct Answer {
    path: &'static str,
    status: u16,
    text: String,
}

/// What the server answers to all requests of the test.
async fn answers(url: &str) -> Vec<Answer> {
    let client = reqwest::Client::new();
    let mut requests = Vec::new();
    for entry in std::fs::read_dir(data("digits")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end == "json") {
            continue;
        }
        let picture = std::fs::read(path).expect("present");
        requests.extend(["digits/infer?chip=native", "digits/infer?chip=wasm"].map(|path| (path, picture.clone())));
    }
    // More than 300 ms and more than 4 MiB allow.
    requests.push(("soon/infer", slow_image()));
    let large = Jpeg::new(2000, 1500, &[(1, 1)]).progressive();
    requests.push(("tight/infer", large.encode(|_, x, y| 128.0 + 60.0 * (x / 9.0).sin() * (y / 7.0).cos())));
    for (at, image) in corpus().into_iter().enumerate() {
        let path = if at % 2 == 0 { "small/infer" } else { "crop/infer" };
        requests.push((path, std::fs::read(image).expect("listed")));
    }
    let mut answers = Vec::new();
    for (path, body) in requests {
        let reply = client.post(format!("{url}/v1/pipelines/{path}")).body(body).send().await.expect("an answer");
        let status = reply.status().as_u16();
        let text = reply.text().await.expect("a body");
        // The text of a refusal names the request.
        let text = if status == 200 { text } else { String::new() };
        answers.push(Answer { path, status, text });
    }
    answers
}

/// A PNG that takes long: 24 million pixels.
fn slow_image() -> Vec<u8> {
    let mut slow = Vec::new();
    let pixels = RgbImage::from_fn(5000, 4800, |x, y| Rgb([x as u8, y as u8, (x + y) as u8]));
    pixels.write_with_encoder(PngEncoder::new(&mut slow)).expect("encoded");
    slow
}

/// Images of the corpus, valid and abnormal ones.
fn corpus() -> Vec<PathBuf> {
    let Some(corpus) = shared("corpus") else { return Vec::new() };
    let index = std::fs::read_to_string(corpus.join("INDEX.tsv")).expect("an index");
    let column = index.lines().next().expect("a head").split('\t').position(|field| field == "file").expect("a column");
    let step = if std::env::var("PLIMSOLL_QUICK_START").is_ok_and(|how| how == "all") { 1 } else { SAMPLE };
    let files = index.lines().skip(1).step_by(step);
    files.map(|line| corpus.join(line.split('\t').nth(column).expect("a file"))).collect()
}

/// The answers of a server that waits for optimised code, with a cache of its own.
async fn answers_of_optimised_code() -> Vec<Answer> {
    let cold = Cold::new();
    cold.replace("[server]", "[deploy]\nquick_start = false\n[server]");
    let process = cold.start();
    let log = process.wait_within("listening on", SLOW);
    let answers = answers(&process.url()).await;
    assert!(log.contains("compiling image-preprocess") && !log.contains(QUICK), "{log}");
    answers
}

fn assert_same(answers: &[Answer], optimised: &[Answer]) {
    assert_eq!(answers.len(), optimised.len());
    for (answer, optimised) in answers.iter().zip(optimised) {
        // A deadline may be enough for faster code.
        assert!(answer == optimised || answer.path.starts_with("soon"), "{answer:?}\n{optimised:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quick_code_and_then_optimised_code_answer_like_code_that_was_always_optimised() {
    if !IS_QUICK {
        return skip("there is no quick compiler for this processor");
    }
    let cold = Cold::new();
    std::fs::write(cold.fault("optimise.wait"), "").expect("written");
    let mut process = cold.start();
    let url = process.url();
    process.wait_for(QUICK);
    let quick = answers(&url).await;
    let status = |path: &str| quick.iter().find(|answer| answer.path.starts_with(path)).expect("sent").status;
    assert_eq!((status("digits"), status("soon"), status("tight")), (200, 504, 413));
    std::fs::remove_file(cold.fault("optimise.wait")).expect("removed");
    let log = process.wait_within(OPTIMISED, SLOW);
    assert!(log.contains("failed=0") && !log.contains("there is no optimised code"), "{log}");
    let replaced = answers(&url).await;
    process.signal("-TERM");
    let (code, _) = process.wait_for_exit();
    assert_eq!(code, Some(0));

    // The cache has the optimised code.
    let warm = cold.start();
    let from_cache = answers(&warm.url()).await;
    let log = warm.wait_for("listening on");
    assert!(!log.contains("compiling") && !log.contains(QUICK), "{log}");

    let optimised = answers_of_optimised_code().await;
    assert_same(&quick, &optimised);
    assert_same(&replaced, &optimised);
    assert_same(&from_cache, &optimised);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_cannot_be_optimised_serves_on() {
    if !IS_QUICK {
        return skip("there is no quick compiler for this processor");
    }
    let cold = Cold::new();
    std::fs::write(cold.fault("optimise"), "").expect("written");
    let process = cold.start();
    let url = process.url();
    let log = process.wait_within(OPTIMISED, SLOW);
    assert_eq!(log.matches("there is no optimised code").count(), 1, "{log}");
    assert!(log.contains("failed=1"), "{log}");
    let answers = answers(&url).await;
    let mut digits = answers.iter().filter(|answer| answer.path.starts_with("digits"));
    assert!(digits.all(|answer| answer.status == 200), "{answers:?}");
    let ready = reqwest::get(format!("{url}/v2/health/ready")).await.expect("an answer");
    assert_eq!(ready.status(), 200);
}

#[test]
fn a_pipeline_that_fails_in_quick_code_is_tried_in_optimised_code() {
    if !IS_QUICK {
        return skip("there is no quick compiler for this processor");
    }
    let cold = Cold::new();
    std::fs::write(cold.0.path().join("slow.png"), slow_image()).expect("written");
    cold.replace("deadline = \"300ms\"", "deadline = \"2ms\"");
    cold.replace("[pipelines.soon.preprocess]", "[pipelines.soon]\nsample = \"slow.png\"\n[pipelines.soon.preprocess]");
    let (code, log) = cold.start().wait_for_exit();
    assert_ne!(code, Some(0));
    assert!(log.contains("pipelines.soon") && log.contains("deadline") && !log.contains(QUICK), "{log}");
    // Only optimised code is kept.
    let cache = std::fs::read_dir(cold.0.path().join("cache")).expect("a cache");
    let names = cache.map(|entry| entry.expect("an entry").path());
    assert!(names.filter(|path| path.extension().is_some_and(|end| end == "cwasm")).count() >= 4);
}

/// The sample waits until after its deadline in quick code, and not in optimised code.
#[tokio::test(flavor = "multi_thread")]
async fn a_sample_that_fails_in_quick_code_is_sent_again_in_optimised_code() {
    if !IS_QUICK {
        return skip("there is no quick compiler for this processor");
    }
    let cold = Cold::with(false);
    cold.replace("[pipelines.soon.preprocess]", "[pipelines.soon]\ndeadline = \"300ms\"\n[pipelines.soon.preprocess]");
    std::fs::write(cold.fault("pipeline.wait"), "").expect("written");
    let process = cold.start();
    crate::wrapped::until("the sample", async || cold.fault("pipeline.reached").exists()).await;
    // The deadline of the pipeline is 300 ms, and 5 s more for a sample.
    tokio::time::sleep(Duration::from_secs(6)).await;
    std::fs::remove_file(cold.fault("pipeline.wait")).expect("removed");
    let log = process.wait_within("listening on", SLOW);
    let url = process.url();
    assert!(!log.contains(QUICK), "{log}");
    let ready = reqwest::get(format!("{url}/v2/health/ready")).await.expect("an answer");
    assert_eq!(ready.status(), 200);
}
