//! What the console shows: the latest requests, what happened when, recordings, the progress of a canary, the configuration
//! and leak reports.

use std::time::Duration;

use plimsoll_tests::{Server, Site, TempDir, guests_config, stamped};
use serde_json::Value;

/// The members of a list as text.
fn texts<'a>(list: &'a Value, member: &str) -> Vec<&'a str> {
    list.as_array().expect("a list").iter().map(|item| item[member].as_str().expect("text")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_requests_are_listed_with_their_stages_and_outcomes() {
    let server = Server::start(&guests_config("tester", "max_memory = \"32MiB\"")).await;
    for (id, query) in [("one", "do=ok"), ("two", "do=panic"), ("three", "do=ok"), ("<b>four", "do=invalid")] {
        let path = format!("/v1/pipelines/p/infer?{query}");
        server.send("POST", &path, &[("x-request-id", id), ("x-plimsoll-caller", "acme")], Vec::new()).await;
    }
    let list = async |query: &str| server.get(&format!("/v1/requests{query}")).await.json()["requests"].clone();
    let all = list("").await;
    assert_eq!(texts(&all, "id"), ["<b>four", "three", "two", "one"], "the newest first");
    assert_eq!(texts(&list("?limit=2").await, "id"), ["<b>four", "three"]);
    assert_eq!(texts(&list("?outcome=trap").await, "id"), ["two"]);
    assert_eq!(texts(&list("?outcome=ok&limit=1").await, "id"), ["three"]);
    assert_eq!(list("?outcome=deadline").await, serde_json::json!([]));
    let (trap, ok) = (&all[2], &all[1]);
    let names = ["pipeline", "chip", "caller", "outcome"].map(|name| trap[name].as_str().expect("text"));
    assert_eq!((names, &trap["status"]), (["p", "echo", "acme", "trap"], &500.into()));
    assert_eq!((&ok["status"], &all[0]["status"]), (&200.into(), &422.into()));
    assert_eq!(texts(&ok["stages"], "stage"), ["preprocess", "infer", "postprocess"]);
    assert_eq!((texts(&trap["stages"], "plugin"), texts(&trap["stages"], "outcome")), (vec!["tester"], vec!["trap"]));
    let stage = &ok["stages"][0];
    assert!(
        stage["high_water"].as_u64() >= stage["initial"].as_u64() && stage["initial"].as_u64() > Some(0),
        "{stage}"
    );
    assert!(ok["seconds"].as_f64() >= stage["seconds"].as_f64() && stage["seconds"].as_f64() > Some(0.0), "{ok}");
    assert!(ok["started"].as_str().expect("text").starts_with("20"), "{ok}");
    for (query, words) in [
        ("?limit=0", "from 1 to 200"),
        ("?limit=201", "from 1 to 200"),
        ("?limit=many", "from 1 to 200"),
        ("?outcome=bad", "memory_limit"),
        ("?outcom=ok", "did you mean `outcome`"),
    ] {
        let reply = server.get(&format!("/v1/requests{query}")).await;
        assert!(reply.code() == "invalid_parameter" && reply.text.contains(words), "{query}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_two_hundred_requests_are_kept() {
    let site = Site::new("");
    let server = site.serve().await;
    for number in 0..230 {
        let id = number.to_string();
        server.send("POST", "/v1/pipelines/p/infer", &[("x-request-id", id.as_str())], Vec::new()).await;
    }
    let list = server.get("/v1/requests").await.json();
    let wanted: Vec<_> = (30..230).rev().map(|number| number.to_string()).collect();
    assert_eq!(
        (texts(&list["requests"], "id"), &list["kept"]),
        (wanted.iter().map(String::as_str).collect(), &200.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_opened_after_an_incident_can_show_it() {
    let server = Server::start(&guests_config("tester", "max_memory = \"32MiB\"")).await;
    for query in ["?do=ok", "?do=ok", "?do=alloc&bytes=6000000", "?do=grow", "?do=panic"] {
        server.infer("p", query, "").await;
    }
    let series = server.get("/v1/memory/series").await.json();
    let preprocess = &series["stages"][0];
    assert_eq!((&preprocess["stage"], &preprocess["chip"]), (&"preprocess".into(), &"echo".into()));
    let steps: Vec<_> = preprocess["steps"].as_object().expect("steps").keys().cloned().collect();
    assert_eq!(steps, ["1m", "1s", "30m"]);
    // The test may run around the end of an interval.
    let sum = |points: &Value, column: &str| -> u64 {
        points[column].as_array().map_or(0, |column| column.iter().filter_map(Value::as_u64).sum())
    };
    let largest = |points: &Value, column: &str| {
        points[column].as_array().expect("a column").iter().filter_map(Value::as_u64).max().expect("a point")
    };
    for step in ["1s", "1m", "30m"] {
        let points = &preprocess["steps"][step];
        assert_eq!(sum(points, "count"), 5, "{step}: {points}");
        // The growth that the cap refused is not part of the mark.
        assert!((6_000_000..=32 << 20).contains(&largest(points, "max")), "{points}");
        let requests = &series["requests"][0]["steps"][step];
        let outcomes = |outcome: &str| sum(&requests["outcomes"], outcome);
        assert_eq!((outcomes("ok"), outcomes("memory_limit"), outcomes("trap")), (3, 1, 1), "{requests}");
        let longest = requests["max_seconds"][0].as_f64().expect("seconds");
        assert!(longest > 0.0 && requests["p99_seconds"][0].as_f64() <= Some(longest), "{requests}");
    }
    // Only the stages that were reached are counted.
    assert_eq!(sum(&series["stages"][1]["steps"]["30m"], "count"), 3);

    let one = server.get("/v1/memory/series?step=1m&pipeline=p").await.json();
    assert_eq!(one["stages"][0]["steps"].as_object().expect("steps").keys().collect::<Vec<_>>(), ["1m"]);
    let report = server.get("/v1/memory?series=30m").await.json();
    assert_eq!(sum(&report["series"]["stages"][0]["steps"]["30m"], "count"), 5);
    let load = &report["load"];
    assert_eq!((&load["running"], &load["queued"]), (&0.into(), &0.into()), "{load}");
    assert_eq!((&load["max_concurrency"], &load["max_queue"]), (&32.into(), &256.into()), "{load}");
    assert!(server.get("/v1/memory").await.json().get("series").is_none());
    for path in ["/v1/memory/series?step=2s", "/v1/memory?series=2s"] {
        let reply = server.get(path).await;
        assert!(reply.code() == "invalid_parameter" && reply.text.contains("`1s`, `1m` or `30m`"), "{}", reply.text);
    }
    assert_eq!(server.get("/v1/memory/series?pipeline=q").await.code(), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_run_and_wait_are_counted() {
    let config = guests_config("tester", "max_memory = \"32MiB\"");
    let server = std::sync::Arc::new(Server::start(&format!("[server]\nmax_concurrency = 2\n{config}")).await);
    let mut sent = Vec::new();
    for _ in 0..5 {
        let server = std::sync::Arc::clone(&server);
        sent.push(tokio::spawn(async move { server.infer("p", "?do=sleep&ms=2000", "").await.status }));
    }
    let mut load = Value::Null;
    for _ in 0..400 {
        load = server.get("/v1/memory").await.json()["load"].clone();
        if load["running"] == 2 && load["queued"] == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((&load["running"], &load["queued"]), (&2.into(), &3.into()), "{load}");
    for sent in sent {
        assert_eq!(sent.await.expect("no panic"), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_listed_and_returned_as_bytes_that_no_browser_runs() {
    let folder = TempDir::new().expect("a folder");
    let table = format!("[pipelines.p.record]\ndir = {:?}\n", folder.path().join("recordings"));
    let server = Server::start(&(guests_config("tester", "max_memory = \"32MiB\"") + &table)).await;
    let evil = b"<script>alert(1)</script>".to_vec();
    for (query, body) in [("?do=ok", b"first".to_vec()), ("?do=panic", evil.clone())] {
        let path = format!("/v1/pipelines/p/infer{query}");
        server.send("POST", &path, &[("content-type", "text/html")], body).await;
    }
    let mut list = Value::Null;
    for _ in 0..400 {
        list = server.get("/v1/recordings").await.json();
        if list["recordings"].as_array().is_some_and(|recordings| recordings.len() == 2) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(list["pipelines"], serde_json::json!([{ "pipeline": "p", "folder": folder.path().join("recordings") }]));
    let newest = &list["recordings"][0];
    assert_eq!((&newest["facts"]["outcome"], &newest["bytes"]), (&"trap".into(), &evil.len().into()), "{list}");
    assert_eq!(list["recordings"][1]["facts"]["kept_for"][0], "high_water preprocess", "{list}");
    let limited = server.get("/v1/recordings?limit=1").await.json();
    assert_eq!(limited["recordings"], serde_json::json!([newest]));
    let id = newest["id"].as_str().expect("an id");
    let reply = server.get(&format!("/v1/recordings/{id}")).await;
    assert_eq!((reply.status, &reply.bytes), (200, &evil));
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("x-content-type-options", "nosniff"),
        ("content-disposition", "attachment"),
        ("content-security-policy", "default-src 'none'; sandbox"),
    ] {
        assert_eq!(reply.headers[name], value, "{name}");
    }
    std::fs::write(folder.path().join("secret.json"), "{}").expect("written");
    std::fs::write(folder.path().join("secret.body"), "secret").expect("written");
    let unknown = "018bcfe5-6800-7000-8000-000000000000";
    for id in [unknown, "..%2Fsecret", "%2e%2e%2fsecret", "secret", "%FF", &format!("{id}.body"), &format!("{id}%00")] {
        let reply = server.get(&format!("/v1/recordings/{id}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"), "{id}");
    }
    assert_eq!(server.get("/v1/recordings?limit=0").await.code(), "invalid_parameter");
    // A folder that is gone is a line and not the end of the list.
    std::fs::rename(folder.path().join("recordings"), folder.path().join("away")).expect("moved");
    let reply = server.get("/v1/recordings").await;
    let error = reply.json()["pipelines"][0]["error"].as_str().unwrap_or_default().to_owned();
    assert!(reply.status == 200 && error.contains("recordings") && error.contains("exist"), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_recorders_lists_nothing() {
    let site = Site::new("");
    let server = site.serve().await;
    let list = server.get("/v1/recordings").await.json();
    assert_eq!(list, serde_json::json!({ "pipelines": [], "recordings": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_progress_of_a_canary_has_its_limits_and_the_time_that_is_left() {
    let site = Site::new("canary = { share = \"50%\", requests = 100000, memory_factor = 3.0 }");
    let server = site.serve().await;
    server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await;
    let canary = async || server.get("/v1/plugins/stamp").await.json()["canary"][0].clone();
    let before = canary().await;
    assert_eq!(
        (&before["share"], &before["failure_factor"], &before["memory_factor"]),
        (&0.5.into(), &2.0.into(), &3.0.into())
    );
    assert_eq!((&before["p99_ratio"], &before["seconds_left"]), (&Value::Null, &Value::Null), "{before}");
    for _ in 0..60 {
        server.infer("p", "", "").await;
    }
    let after = canary().await;
    assert_eq!(
        (&after["p99_ratio"], &after["failure_ratio"], &after["wanted"]),
        (&1.0.into(), &Value::Null, &100_000.into())
    );
    let (seconds, requests) =
        (after["seconds"].as_f64().expect("seconds"), after["new"]["requests"].as_f64().expect("a number"));
    let left = after["seconds_left"].as_f64().expect("an estimate");
    assert!((left - (100_000.0 - requests) * seconds / requests).abs() < 1.0, "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_in_force_is_shown_without_secrets() {
    let stage = "config = { api_key = \"hunter2\", width = 3 }\n# hunter2\n";
    let server = Server::start(&guests_config("tester", stage)).await;
    let reply = server.get("/v1/config").await;
    let toml = reply.json()["toml"].as_str().expect("text").to_owned();
    assert!(toml.contains("api_key = \"***\"") && toml.contains("width = 3"), "{toml}");
    assert!(!reply.text.contains("hunter2"), "{}", reply.text);
    let engine = reply.json()["versions"]["wasmtime"].as_str().expect("a version").to_owned();
    assert!(semver::Version::parse(&engine).is_ok(), "{engine}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_of_the_leak_laboratory_are_read_from_the_data_folder() {
    let site = Site::new("");
    let server = site.serve().await;
    assert_eq!(server.get("/v1/leaks").await.json()["reports"], serde_json::json!([]));
    let folder = site.folder.path().join(".plimsoll/leak-reports");
    for name in ["first", "broken", ".hidden"] {
        std::fs::create_dir_all(folder.join(name)).expect("a folder");
    }
    let report =
        serde_json::json!({ "conclusion": "leaks", "leaks": [{ "place": "ok" }], "rounds": 8, "calls": [1, 2] });
    std::fs::write(folder.join("first/report.json"), report.to_string()).expect("written");
    std::fs::write(folder.join("first/growth.svg"), "<svg onload='x()'/>").expect("written");
    std::fs::write(folder.join("first/secret.txt"), "secret").expect("written");
    std::fs::write(folder.join("broken/report.json"), "no JSON").expect("written");
    std::fs::write(folder.join(".hidden/report.json"), "{}").expect("written");
    // Reports that somebody sent: no objects, other types, and links to files of the server.
    for (number, text) in ["[1]", "5", "\"x\"", "null", "{\"leaks\":\"x\"}"].into_iter().enumerate() {
        std::fs::create_dir_all(folder.join(format!("odd{number}"))).expect("a folder");
        std::fs::write(folder.join(format!("odd{number}/report.json")), text).expect("written");
    }
    std::fs::create_dir_all(folder.join("linked")).expect("a folder");
    std::os::unix::fs::symlink("../first/report.json", folder.join("linked/report.json")).expect("linked");
    std::os::unix::fs::symlink("../../admin-token", folder.join("linked/growth.csv")).expect("linked");
    std::os::unix::fs::symlink("first", folder.join("whole")).expect("linked");
    let reports = server.get("/v1/leaks").await.json()["reports"].clone();
    let mut names = texts(&reports, "name");
    names.sort_unstable();
    assert_eq!(names, ["broken", "first", "linked", "odd0", "odd1", "odd2", "odd3", "odd4", "whole"]);
    for report in reports.as_array().expect("a list") {
        match report["name"].as_str() {
            Some("first") => {
                assert_eq!((&report["conclusion"], &report["leaks"][0]["place"]), (&"leaks".into(), &"ok".into()))
            }
            Some("linked" | "whole") => {
                assert!(report["error"].as_str().is_some_and(|error| error.contains("symbolic link")), "{report}")
            }
            _ => assert!(report["error"].as_str().is_some_and(|error| error.contains("expected")), "{report}"),
        }
        assert!(report.get("calls").is_none(), "the list is short: {report}");
    }
    let chart = server.get("/v1/leaks/first/growth.svg").await;
    assert_eq!((chart.status, chart.text.as_str()), (200, "<svg onload='x()'/>"));
    assert_eq!(chart.headers["content-type"], "application/octet-stream");
    assert_eq!(chart.headers["content-security-policy"], "default-src 'none'; sandbox");
    std::fs::write(site.folder.path().join(".plimsoll/report.json"), "{}").expect("written");
    for path in [
        "first/secret.txt",
        "first/flame.svg",
        "..%2F/report.json",
        "%2e%2e/report.json",
        ".hidden/report.json",
        "first/..%2f..%2fadmin-token",
        "linked/report.json",
        "linked/growth.csv",
        "whole/growth.svg",
    ] {
        assert_eq!(server.get(&format!("/v1/leaks/{path}")).await.status, 404, "{path}");
    }
}
