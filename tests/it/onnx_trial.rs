//! Models that would end or stop the server when it loads them, in ways that no look at their files finds. A process of its own
//! loads each model first, so the server only says so. The real binary, and processes with limits (setrlimit(2)).

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{TempDir, replace_file};

use crate::cli::text;
use crate::model_cases::{config, engines};
use crate::process::{BINARY, PATIENCE, Process};

const IMAGE: [Option<i64>; 4] = [None, Some(3), Some(8), Some(8)];
/// The engines of the host: the plugin `infer-wasm` uses none of the host.
const NATIVE: &str = "infer-native";
/// The program with a limit on its memory.
const LIMITED: [&str; 3] = ["prlimit", "--data=2147483648", BINARY];

fn image() -> Onnx {
    Onnx::new(13).input("image", &IMAGE)
}

/// The value `big` is added to the image.
fn with_big(model: Onnx) -> Onnx {
    model
        .node("ReduceMax", &["big"], "largest", &[("keepdims", 0)])
        .node("Add", &["image", "largest"], "y", &[])
        .output("y", &IMAGE)
}

/// Constants of moderate size, each number of which is the largest of nine million.
fn takes_hours() -> Onnx {
    let model = image().ints("sizes", &[1, 1, 6000, 6000]).node("ConstantOfShape", &["sizes"], "zeros", &[]);
    with_big(model.node("MaxPool", &["zeros"], "big", &[]).with_lists(&[("kernel_shape", &[3001, 3001])]))
}

/// Three constants of 1 GiB at the same time.
fn takes_gigabytes() -> Onnx {
    let model = image().ints("sizes", &[1 << 14, 1 << 14]);
    let model = ["a", "b"].iter().fold(model, |model, part| model.node("ConstantOfShape", &["sizes"], part, &[]));
    with_big(model.node("Add", &["a", "b"], "big", &[]))
}

/// A folder with a model and its configuration.
struct Trial {
    folder: TempDir,
}

impl Trial {
    fn new(model: &Onnx, engine: (&str, &str), settings: &str) -> Self {
        let this = Self { folder: TempDir::new().expect("a folder") };
        let file = this.path("model.onnx");
        fs::write(&file, model.bytes()).expect("written");
        // A cache of its own: it remembers models that were loaded.
        let cache = this.path("cache");
        let toml = format!("cache_dir = {cache:?}\n{}", config(&file, engine, settings));
        fs::write(this.path("plimsoll.toml"), toml).expect("written");
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn check(&self, words: &[&str]) -> Output {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["check", "--config"]).arg(self.path("plimsoll.toml"));
        command.env("RUST_LOG", "info,plimsoll::deploy::trial_load=debug").output().expect("it starts")
    }

    /// What `plimsoll check` says about a model that it refuses.
    fn refusal(&self, words: &[&str]) -> String {
        let output = self.check(words);
        let message = text(&output.stderr);
        // Not by a signal.
        assert_eq!(output.status.code(), Some(64), "{}: {message}", output.status);
        assert!(message.contains("models.m: ") && message.contains("model.onnx"), "{message}");
        message
    }
}

#[test]
fn a_model_that_takes_hours_to_load_is_given_up() {
    for engine in engines().into_iter().filter(|engine| engine.1 == NATIVE) {
        let since = Instant::now();
        let message = Trial::new(&takes_hours(), engine, "load_deadline = \"2s\"").refusal(&[BINARY]);
        assert!(message.contains("not loaded after 2s; raise `load_deadline`"), "{engine:?}: {message}");
        assert!(since.elapsed() < Duration::from_secs(60), "{engine:?}: {:?}", since.elapsed());
    }
}

#[test]
fn a_model_that_takes_more_memory_than_there_is_is_refused() {
    for engine in engines().into_iter().filter(|engine| engine.1 == NATIVE) {
        let message = Trial::new(&takes_gigabytes(), engine, "").refusal(&LIMITED);
        // onnxruntime reports it. rten ends the process.
        let words: &[&str] = match engine.0 {
            "rten" => &["ended by signal 6", "memory allocation of 1073741824 bytes failed", "it could take "],
            _ => &["onnxruntime", " (in a process that could take "],
        };
        for words in words {
            assert!(message.contains(words), "{engine:?}: {words}: {message}");
        }
    }
}

/// What is served stays, and the next configuration is served.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_outlives_a_model_that_would_end_it() {
    let good = image().node("Relu", &["image"], "y", &[]).output("y", &IMAGE);
    let trial = Trial::new(&good, ("rten", NATIVE), "load_deadline = \"5s\"");
    let config = trial.path("plimsoll.toml");
    let mut command = Command::new(LIMITED[0]);
    command.args(&LIMITED[1..]).args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&config);
    let mut process = Process::spawn(&mut command);
    let url = process.url();
    let client = reqwest::Client::new();
    let reload = |model: &Onnx| {
        replace_file(&trial.path("model.onnx"), model.bytes()).expect("written");
        process.signal("-HUP");
    };
    for (model, reason) in [(takes_gigabytes(), "ended by signal 6"), (takes_hours(), "not loaded after 5s")] {
        reload(&model);
        process.wait_for(reason);
        let reply = client.get(format!("{url}/v2/health/ready")).send().await.expect("a reply");
        assert_eq!(reply.status(), 200, "{reason}");
    }
    reload(&good.clone().metadata("made", "again"));
    let log = process.wait_for("change action=\"reload\"");
    assert_eq!(log.matches("result=\"refused\"").count(), 2, "{log}");
    process.signal("-INT");
    assert_eq!(process.wait_for_exit().0, Some(0));
}

