//! The memory reports of several servers are added up, by `plimsoll top` and `plimsoll check --report`.

use std::process::{Command, Output};

use crate::cli::text;
use crate::fleet_hosts::{Host, TOKEN};
use crate::process::BINARY;

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_remove("RUST_LOG").env("PLIMSOLL_ADMIN_TOKEN", TOKEN).output().expect("it starts")
}

/// The count of runs in the line of a stage.
fn count(shown: &str, stage: &str) -> u64 {
    let line = shown.lines().find(|line| line.starts_with("p ") && line.contains(stage)).expect(shown);
    line.split_whitespace().nth(5).expect("a count").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_of_several_servers_are_added_up() {
    let hosts = [Host::new(""), Host::new("")];
    for _ in 0..3 {
        hosts[0].reply();
    }
    for _ in 0..2 {
        hosts[1].reply();
    }
    let top = |servers: &[&str]| {
        let mut arguments = vec!["top", "--once"];
        servers.iter().for_each(|server| arguments.extend(["--server", server]));
        let output = run(&arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let (one, other) = (top(&[&hosts[0].url]), top(&[&hosts[1].url]));
    let both = top(&[&hosts[0].url, &hosts[1].url]);
    for stage in ["preprocess", "infer", "postprocess"] {
        assert_eq!(count(&both, stage), count(&one, stage) + count(&other, stage), "{both}");
    }
    assert!(both.lines().next().expect("a line").contains("2 servers"), "{both}");
    // A server that does not answer is named, and hides nothing of the others.
    let with_dead = top(&[&hosts[0].url, "http://127.0.0.1:9"]);
    assert!(with_dead.contains("no answer: http://127.0.0.1:9"), "{with_dead}");
    assert_eq!(count(&with_dead, "infer"), count(&one, "infer"));

    let folder = hosts[0].site.folder.path();
    let save = async |name: &str, query: &str| {
        let mut paths = Vec::new();
        for (at, host) in hosts.iter().enumerate() {
            let client = reqwest::Client::new().get(format!("{}/v1/memory{query}", host.url)).bearer_auth(TOKEN);
            let body = client.send().await.expect("an answer").text().await.expect("text");
            let path = folder.join(format!("{name}-{at}.json"));
            std::fs::write(&path, body).expect("written");
            paths.push(path.to_str().expect("text").to_owned());
        }
        paths
    };
    let config = hosts[0].site.config.to_str().expect("text");
    let paths = save("marks", "?marks=true").await;
    let check = |reports: &[&str]| {
        let mut arguments = vec!["check", "--config", config];
        reports.iter().for_each(|report| arguments.extend(["--report", report]));
        run(&arguments)
    };
    let runs = |output: &Output| {
        let shown = text(&output.stdout);
        let line = shown.lines().find(|line| line.starts_with("pipelines.p.preprocess")).expect(&shown).to_owned();
        line.split_whitespace().nth(2).expect("a number").parse::<u64>().expect("a number")
    };
    let alone: u64 = paths.iter().map(|path| runs(&check(&[path]))).sum();
    let together = check(&[&paths[0], &paths[1]]);
    assert!(together.status.success(), "{}", text(&together.stderr));
    assert_eq!(runs(&together), alone);
    let without = save("plain", "").await;
    let failed = check(&[&without[0], &without[1]]);
    assert!(!failed.status.success() && text(&failed.stderr).contains("?marks=true"), "{}", text(&failed.stderr));
}
