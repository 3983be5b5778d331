//! A flood of requests without a token does not flood the log: some lines are written, the others are counted, and the metric
//! is exact.

use plimsoll_tests::made_token;

use crate::process::{Process, Setup};

/// Starts a server with a log in JSON, whose token of administration is the one that it makes.
fn serve(setup: &Setup) -> Process {
    let mut command = crate::served_folder::command(setup.folder.path());
    command.args(["--log", "json", "serve", "--listen", "127.0.0.1:0", "--config", "plimsoll.toml"]);
    Process::with_own_environment(&mut command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_failed_authentications_is_counted_and_does_not_flood_the_log() {
    const REQUESTS: u64 = 2_000;
    let setup = Setup::new("drain = \"0s\"");
    let mut process = serve(&setup);
    let log = process.wait_for("listening on http://");
    let at = log.find("listening on http://").expect("found") + "listening on ".len();
    let url = log[at..].split('"').next().expect("an address").to_owned();
    let client = reqwest::Client::new();
    for number in 0..REQUESTS {
        let request = client.put(format!("{url}/v1/plugins/p{number}"));
        let request = if number % 2 == 0 { request } else { request.bearer_auth("a-wrong-token-of-nobody") };
        assert_eq!(request.send().await.expect("an answer").status(), 401);
    }
    // A change beside it is in the log.
    let reply = client.post(format!("{url}/v2/repository/models/p/load")).bearer_auth(made_token(setup.folder.path()));
    assert_eq!(reply.send().await.expect("an answer").status(), 200);
    let metrics = client.get(format!("{url}/metrics")).bearer_auth(made_token(setup.folder.path()));
    let metrics = metrics.send().await.expect("an answer").text().await.expect("text");
    for reason in ["missing", "wrong"] {
        let name = "plimsoll_authentication_failures_total{realm=\"administration\",";
        let line = format!("{name}reason=\"{reason}\"}} {}\n", REQUESTS / 2);
        assert!(metrics.contains(&line), "{line} is missing in {metrics}");
    }
    process.signal("-TERM");
    let (code, log) = process.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    let events: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let audit = || events.iter().filter(|event| event["target"] == "plimsoll::audit");
    let written = audit().filter(|event| event["message"] == "authentication failed").count() as u64;
    let counted: u64 = audit().filter_map(|event| event["count"].as_u64()).sum();
    assert_eq!(written + counted, REQUESTS, "{log}");
    assert!((1..REQUESTS / 4).contains(&written), "{written} lines");
    let of_address = |event: &&serde_json::Value| event["count"].is_u64() && event["client"] == "127.0.0.1";
    assert!(audit().any(|event| of_address(&event)), "{log}");
    assert!(audit().any(|event| event["action"] == "load"), "{log}");
}
