//! The memory report: time windows, live instances, host memory, CSV, recommendations, `plimsoll top`.

use std::time::{Duration, Instant};

use plimsoll_runtime::kind::StageKind;
use plimsoll_tests::{Server, TempDir, guests_config, shared_cache};

use crate::cli::{Served, run, text};

const PAGE: u64 = 64 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn time_windows_expire_and_the_totals_do_not() {
    let server = Server::start(&guests_config("tester", "")).await;
    for _ in 0..3 {
        server.infer("p", "?do=ok", "").await;
    }
    server.infer("p", &format!("?do=alloc&bytes={}", 64 * PAGE), "").await;
    let row = server.memory_row("preprocess", "ok").await.expect("a row");
    for window in ["1m", "10m", "1h"] {
        for figure in ["count", "max", "p50", "p90", "p99"] {
            assert_eq!(row["windows"][window][figure], row[figure], "{window} {figure}");
        }
    }
    assert_eq!(row["count"], 4);
    assert!(row["p99"].as_u64() > row["p50"].as_u64().map(|bytes| bytes + 60 * PAGE), "{row:#}");
    assert_eq!(row["max_memory"], 256 << 20);

    let later = |seconds| Instant::now() + Duration::from_secs(seconds);
    let rows = server.app.records.memory.rows(Some("p"), later(120), false);
    let row = rows.iter().find(|row| row.key.stage.kind() == StageKind::Preprocess).expect("a row");
    let counts = |windows: plimsoll::records::memory::marks::Windows| {
        [windows.minute.count, windows.ten_minutes.count, windows.hour.count]
    };
    assert_eq!(counts(row.windows), [0, 4, 4]);
    let rows = server.app.records.memory.rows(None, later(2 * 60 * 60), false);
    assert_eq!(counts(rows[0].windows), [0, 0, 0]);
    assert_eq!(rows.iter().map(|row| row.figures.count).collect::<Vec<_>>(), [4, 4, 4], "since start");
    assert!(server.app.records.memory.rows(Some("q"), later(0), false).is_empty());
}