/// The parent of a process that has not ended, and its processor time in hundredths of seconds (proc_pid_stat(5)).
fn state(process: u32) -> Option<(String, u64)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    // The state, the parent, and after nine others the time in user mode.
    (fields[0] != "Z").then(|| (fields[1].to_owned(), fields[11].parse().expect("a number")))
}

fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("Linux").flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.filter(|&process| state(process).is_some_and(|(of, _)| of == parent.to_string())).collect()
}

/// The process that tries a model ends with the server, also if that is killed.
#[test]
fn no_process_is_left_behind() {
    for signal in ["-KILL", "-TERM", "-INT"] {
        let trial = Trial::new(&takes_hours(), ("rten", NATIVE), "load_deadline = \"0s\"");
        let config = trial.path("plimsoll.toml");
        let mut command = Command::new(BINARY);
        let mut process = Process::spawn(command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&config));
        process.wait_for("loading the model m");
        let within = |what: &str, is_so: &dyn Fn() -> bool| {
            let end = Instant::now() + PATIENCE;
            while !is_so() {
                assert!(Instant::now() < end, "{signal}: {what}");
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        within("there is no process", &|| !children(process.child.id()).is_empty());
        let tried = children(process.child.id());
        // It loads the model, and does not only start.
        within("it does not compute", &|| state(tried[0]).is_some_and(|(_, time)| time > 50));
        process.signal(signal);
        process.wait_for_exit();
        for child in tried {
            within("it is left", &|| state(child).is_none());
        }
    }
}

#[test]
fn a_model_that_was_loaded_is_not_tried_again() {
    let model = image().node("Relu", &["image"], "y", &[]).output("y", &IMAGE);
    for engine in engines().into_iter().filter(|engine| engine.1 == NATIVE) {
        let said = |trial: &Trial| {
            let output = trial.check(&[BINARY]);
            let log = text(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{engine:?}: {log}");
            log.contains("was loaded in a process of its own")
        };
        let trial = Trial::new(&model, engine, "max_batch = 4");
        assert!(said(&trial), "{engine:?}: it was not tried");
        assert!(!said(&trial), "{engine:?}: it was tried twice");
        // Other settings, other files.
        let toml = fs::read_to_string(trial.path("plimsoll.toml")).expect("text");
        fs::write(trial.path("plimsoll.toml"), toml.replace("max_batch = 4", "max_batch = 8")).expect("written");
        assert!(said(&trial), "{engine:?}: it was not tried with other settings");
        fs::write(trial.path("model.onnx"), model.clone().metadata("made", "again").bytes()).expect("written");
        assert!(said(&trial), "{engine:?}: it was not tried with another file");
        let untried = Trial::new(&model, engine, "trial_load = false");
        assert!(!said(&untried), "{engine:?}: it was tried");
    }
}

/// Chains of 40 nodes of one operator, each on the output of the one before: what doubles at each node, and what is followed
/// number by number. Served or refused, and never the end of the process.
#[test]
fn chains_of_one_operator_end_no_process() {
    const NODES: usize = 40;
    let of_one = ["Shape", "NonZero", "ConstantOfShape", "Size", "Exp", "CumSum"];
    let of_two =
        ["Add", "Mul", "Pow", "MatMul", "Concat", "Gather", "GatherND", "Expand", "Tile", "Reshape", "Compress"];
    let starts = || {
        let number = image().node("Shape", &["image"], "start", &[]);
        [image().ints("start", &[2, 3]), number, image().node("Identity", &["image"], "start", &[])]
    };
    for engine in engines().into_iter().filter(|engine| engine.1 == NATIVE) {
        let cases = of_one.iter().map(|operator| (operator, 1)).chain(of_two.iter().map(|operator| (operator, 2)));
        let mut tried = 0;
        for (at, (operator, inputs)) in cases.enumerate() {
            // Each operator with one of the starts, and the other engine with another.
            let start = starts()[(at + usize::from(engine.0 == "rten")) % 3].clone();
            let attributes: &[(&str, i64)] = if *operator == "Concat" { &[("axis", 0)] } else { &[] };
            let (model, last) = (1..=NODES).fold((start, "start".to_owned()), |(model, before), node| {
                let output = format!("value_{node}");
                (model.node(operator, &vec![before.as_str(); inputs], &output, attributes), output)
            });
            let model = model.node("Cast", &[&last], "y", &[("to", 1)]).open_output("y");
            let output = Trial::new(&model, engine, "load_deadline = \"10s\"").check(&LIMITED);
            let code = output.status.code();
            let log = text(&output.stderr);
            assert!(matches!(code, Some(0 | 64)), "{engine:?}, {operator}: {}: {log}", output.status);
            tried += usize::from(log.contains("was loaded in a process of its own"));
        }
        println!("{engine:?}: {tried} chains were loaded");
        assert!(tried > 3, "{engine:?}: {tried} models were loaded, so this test tries next to nothing");
    }
}
