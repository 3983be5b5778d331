//! The metrics for operating and scaling: what is in use, with the limits; the process; the last reload and scan.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use plimsoll::config::Config;
use plimsoll_tests::{Server, TempDir, guests_config, shared_cache};
use tokio::io::AsyncWriteExt;

/// The value of a series, `name{labels}`.
fn value(scrape: &str, series: &str) -> Option<f64> {
    let value = scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(value.parse().unwrap_or_else(|_| panic!("{series}: {value:?}")))
}

/// Reads the metrics until `is_reached`.
async fn wait_for(server: &Server, what: &str, is_reached: impl Fn(&str) -> bool) -> String {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let scrape = server.get("/metrics").await.text;
        if is_reached(&scrape) {
            return scrape;
        }
        assert!(Instant::now() < until, "never: {what}\n{scrape}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Pipelines `p` and `q` of the guests.
fn two_pipelines(of_p: &str) -> String {
    let guests = guests_config("tester", "");
    let start = guests.find("[pipelines.p.preprocess]").expect("pipeline p");
    let q = guests[start..].replace("pipelines.p.", "pipelines.q.");
    format!("[server]\nmax_concurrency = 2\nmax_queue = 5\nbody_budget = \"64MiB\"\n{guests}{q}[pipelines.p]\n{of_p}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_show_what_is_in_use_and_the_limits() {
    let server = Arc::new(Server::start(&two_pipelines("max_concurrency = 1\nmax_queue = 3")).await);
    let scrape = server.get("/metrics").await.text;
    for (series, wanted) in [
        ("plimsoll_requests_running{pipeline=\"p\"}", 0.0),
        ("plimsoll_requests_waiting{pipeline=\"q\"}", 0.0),
        ("plimsoll_requests_running_limit", 2.0),
        ("plimsoll_requests_waiting_limit", 5.0),
        ("plimsoll_pipeline_requests_running_limit{pipeline=\"p\"}", 1.0),
        ("plimsoll_pipeline_requests_waiting_limit{pipeline=\"p\"}", 3.0),
        ("plimsoll_budget_used_bytes{budget=\"bodies\"}", 0.0),
        ("plimsoll_budget_limit_bytes{budget=\"bodies\"}", f64::from(64 << 20)),
        ("plimsoll_config_last_reload_successful", 1.0),
    ] {
        assert_eq!(value(&scrape, series), Some(wanted), "{series} in {scrape}");
    }
    assert_eq!(value(&scrape, "plimsoll_pipeline_requests_running_limit{pipeline=\"q\"}"), None, "a fair share");
    let connections = value(&scrape, "plimsoll_connections{of=\"callers\"}").expect("connections");
    assert!(connections >= 1.0 && connections <= value(&scrape, "plimsoll_connections_limit{of=\"callers\"}").unwrap());
    let [cpu, start, threads, open, most] = [
        "plimsoll_process_cpu_seconds_total",
        "plimsoll_process_start_time_seconds",
        "plimsoll_process_threads",
        "plimsoll_process_open_fds",
        "plimsoll_process_max_fds",
    ]
    .map(|series| value(&scrape, series).unwrap_or_else(|| panic!("no {series}")));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    assert!(cpu > 0.0 && threads > 2.0 && open > 3.0 && open < most, "{cpu} {threads} {open} {most}");
    assert!(start <= now && start > now - 86_400.0, "{start} at {now}");
    let build = format!("plimsoll_build_info{{version=\"{}\",os=", env!("CARGO_PKG_VERSION"));
    assert!(scrape.contains(&build), "{scrape}");

    // One request of `p` runs, and two wait.
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { server.infer("p", "?do=sleep&ms=60000", "").await.status })
        })
        .collect();
    let busy = wait_for(&server, "one runs and two wait", |scrape| {
        value(scrape, "plimsoll_requests_running{pipeline=\"p\"}") == Some(1.0)
            && value(scrape, "plimsoll_requests_waiting{pipeline=\"p\"}") == Some(2.0)
    })
    .await;
    assert_eq!(value(&busy, "plimsoll_requests_running{pipeline=\"q\"}"), Some(0.0));
    let queued = value(&busy, "plimsoll_request_queue_seconds_count{pipeline=\"p\"}");
    assert_eq!(queued, Some(1.0), "the wait of those that still wait is not known");
    // A caller that is gone waits no more.
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    wait_for(&server, "nothing runs or waits", |scrape| {
        ["running", "waiting"]
            .iter()
            .all(|what| value(scrape, &format!("plimsoll_requests_{what}{{pipeline=\"p\"}}")) == Some(0.0))
    })
    .await;
    assert_eq!(server.infer("q", "", "").await.status, 200);
    // A text of some moments ago may be given.
    let is_counted = |scrape: &str| value(scrape, "plimsoll_request_queue_seconds_count{pipeline=\"q\"}") == Some(1.0);
    wait_for(&server, "the request of `q`", is_counted).await;

    // A body that has arrived in part is in the budget.
    let mut stream = tokio::net::TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("connected");
    let head = "POST /v1/pipelines/p/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&vec![7; 1_000_000]).await.expect("sent");
    let is_reserved = |scrape: &str| value(scrape, "plimsoll_budget_used_bytes{budget=\"bodies\"}") >= Some(1e6);
    wait_for(&server, "a million bytes of a body", is_reserved).await;
    drop(stream);
    let is_released = |scrape: &str| value(scrape, "plimsoll_budget_used_bytes{budget=\"bodies\"}") == Some(0.0);
    wait_for(&server, "the bytes are released", is_released).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_highest_mark_is_exact_and_beside_its_cap() {
    let server = Server::start(&guests_config("tester", "max_memory = \"32MiB\"")).await;
    assert_eq!(server.infer("p", "?do=alloc&bytes=10000000", "").await.status, 200);
    let row = server.memory_row("preprocess", "ok").await.expect("a row");
    let scrape = server.get("/metrics").await.text;
    let of_stage = |name: &str| {
        let start = format!("{name}{{pipeline=\"p\",stage=\"preprocess\",plugin=\"tester\"");
        let line = scrape.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{name}: {scrape}"));
        line.rsplit(' ').next().expect("a value").parse::<u64>().expect("bytes")
    };
    assert_eq!(of_stage("plimsoll_stage_highest_mark_bytes"), row["max"].as_u64().expect("bytes"));
    assert!(row["max"].as_u64() >= Some(10_000_000), "{row}");
    assert_eq!(of_stage("plimsoll_stage_memory_cap_bytes"), 32 << 20);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_and_scans_are_shown_and_a_pipeline_that_is_gone_is_not() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("plimsoll.toml");
    let start = format!("cache_dir = {:?}\n[deploy]\npoll = \"50ms\"\n", shared_cache());
    let of = |rest: &str| format!("{start}{rest}");
    std::fs::write(&file, of(&two_pipelines("max_queue = 3"))).expect("written");
    let server = Server::with_config(&Config::load(Some(&file)).expect("valid")).await;
    assert_eq!(server.infer("q", "", "").await.status, 200);
    let first = wait_for(&server, "a scan", |scrape| value(scrape, "plimsoll_last_scan_timestamp_seconds") > Some(0.0));
    let first = first.await;
    let scan = |scrape: &str| value(scrape, "plimsoll_last_scan_timestamp_seconds").expect("a time");
    let served = |scrape: &str| value(scrape, "plimsoll_config_last_served_timestamp_seconds").expect("a time");
    let before = scan(&first);
    wait_for(&server, "another scan", |scrape| scan(scrape) > before).await;

    std::fs::write(&file, "nonsense = true\n").expect("written");
    let is_refused = |scrape: &str| value(scrape, "plimsoll_config_last_reload_successful") == Some(0.0);
    let refused = wait_for(&server, "a refused configuration", is_refused).await;
    assert_eq!(served(&refused), served(&first), "the old configuration is served");
    assert_eq!(value(&refused, "plimsoll_config_reloads_total{result=\"refused\"}"), Some(1.0));

    std::fs::write(&file, of(&format!("[server]\nmax_concurrency = 2\n{}", guests_config("tester", ""))))
        .expect("written");
    // The change may come while a scrape is made.
    let gone = [
        "plimsoll_requests_running{pipeline=\"q\"}",
        "plimsoll_requests_waiting{pipeline=\"q\"}",
        "plimsoll_pipeline_requests_waiting_limit{pipeline=\"p\"}",
    ];
    let is_served = |scrape: &str| {
        value(scrape, "plimsoll_config_last_reload_successful") == Some(1.0)
            && gone.iter().all(|series| value(scrape, series).is_none())
    };
    let after = wait_for(&server, "a served configuration without the series of `q`", is_served).await;
    assert!(served(&after) > served(&first));
    assert_eq!(value(&after, "plimsoll_requests_running{pipeline=\"p\"}"), Some(0.0));
    wait_for(&server, "the histogram of `q` is gone", |scrape| !scrape.contains("queue_seconds_count{pipeline=\"q\"}"))
        .await;
    server.stop().await;
}
