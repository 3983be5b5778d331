//! What commands say on a terminal: what to do next, how far long work is, and questions.

use std::path::Path;
use std::process::{Command, Stdio};

use plimsoll_tests::{TempDir, guest, onnx::Onnx};

use crate::capture::files;
use crate::cli::text;
use crate::postprocess_cases::body;
use crate::recorder::wait_until;

const BINARY: &str = env!("CARGO_BIN_EXE_plimsoll-under-test");
/// One line up, to its beginning, and clears it.
pub(crate) const BACK: &str = "\x1b[1A\r\x1b[K";

/// Runs the binary on a pseudoterminal until a text appears, and types the answers. Returns what it wrote, or `None` if Python is
/// missing.
pub(crate) fn on_terminal(until: &str, answers: &[(&str, &str)], arguments: &[&str]) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/terminal");
    let mut command = Command::new("python3");
    command.arg(script).arg(until).arg(serde_json::to_string(answers).expect("JSON")).arg(BINARY).args(arguments);
    command.env_remove("RUST_LOG").env("TERM", "xterm").env("PYTHONDONTWRITEBYTECODE", "1");
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
            Some(text(&output.stdout))
        }
        Err(_) => {
            println!("python3 is missing, so terminals are not tested");
            None
        }
    }
}

/// The configuration of a server whose plugins are small and compiled at the start.
fn config(folder: &Path) -> String {
    let file = folder.join("plimsoll.toml");
    let plugins = ["given-tensors", "noop-infer"].map(|name| format!("[plugins.{name}]\nfile = {:?}\n", guest(name)));
    let pipeline = "[pipelines.echo.preprocess]\nplugin = \"given-tensors\"\n[pipelines.echo.chips.c]\nplugin = \"noop-infer\"\n\
                    [pipelines.echo.postprocess]\nplugin = \"tensors-postprocess\"\n[pipelines.echo.capture]\nshare = \"100%\"\n";
    let (data, captures) = (folder.join("data"), folder.join("captures"));
    let text = format!("data_dir = {data:?}\n{}{pipeline}dir = {captures:?}\n", plugins.concat());
    std::fs::write(&file, text).expect("written");
    file.to_str().expect("text").to_owned()
}

#[test]
fn a_server_on_a_terminal_says_how_far_it_is_and_what_to_do_next() {
    let folder = TempDir::new().expect("a folder");
    let config = config(folder.path());
    let arguments = ["serve", "--config", &config, "--listen", "127.0.0.1:0"];
    let Some(seen) = on_terminal("Documentation:", &[], &arguments) else { return };
    let address =
        seen.split("listening on ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address");
    // A terminal ends lines with a carriage return, and the log has colours.
    let address = address.split('\x1b').next().expect("an address");
    let request = format!("curl --data-binary @FILE {address}/v1/pipelines/echo/infer\r\n");
    for wanted in [&request, "plimsoll init MODEL.onnx\r\n", "README.md and host/docs", &format!("{address}/\r\n")] {
        assert!(seen.contains(wanted), "{wanted:?} is missing in: {seen}");
    }
    // The lines about compiling replace each other.
    let compiling = |at: usize| format!("({at} of 3) …\r\n{BACK}");
    assert!((1..=3).all(|at| seen.contains(&compiling(at))), "{seen:?}");
    let before = seen.split("listening on").next().expect("a part");
    assert!(!before.contains("INFO compiling"), "{seen}");

    // Without a terminal there are lines of the log, and no advice.
    let mut server = Command::new(BINARY);
    server.args(arguments).env_remove("RUST_LOG").stderr(Stdio::piped()).stdout(Stdio::null());
    let mut server = server.spawn().expect("it starts");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(server.stderr.take().expect("piped")));
    let mut seen = String::new();
    while !seen.contains("listening on") {
        seen += &lines.next().expect("a line").expect("text");
    }
    let ended = Command::new("kill").args(["-INT", &server.id().to_string()]).status().expect("it runs");
    assert!(ended.success() && server.wait().expect("it ends").success());
    seen.extend(lines.map(|line| line.expect("text")));
    assert!(!seen.contains("curl") && !seen.contains("\x1b[1A"), "{seen}");
}

#[test]
fn init_asks_on_a_terminal_what_the_model_does_not_say() {
    let folder = TempDir::new().expect("a folder");
    let image = [Some(1), Some(3), Some(32), Some(32)];
    let model = Onnx::new(17).input("x", &image).output("y", &[Some(1), Some(3), Some(1), Some(1)]);
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, model.node("GlobalAveragePool", &["x"], "y", &[]).bytes()).expect("written");
    let made = folder.path().join("made");
    let data = folder.path().join("data");
    let [file, made_text, data] = [&file, &made, &data].map(|path| path.to_str().expect("text"));
    let arguments = ["init", file, "--dir", made_text, "--data-dir", data];
    // The first answer is not in the list, so it asks again. The order of the colours is left as it is.
    let answers = ["17\n", "3\n", "2\n", "\n", "2\n"].map(|answer| ("for the default: ", answer));
    let Some(seen) = on_terminal("", &answers, &arguments) else { return };
    for wanted in [
        "How were the pixels normalised",
        "0 to 1",
        "(default: ",
        "write a number from 1 to 6",
        "`resize` of the image?",
        "`scores` of the reply?",
        "Reply to the bundled sample",
        "compiling ",
    ] {
        assert!(seen.contains(wanted), "{wanted:?} is missing in: {seen}");
    }
    let config = std::fs::read_to_string(made.join("plimsoll.toml")).expect("written");
    // What the user answered is no assumption.
    assert!(config.contains("# 0 to 1: as you answered") && !config.contains("\nmean"), "{config}");
    for line in ["resize = \"letterbox\"", "scores = \"logits\""] {
        let line = config.lines().find(|known| known.starts_with(line));
        assert!(line.is_some_and(|line| line.ends_with("as you answered") && !line.contains("CHECK")), "{config}");
    }
    assert_eq!(config.matches("# CHECK: ").count(), 1, "{config}");
    assert!(config.contains("channels = \"rgb\"") && seen.contains("\r\n  channels = "), "{seen}{config}");
}

