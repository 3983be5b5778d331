//! Requests with many items in the list of the latest requests, in recordings, in `plimsoll infer` and in the log.

use std::path::Path;

use plimsoll_tests::{Server, shared_cache};
use serde_json::json;

use crate::cli::{run, text};
use crate::collector::{Collector, attribute, children, server_span};
use crate::process::{PATIENCE, Setup};
use crate::recorder::wait_until;
use crate::steps_pipelines::{GATHER, IN, config, rows, server};

const SPLIT: &str = r#"{ name = "split", kind = "transform", plugin = "transformer", items = true, partial = true, max_items = 1000, config = { split = true } }"#;
const EACH: &str = r#"{ name = "each", kind = "transform", plugin = "transformer", config = { parameter = "each" } }"#;

/// A caller chooses how many items there are, so each of them must not have a place of its own in the list.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_many_items_is_listed_with_as_many_stages_as_steps() {
    let server = server(&[IN, SPLIT, EACH, GATHER]).await;
    let reply = server.infer("p", "?each=panic&at=7", rows(1000)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["items"].as_array().map(Vec::len), Some(1000));
    let list = server.get("/v1/requests").await.json();
    let stages = list["requests"][0]["stages"].as_array().expect("stages").clone();
    let names: Vec<_> = stages.iter().map(|stage| (stage["stage"].clone(), stage["outcome"].clone())).collect();
    // The item that failed is seen, although the request was answered.
    let wanted = [("in", "ok"), ("split", "ok"), ("each", "trap"), ("out", "ok")];
    assert_eq!(names, wanted.map(|(stage, outcome)| (json!(stage), json!(outcome))));
    assert_eq!(list["requests"][0]["outcome"], "ok", "{list}");
}

/// The same for the spans of a trace: the first runs have one each, and the number of the others is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_has_spans_of_the_first_runs_only() {
    let collector = Collector::start().await;
    let telemetry = format!("[telemetry]\nendpoint = {:?}\nprotocol = \"grpc\"\n", collector.url);
    let server = Server::start(&(telemetry + &config("", &[IN, SPLIT, EACH, GATHER]))).await;
    assert_eq!(server.infer("p", "", rows(600)).await.status, 200);
    server.app.records.traces.as_ref().expect("on").flush(PATIENCE).await;
    let spans = collector.wait_for(513).await;
    let span = server_span(&spans);
    assert_eq!((spans.len(), children(&spans, span).len()), (513, 512));
    // 600 items, and one run of each of the other steps.
    assert_eq!(attribute(&span.attributes, "plimsoll.dropped_runs"), "91");
}

/// A file with this body.
fn body_of(setup: &Setup, count: usize) -> String {
    std::fs::write(setup.folder.path().join("body"), rows(count)).expect("written");
    setup.path("body")
}

