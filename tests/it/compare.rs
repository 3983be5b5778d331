//! `/v1/memory/compare`: which callers need the memory, and if the chip or its requests explain a difference.

use plimsoll_tests::{Reply, Server, guests_config};
use serde_json::{Value, json};

const IMAGE: usize = 400_000;

/// A pipeline with `leaker` and two identical chips.
fn two_chips() -> String {
    let one = "[pipelines.p.chips.echo]\nplugin = \"echo-infer\"\n";
    let two = "[pipelines.p.chips.a]\nplugin = \"echo-infer\"\n[pipelines.p.chips.b]\nplugin = \"echo-infer\"\n";
    guests_config("leaker", "")
        .replace(one, two)
        .replace("[pipelines.p.preprocess]", "[pipelines.p]\ndefault_chip = \"a\"\n[pipelines.p.preprocess]")
}

async fn send(server: &Server, header: &str, caller: &str, chip: &str, malformed: bool) -> Reply {
    let mut image = vec![0_u8; IMAGE];
    image[..2].copy_from_slice(if malformed { b"no" } else { &[0xFF, 0xD8] });
    let headers: &[(&str, &str)] = if caller.is_empty() { &[] } else { &[(header, caller)] };
    server.send("POST", &format!("/v1/pipelines/p/infer?chip={chip}"), headers, image).await
}

/// Sends `count` requests, of which `malformed` are malformed.
async fn load(server: &Server, caller: &str, chip: &str, count: usize, malformed: usize) {
    for turn in 0..count {
        let reply = send(server, "x-plimsoll-caller", caller, chip, turn < malformed).await;
        assert_eq!(reply.status, if turn < malformed { 422 } else { 200 }, "{}", reply.text);
    }
}

async fn pair(server: &Server, by: &str, stage: &str, levels: [&str; 2]) -> Value {
    let comparison = server.get(&format!("/v1/memory/compare?by={by}&pipeline=p")).await.json();
    let stages = comparison["stages"].as_array().expect("stages");
    let stage = stages.iter().find(|found| found["stage"] == stage).expect("the stage");
    let pairs = stage["pairs"].as_array().expect("pairs");
    let wanted = |pair: &&Value| {
        let found = [&pair["more"], &pair["less"]];
        levels.iter().all(|level| found.iter().any(|name| name.as_str().expect("text").starts_with(level)))
    };
    pairs.iter().find(wanted).unwrap_or_else(|| panic!("no pair {levels:?}: {comparison:#}")).clone()
}