/// The settings of a folder's `[…config]` tables, without those of the model.
fn settings(folder: &Path) -> Vec<String> {
    let config = std::fs::read_to_string(folder.join("plimsoll.toml")).expect("written");
    let lines = config.lines().filter(|line| line.contains("  # ") || line.contains("# as you answered"));
    lines.map(str::to_owned).collect()
}

/// Runs `init` for a detector of torchvision's form with these answers. Returns what the terminal showed, and the settings.
fn init_detector(answers: &[&str]) -> Option<(String, Vec<String>)> {
    let folder = TempDir::new().expect("a folder");
    let image = [Some(1), Some(3), Some(64), Some(64)];
    let model = Onnx::new(22).input("x", &image).floats("zero", &[], &[0.0]);
    let model = model
        .node("GlobalAveragePool", &["x"], "mean", &[])
        .node("Flatten", &["mean"], "flat", &[("axis", 1)])
        .node("ReduceSum", &["flat"], "sum", &[("keepdims", 0)])
        .node("Mul", &["sum", "zero"], "none", &[])
        .floats("some boxes", &[1, 4], &[8.0, 16.0, 24.0, 48.0])
        .floats("some scores", &[1], &[0.9])
        .floats("some labels", &[1], &[1.0])
        .node("Add", &["some boxes", "none"], "boxes", &[])
        .node("Add", &["some scores", "none"], "scores", &[])
        .node("Add", &["some labels", "none"], "whole", &[])
        .node("Cast", &["whole"], "labels", &[("to", 7)])
        .open_output("boxes")
        .open_output("scores")
        .int_output("labels", &[Some(1)]);
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, model.bytes()).expect("written");
    let (made, state) = (folder.path().join("made"), folder.path().join("data"));
    let [file, made_text, state] = [&file, &made, &state].map(|path| path.to_str().expect("text"));
    let answers: Vec<_> = answers.iter().map(|answer| ("for the default: ", *answer)).collect();
    let seen = on_terminal("", &answers, &["init", file, "--dir", made_text, "--data-dir", state])?;
    assert!(seen.contains("Reply to the bundled sample"), "{seen}");
    Some((seen, settings(&made)))
}

/// Mean and deviation of ImageNet are in the order red, green, blue; the settings are in that of the channels.
#[test]
fn answers_of_init_fit_together() {
    // ImageNet; stretched; blue, green, red, and the first class, by their values.
    let Some((_, settings)) = init_detector(&["1\n", "1\n", "bgr\n", "0\n"]) else { return };
    let has = |start: &str| settings.iter().find(|line| line.starts_with(start));
    for line in ["resize = \"stretch\"", "channels = \"bgr\"", "first_class = 0", "mean = [103.53, 116.28, 123.675]"] {
        let found = has(line).unwrap_or_else(|| panic!("{line} is missing: {settings:#?}"));
        assert!(found.ends_with("as you answered") && !found.contains("CHECK"), "{found}");
    }
    // A border belongs to another way of resizing.
    assert!(has("pad").is_none(), "{settings:#?}");
    // Caffe means blue, green, red, so the order is not asked.
    let Some((seen, settings)) = init_detector(&["caffe\n", "3\n", "\n"]) else { return };
    assert!(!seen.contains("`channels` of"), "{seen}");
    let has = |start: &str| settings.iter().find(|line| line.starts_with(start));
    for line in ["resize = \"crop\"", "channels = \"bgr\"", "mean = [103.939, 116.779, 123.68]"] {
        assert!(has(line).is_some_and(|line| !line.contains("CHECK")), "{line}: {settings:#?}");
    }
    assert!(has("first_class = 1").is_some_and(|line| line.contains("# CHECK")), "Enter: {settings:#?}");
}

/// Control-D: the input ends.
#[test]
fn init_asks_no_more_after_the_end_of_the_input() {
    let Some((seen, settings)) = init_detector(&["\u{4}"]) else { return };
    assert_eq!(seen.matches("for the default: ").count(), 1, "{seen}");
    assert!(!settings.iter().any(|line| line.contains("as you answered")), "{settings:#?}");
}

#[test]
fn a_replay_on_a_terminal_counts_the_recordings() {
    let folder = TempDir::new().expect("a folder");
    let config = config(folder.path());
    // Captures are made by a server.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let captures = folder.path().join("captures");
    runtime.block_on(async {
        let text = std::fs::read_to_string(&config).expect("there");
        let server = plimsoll_tests::Server::start(&text).await;
        for _ in 0..2 {
            let reply = server.infer("echo", "", body(&[("x", &[1], &[1.0])])).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
        wait_until(|| files(&captures, "json").len() == 2, "two captures").await;
        server.stop().await;
    });
    let captures = captures.to_str().expect("text");
    let Some(seen) = on_terminal("", &[], &["replay", captures, "--config", &config]) else { return };
    assert!(seen.contains(&format!("running recording 2 of 2 …\r\n{BACK}")), "{seen:?}");
    assert!(seen.contains("high water"), "{seen}");
}