#[test]
fn infer_prints_a_row_for_each_step() {
    let cache = format!("cache_dir = {:?}\n", shared_cache());
    let setup = Setup::with(&(cache + &config("", &[IN, SPLIT, EACH, GATHER])));
    let output = run(&["infer", "p", &body_of(&setup, 3), "--config", &setup.path("plimsoll.toml")]);
    let printed = text(&output.stdout);
    assert!(output.status.success() && printed.contains("item 2 of 7"), "{printed}{}", text(&output.stderr));
    let table = printed.lines().skip_while(|line| !line.starts_with("stage "));
    let rows: Vec<Vec<&str>> = table.skip(1).map(|line| line.split_whitespace().collect()).collect();
    let wanted =
        [("in", "given-tensors"), ("split", "transformer"), ("each", "transformer"), ("out", "gather-postprocess")];
    assert_eq!(rows.iter().map(|row| (row[0], row[1])).collect::<Vec<_>>(), wanted, "{printed}");
    assert!(rows.iter().all(|row| row[2] == "ok" && row[4].parse::<u64>().is_ok_and(|mark| mark > 0)), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_marks_of_all_steps() {
    let cache = format!("cache_dir = {:?}\n", shared_cache());
    let setup = Setup::with(&(cache + &config("", &[IN, SPLIT, EACH, GATHER])));
    let process = setup.serve();
    let url = format!("{}/v1/pipelines/p/infer?each=need&bytes=4000000&at=2", process.url());
    let reply = reqwest::Client::new().post(url).body(rows(4)).send().await.expect("a reply");
    let marks = reply.headers()["x-plimsoll-memory"].to_str().expect("text").replace(", ", ",");
    assert!(marks.starts_with("in=") && marks.contains(",each=") && marks.contains(",out="), "{marks}");
    // The highest mark of the items is that of the step, in the reply as in the log.
    let each = marks.split(",each=").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
    assert!(each > Some(4_000_000_u64), "{marks}");
    process.wait_for(&format!("step_bytes=\"{marks}\""));
}

/// A request is recorded and captured, and run again as a whole or from the input of one of its steps.
#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_request_is_run_again_as_a_whole_or_one_step_of_it() {
    let cache = format!("cache_dir = {:?}\n", shared_cache());
    let record = "[pipelines.p.record]\ndir = \"kept\"\n[pipelines.p.capture]\ndir = \"captured\"\nshare = \"100%\"\n";
    let setup = Setup::with(&(cache + &config("", &[IN, SPLIT, EACH, GATHER]) + record));
    let mut process = setup.serve();
    let url = format!("{}/v1/pipelines/p/infer?each=panic&at=1", process.url());
    let reply = reqwest::Client::new().post(url).body(rows(3)).send().await.expect("a reply");
    assert_eq!(reply.json::<serde_json::Value>().await.expect("JSON")["items"][1]["error"]["step"], "each");
    let dir = setup.path("kept");
    let files = |dir: &str| std::fs::read_dir(Path::new(dir)).map_or(0, |files| files.flatten().count());
    let captured = setup.path("captured");
    wait_until(|| files(&dir) == 2 && files(&captured) == 3, "the recording and the capture").await;
    // A file may be there before its content.
    process.signal("-INT");
    process.wait_for_exit();
    let again = run(&["replay", &captured, "--config", &setup.path("plimsoll.toml")]);
    assert!(text(&again.stdout).contains("1 of 1 replies have the same bytes"), "{}", text(&again.stdout));
    let replay = |more: &[&str]| {
        let output = run(&[&["replay", &dir, "--config", &setup.path("plimsoll.toml")], more].concat());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let rows = |printed: &str| -> Vec<Vec<String>> {
        printed
            .lines()
            .skip(1)
            .map(|line| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect())
            .collect()
    };
    let (code, printed, log) = replay(&[]);
    assert_eq!(code, Some(0), "{printed}{log}");
    let stages: Vec<_> = rows(&printed).iter().map(|row| (row[1].clone(), row[3].clone(), row[5].clone())).collect();
    let wanted = [("in", "ok"), ("split", "ok"), ("each", "trap"), ("out", "ok")];
    assert_eq!(
        stages,
        wanted.map(|(step, outcome)| (step.to_owned(), outcome.to_owned(), outcome.to_owned())),
        "{printed}"
    );
    // Only the step that crashed, once for each item, on what it got then.
    let (code, printed, log) = replay(&["--step", "each"]);
    assert_eq!(code, Some(0), "{printed}{log}");
    let found = rows(&printed);
    let of = |row: &Vec<String>| {
        (row[1].clone(), row[2].clone(), row[4].split(':').next().expect("text").to_owned(), row[5].clone())
    };
    let wanted = ["ok", "trap", "ok"].iter().enumerate();
    let wanted: Vec<_> = wanted
        .map(|(item, outcome)| ("each".to_owned(), item.to_string(), (*outcome).to_owned(), "x fp32[1, 2]".to_owned()))
        .collect();
    assert_eq!(found.iter().map(of).collect::<Vec<_>>(), wanted, "{printed}");
    for (step, tensors) in [("in", "bytes"), ("split", "x fp32[3, 2]"), ("out", "0/x fp32[1, 2]")] {
        let (code, printed, log) = replay(&["--step", step]);
        let found = rows(&printed);
        assert_eq!((code, found.len()), (Some(0), 1), "{printed}{log}");
        assert!(found[0][2] == "-" && found[0][4] == "ok" && found[0][5].contains(tensors), "{printed}");
    }
    for (more, words) in [
        (vec!["--step", "ghost"], "has no step `ghost`; its steps are in, split, each, out"),
        (vec!["--step", "each", "--chip", "a", "--chip", "b"], "has no chip `a`; it has default"),
    ] {
        let (code, printed, log) = replay(&more);
        assert!(code == Some(1) && log.contains(words), "{printed}{log}");
    }
}