/// The incident: the plugins are the same on both chips. 90 % of the images of caller X are malformed, and X sends most
/// of its images to `b`.
#[tokio::test(flavor = "multi_thread")]
async fn outcome_and_caller_explain_the_incident_and_the_chip_does_not() {
    let server = Server::start(&two_chips()).await;
    load(&server, "X", "b", 180, 162).await;
    load(&server, "X", "a", 20, 18).await;
    for (caller, requests) in [("Y", 100), ("Z", 50)] {
        for chip in ["a", "b"] {
            load(&server, caller, chip, requests, requests / 50).await;
        }
    }

    let chip = pair(&server, "chip", "preprocess", ["a", "b"]).await;
    assert_eq!((&chip["more"], &chip["less"]), (&json!("b"), &json!("a")), "{chip:#}");
    let raw = chip["difference"].as_f64().expect("bytes");
    // 165 of 330 runs on b end in the error path, and 21 of 170 on a. The error path keeps one more image.
    let expected = (165.0 / 330.0 - 21.0 / 170.0) * IMAGE as f64;
    assert!((raw - expected).abs() < 0.25 * expected, "{raw}, expected {expected}");
    for standard in chip["standardised"].as_array().expect("a list") {
        let rest = standard["difference"].as_f64().expect("common strata");
        assert!(rest.abs() < 0.1 * raw, "{standard:#}");
        assert_eq!(standard["coverage"], 1.0, "{standard:#}");
    }
    assert_eq!(chip["explained_by"], json!(["outcome", "caller"]));
    let sentence = chip["sentence"].as_str().expect("a sentence");
    assert!(sentence.ends_with("so outcome and caller, not the chip, explain it."), "{sentence}");
    assert!(sentence.contains("50 % of the runs of b end in invalid_input, 12 % of those of a"), "{sentence}");
    assert!(sentence.contains("55 % of the runs of b come from X, 12 % of those of a"), "{sentence}");

    // The error path itself needs more memory, for every caller and on every chip.
    let outcome = pair(&server, "outcome", "preprocess", ["invalid_input", "ok"]).await;
    assert_eq!((&outcome["more"], &outcome["explained_by"]), (&json!("invalid_input"), &json!(["outcome"])));
    let caller = pair(&server, "caller", "preprocess", ["X", "Y"]).await;
    assert_eq!((&caller["more"], &caller["explained_by"]), (&json!("X"), &json!(["outcome"])), "{caller:#}");
    // Only good images reach inference.
    let infer = pair(&server, "chip", "infer", ["a", "b"]).await;
    assert!(infer["sentence"].as_str().expect("text").contains("need the same"), "{infer:#}");

    // The list of callers names the customer that needs the most memory.
    let callers = server.get("/v1/memory").await.json()["callers"].clone();
    let first = &callers["by_bytes"][0];
    assert_eq!((&first["caller"], &first["requests"], &first["requests_error"]), (&json!("X"), &json!(200), &json!(0)));
    assert_eq!(first["outcomes"], json!({"invalid_input": 180, "ok": 20}));
    let highest = server.memory_row("preprocess", "invalid_input").await.expect("a row")["max"].clone();
    assert_eq!(first["max"], highest);
    let names: Vec<_> = callers["by_count"].as_array().expect("a list").iter().map(|row| &row["caller"]).collect();
    assert_eq!(names, ["X", "Y", "Z"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_compared_on_the_same_mix_of_requests() {
    let site = plimsoll_tests::Site::new("");
    let server = site.serve().await;
    for mark in [0, 9] {
        if mark > 0 {
            let put = server.send("PUT", "/v1/plugins/stamp", &[], plimsoll_tests::stamped(mark)).await;
            assert_eq!(put.status, 200, "{}", put.text);
        }
        // Version 9 allocates 8 MiB for the parameter `do=grow`, which only X sends.
        for turn in 0..40 {
            let (query, caller) = if turn % 2 == 0 { ("?do=grow", "X") } else { ("", "Y") };
            let path = format!("/v1/pipelines/p/infer{query}");
            let reply = server.send("POST", &path, &[("x-plimsoll-caller", caller)], Vec::new()).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
    }
    let version = pair(&server, "version", "preprocess", ["stamp@", "stamp@"]).await;
    assert_eq!(version["explained_by"], json!(["version"]), "{version:#}");
    let difference = version["difference"].as_f64().expect("bytes");
    assert!((4e6..5e6).contains(&difference), "half of the runs need 8 MiB more: {difference}");
    let digest = plimsoll_runtime::identity::digest(&plimsoll_tests::stamped(9));
    assert!(version["more"].as_str().expect("text").ends_with(&digest[..12]), "{version:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_callers_is_bounded_and_secrets_are_shown_as_digests() {
    let server = Server::start(&(two_chips() + "[memory]\ntop_callers = 4\n")).await;
    for turn in 0..120 {
        let name = format!("passer-by-{turn}");
        let reply = send(&server, "x-plimsoll-caller", &name, "a", false).await;
        assert_eq!(reply.status, 200);
        if turn % 3 == 0 {
            send(&server, "x-plimsoll-caller", "regular", "a", true).await;
        }
    }
    let report = server.get("/v1/memory").await.json();
    for list in ["by_bytes", "by_count"] {
        let rows = report["callers"][list].as_array().expect("a list");
        assert_eq!((rows.len(), &rows[0]["caller"]), (4, &json!("regular")), "{rows:#?}");
    }
    let comparison = server.get("/v1/memory/compare?by=caller").await.json();
    let stages = comparison["stages"].as_array().expect("stages");
    let levels: Vec<_> = stages[0]["levels"].as_array().expect("levels").iter().map(|row| &row["level"]).collect();
    assert!(levels.contains(&&json!("(other)")) && levels.contains(&&json!("regular")), "{levels:?}");
    let runs = stages[0]["levels"].as_array().expect("levels").iter().map(|row| row["runs"].as_u64().expect("runs"));
    assert!(runs.sum::<u64>() <= 160 && stages[0]["levels_left_out"].as_u64().expect("a number") <= 9 + 4 * 4);

    let server = Server::start(&(two_chips() + "[memory]\ncaller_header = \"Authorization\"\n")).await;
    send(&server, "authorization", "Bearer hunter2", "a", false).await;
    send(&server, "authorization", "", "a", false).await;
    let report = server.get("/v1/memory").await;
    assert!(!report.text.contains("hunter2"), "{}", report.text);
    let digest = plimsoll_runtime::identity::digest(b"Bearer hunter2");
    let names: Vec<_> = report.json()["callers"]["by_count"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["caller"].as_str().expect("text").to_owned())
        .collect();
    assert_eq!(names, ["(none)".to_owned(), format!("sha256:{}", &digest[..12])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_parameters_and_settings_are_rejected_with_a_hint() {
    let server = Server::start(&two_chips()).await;
    for (path, status, code, words) in [
        ("/v1/memory/compare?by=size", 400, "invalid_parameter", "`chip`, `version`, `caller` and `outcome`"),
        ("/v1/memory/compare", 400, "invalid_parameter", "add `?by=`"),
        ("/v1/memory?format=xml", 400, "invalid_parameter", "use `json` or `csv`"),
        ("/v1/memory?pipelin=p", 400, "invalid_parameter", "no parameter `pipelin`"),
        ("/v1/memory?format=csv&format=json", 400, "invalid_parameter", "given twice"),
        ("/v1/memory?pipeline=q", 404, "not_found", "the pipelines are p"),
    ] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{path}: {}", reply.text);
        assert!(reply.json()["detail"].as_str().expect("text").contains(words), "{path}: {}", reply.text);
    }
    for (table, words) in [
        ("[memory]\ntop_callers = 0\n", "memory.top_callers: must be a number from 1"),
        ("[memory]\ncaller_header = \"a b\"\n", "`a b` is not a valid header name"),
        ("[pipelines.p.record]\nmax_bytes = 0\n", "pipelines.p.record.max_bytes: must be greater than 0"),
        ("[pipelines.p.record]\nmax_age = \"0s\"\n", "pipelines.p.record.max_age: must be greater than 0"),
        ("[pipelines.p.record]\nsize = 1\n", "unknown field `size`"),
    ] {
        let message = Server::rejection(&(two_chips() + table)).await;
        assert!(message.contains(words), "{table}: {message}");
    }
}