async fn live(server: &Server) -> i64 {
    let report = server.get("/v1/memory").await.json();
    let live = report["live"].as_array().expect("a list").clone();
    let found = live.iter().find(|row| row["stage"] == "preprocess").expect("a row");
    assert_eq!((&found["pipeline"], &found["plugin"]), (&"p".into(), &"tester".into()));
    found["instances"].as_i64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_count_of_live_instances_returns_to_zero_after_every_outcome() {
    let server = Server::start(&guests_config("tester", "deadline = \"800ms\"")).await;
    for query in ["?do=ok", "?do=panic", "?do=invalid", "?do=loop", "?do=grow"] {
        server.infer("p", query, "").await;
        assert_eq!(live(&server).await, 0, "after {query}");
    }
    // No deadline ends a run while this test looks at it.
    let server = Server::start(&guests_config("tester", "deadline = \"60s\"")).await;
    let url = |ms: u32| format!("{}/v1/pipelines/p/infer?do=sleep&ms={ms}", server.url);
    let until = async |wanted| {
        let end = Instant::now() + Duration::from_secs(20);
        while live(&server).await != wanted {
            assert!(Instant::now() < end, "expected {wanted} live instances");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let slow = tokio::spawn(server.client.post(url(20_000)).send());
    until(1).await;
    let metrics = server.get("/metrics").await.text;
    let gauge = "plimsoll_stage_live_instances{pipeline=\"p\",stage=\"preprocess\",plugin=\"tester\"} 1";
    assert!(metrics.contains(gauge), "{metrics}");
    // The pool is shared by all servers of this process, so it holds at least this instance.
    let used = metrics.lines().find_map(|line| line.strip_prefix("plimsoll_pool_used{what=\"memories\"} "));
    assert!(used.is_some_and(|used| used.parse::<u64>().expect("a number") >= 1), "{metrics}");
    // The caller disconnects.
    slow.abort();
    until(0).await;
    assert_eq!(server.client.post(url(10)).send().await.expect("an answer").status(), 200);
    until(0).await;
    let cancelled = server.memory_row("preprocess", "cancelled").await.expect("a row");
    assert_eq!(cancelled["count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_the_host_holds_for_a_stage_is_reported() {
    let server = Server::start(&guests_config("tester", "max_memory = \"64MiB\"")).await;
    server.infer("p", "?do=ok", "").await;
    assert_eq!(server.infer("p", "?do=tensors", "").await.code(), "memory_limit");
    let row = server.memory_row("preprocess", "memory_limit").await.expect("a row");
    assert_eq!(row["refused_growths"], 1);
    assert!(row["host_max"].as_u64() > Some(40 << 20), "{row:#}");
    assert!(row["resources_max"].as_u64() >= Some(10), "the guest never dropped its tensors of 4 MiB: {row:#}");
    let ok = server.memory_row("preprocess", "ok").await.expect("a row");
    assert!(ok["resources_max"].as_u64() < Some(10), "{ok:#}");

    let report = server.get("/v1/memory").await.json();
    assert!(report["pool"]["memories"].is_number() || report["pool"].is_null(), "{report:#}");
    assert!(report["process"]["resident_bytes"].as_u64() > Some(1 << 20));
    let process = &report["process"];
    if let Some(cgroup) = process["cgroup_bytes"].as_u64() {
        let metrics = server.get("/metrics").await.text;
        assert!(cgroup > 0 && metrics.contains("plimsoll_cgroup_memory_bytes{what=\"usage\"} "), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_reports_have_stable_columns_and_the_figures_of_the_json_report() {
    let server = Server::start(&guests_config("tester", "")).await;
    let mut series = Vec::new();
    for query in ["?do=ok", "?do=invalid"] {
        server.infer("p", query, "").await;
        let reply = server.get("/v1/memory?format=csv&pipeline=p").await;
        assert_eq!(reply.headers["content-type"], "text/csv; charset=utf-8");
        series.push(reply.text);
    }
    let table = |text: &str| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
    };
    let (first, second) = (table(&series[0]), table(&series[1]));
    assert_eq!(first[0], second[0], "the headers are the same");
    assert_eq!((first.len(), second.len()), (1 + 3, 1 + 4), "one header and one line for each row");
    let report = server.get("/v1/memory").await.json();
    let rows = report["stages"].as_array().expect("rows");
    for (line, row) in second[1..].iter().zip(rows) {
        let cell = |name: &str| line[second[0].iter().position(|title| title == name).expect(name)].clone();
        assert!(cell("time").ends_with('Z') && cell("time").starts_with("20"), "{}", cell("time"));
        assert!(cell("time") > first[1][0], "{} after {}", cell("time"), first[1][0]);
        for name in ["stage", "outcome", "plugin", "chip"] {
            assert_eq!(cell(name), row[name].as_str().expect("text"));
        }
        for name in ["count", "max", "p99", "initial", "max_memory"] {
            assert_eq!(cell(name), row[name].to_string());
        }
        assert_eq!(cell("count_1h"), row["windows"]["1h"]["count"].to_string());
        assert!(cell("resident_bytes").parse::<u64>().expect("bytes") > 1 << 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn caps_are_recommended_and_a_configuration_is_checked_against_them() {
    let server = Server::start(&guests_config("tester", "")).await;
    for _ in 0..20 {
        server.infer("p", &format!("?do=alloc&bytes={}", 100 * PAGE), "").await;
    }
    let report = server.get("/v1/memory").await;
    let advice = report.json()["advice"].clone();
    let of =
        |stage: &str| advice.as_array().expect("a list").iter().find(|it| it["stage"] == stage).expect("one").clone();
    let preprocess = of("preprocess");
    let p999 = preprocess["p999"].as_u64().expect("bytes");
    let recommended = preprocess["recommended"].as_u64().expect("bytes");
    assert_eq!(recommended, (p999 / PAGE * 5).div_ceil(4) * PAGE, "a quarter more than p99.9, in whole pages");
    assert!(preprocess["warning"].as_str().expect("a warning").contains("wasteful"), "{preprocess:#}");
    assert_eq!((of("infer")["chip"].as_str(), preprocess.get("chip")), (Some("echo"), None));

    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let cache = format!("cache_dir = {:?}\n", shared_cache());
    let close = format!("max_memory = {}", recommended - PAGE);
    std::fs::write(path("plimsoll.toml"), cache + &guests_config("tester", &close)).expect("written");
    std::fs::write(path("report.json"), &report.text).expect("written");
    let output = run(&["check", "--config", &path("plimsoll.toml"), "--report", &path("report.json")]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", text(&output.stderr));
    let line = stdout.lines().find(|line| line.starts_with("pipelines.p.preprocess")).expect("a line");
    assert!(line.ends_with(&recommended.to_string()) && line.contains(&(recommended - PAGE).to_string()), "{line}");
    assert!(stdout.contains("warning: pipelines.p.preprocess: the cap is close"), "{stdout}");
    assert!(stdout.contains("warning: pipelines.p.chips.echo: the cap is wasteful"), "{stdout}");

    for (name, bytes, words) in
        [("none.json", None, "cannot be read"), ("wrong.json", Some("{}"), "is not a memory report")]
    {
        if let Some(bytes) = bytes {
            std::fs::write(path(name), bytes).expect("written");
        }
        let output = run(&["check", "--config", &path("plimsoll.toml"), "--report", &path(name)]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn top_once_prints_the_report_and_exits() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("plimsoll.toml");
    let cache = format!("cache_dir = {:?}\n", shared_cache());
    std::fs::write(&file, cache + &guests_config("tester", "")).expect("written");
    let served = Served::start(&file);
    let client = reqwest::Client::new();
    for (query, status) in [("?do=ok", 200), ("?do=invalid", 422), ("?do=ok", 200)] {
        let url = format!("{}/v1/pipelines/p/infer{query}", served.url);
        let reply = client.post(url).header("x-plimsoll-caller", "acme").send().await.expect("an answer");
        assert_eq!(reply.status(), status);
    }
    let output = run(&["top", "--once", "--server", &served.url, "--config", file.to_str().expect("text")]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", text(&output.stderr));
    assert!(stdout.starts_with("plimsoll  20") && stdout.contains("resident "), "{stdout}");
    let words = |start: &str| -> Vec<&str> {
        let line = stdout.lines().find(|line| line.split_whitespace().take(5).collect::<Vec<_>>().join(" ") == start);
        line.unwrap_or_else(|| panic!("no {start} in {stdout}")).split_whitespace().collect()
    };
    assert_eq!(words("p preprocess tester@unversioned echo ok")[5], "2");
    assert_eq!(words("p preprocess tester@unversioned echo invalid_input")[5], "1");
    assert_eq!(words("p infer echo-infer@unversioned echo ok")[5], "2");
    assert!(stdout.contains("latest request"), "{stdout}");
    assert_eq!(
        stdout.lines().filter(|line| line.contains(" invalid_input ") && line.contains("acme")).count(),
        2,
        "{stdout}"
    );
    let caller = stdout.lines().find(|line| line.starts_with("acme")).expect("the caller");
    assert!(caller.contains("invalid_input 1, ok 2") && caller.contains(" 3 "), "{caller}");

    let output = run(&["top", "--server", &served.url, "--config", file.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--once"), "{}", text(&output.stderr));
    drop(served);
    let output = run(&["top", "--once", "--server", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("set the address of the server with --server"), "{}", text(&output.stderr));
    assert_eq!(run(&["top", "--interval", "1ms"]).status.code(), Some(2));
}
