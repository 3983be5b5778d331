//! Routes, headers and problem documents; the page of the metrics; admission; disconnects; shutdown.

use std::time::Duration;

use plimsoll::config::Config;
use plimsoll_tests::{Reply, Server, data, guests_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn every_route_replies_and_every_error_is_a_problem_document() {
    let server = Server::with_config(&Config::load(None).expect("the demo parses")).await;
    let picture = std::fs::read(data("digits/0.png")).expect("present");
    let url = format!("{}/v1/pipelines/digits/infer", server.url);
    let reply = server.client.post(&url).header("x-plimsoll-chip", "wasm").header("x-request-id", "mine").body(picture);
    let reply = reply.send().await.expect("an answer");
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()["x-request-id"], "mine");
    assert_eq!(reply.headers()["x-plimsoll-chip"], "wasm");
    assert_eq!(reply.headers()["content-type"], "application/json");
    let timing = reply.headers()["server-timing"].to_str().expect("text").to_owned();
    let memory = reply.headers()["x-plimsoll-memory"].to_str().expect("text").to_owned();
    for stage in ["preprocess", "infer", "postprocess"] {
        assert!(
            timing.contains(&format!("{stage};dur=")) && memory.contains(&format!("{stage}=")),
            "{timing} {memory}"
        );
    }

    assert_eq!(server.get("/v2/health/live").await.json()["live"], true);
    assert_eq!(server.get("/v2/health/ready").await.json()["ready"], true);
    let pipelines = server.get("/v1/pipelines").await.json();
    assert_eq!(pipelines["pipelines"][0]["chips"]["wasm"]["plugin"], "infer-wasm");
    let plugins = server.get("/v1/plugins").await.json();
    assert_eq!(plugins["plugins"].as_array().expect("a list").len(), 4);
    let plugin = server.get("/v1/plugins/infer-wasm").await.json();
    assert_eq!(plugin["digest"].as_str().expect("a digest").len(), 64);
    let memory = server.get("/v1/memory").await.json();
    assert!(memory["process"]["resident_bytes"].as_u64().expect("bytes") > 1 << 20);
    for row in memory["stages"].as_array().expect("rows") {
        assert_eq!((&row["count"], &row["outcome"], &row["chip"]), (&1.into(), &"ok".into(), &"wasm".into()), "{row}");
        assert!(row["max"] == row["p50"] && row["max"] == row["p99"], "{row}");
    }
    let metrics = server.get("/metrics").await.text;
    for line in [
        "plimsoll_requests_total{pipeline=\"digits\",chip=\"wasm\",outcome=\"ok\"} 1",
        "plimsoll_stage_high_water_bytes_count{pipeline=\"digits\",stage=\"infer\",plugin=\"infer-wasm\"",
        "plimsoll_process_resident_bytes ",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line:?} is missing in {metrics}");
    }

    for (reply, status, code) in [
        (server.infer("ghost", "", "").await, 404, "not_found"),
        (server.infer("digits", "?chip=abacus", "").await, 404, "not_found"),
        (server.infer("%FF", "", "").await, 404, "not_found"),
        (server.get("/v1/plugins/ghost").await, 404, "not_found"),
        (server.get("/nothing").await, 404, "not_found"),
        (server.get("/v1/pipelines/digits/infer").await, 405, "method_not_allowed"),
        (server.infer("digits", "", "").await, 422, "invalid_input"),
    ] {
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{}", reply.text);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_limit_applies_to_bodies_with_content_length_and_chunked_bodies() {
    let server = Server::start(&format!("[server]\nmax_body = \"1MiB\"\n{}", guests_config("tester", ""))).await;
    assert_eq!(server.infer("p", "", vec![0; 1 << 20]).await.status, 200);
    let reply = server.infer("p", "", vec![0; (1 << 20) + 1]).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "too_large"), "{}", reply.text);
    assert!(reply.text.contains("server.max_body"), "{}", reply.text);

    let mut head = raw(&server, "transfer-encoding: chunked").await;
    for _ in 0..33 {
        // The server may close the connection as soon as the limit is exceeded.
        let _ = head.write_all(format!("8000\r\n{}\r\n", "x".repeat(0x8000)).as_bytes()).await;
    }
    let _ = head.write_all(b"0\r\n\r\n").await;
    let mut answer = String::new();
    let _ = head.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

/// A connection on which the headers of an infer request were sent.
async fn raw(server: &Server, header: &str) -> tokio::net::TcpStream {
    raw_query(server, "", header).await
}

async fn raw_query(server: &Server, query: &str, header: &str) -> tokio::net::TcpStream {
    let mut stream = tokio::net::TcpStream::connect(&server.url["http://".len()..]).await.expect("connected");
    let head = format!(
        "POST /v1/pipelines/p/infer{query} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{header}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_all_sizes_arrive_as_they_were_sent() {
    let server = Server::start(&guests_config("tester", "")).await;
    let carry = "?do=carry&post=carry";
    // Sizes around the connection's buffer size, and around 512 KiB, from which on a body is stored in its own pages.
    for size in [1, 9_000, 65_536, 300_000, (512 << 10) - 1, 512 << 10, 3_000_000] {
        let body: Vec<u8> = (0..size).map(|at: usize| (at ^ at >> 8 ^ at >> 16) as u8).collect();
        for chunked in [false, true] {
            let length = format!("content-length: {size}");
            let header = if chunked { "transfer-encoding: chunked" } else { &length };
            let mut stream = raw_query(&server, carry, header).await;
            for piece in body.chunks(70_000) {
                if chunked {
                    stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.expect("sent");
                }
                stream.write_all(piece).await.expect("sent");
                if chunked {
                    stream.write_all(b"\r\n").await.expect("sent");
                }
            }
            if chunked {
                stream.write_all(b"0\r\n\r\n").await.expect("sent");
            }
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.expect("an answer");
            assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(&body), "{size} bytes, chunked: {chunked}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_body_and_too_long_headers_are_refused() {
    let server = Server::start(&guests_config("tester", "")).await;
    for announced in [2_000, 2_000_000] {
        let mut stream = raw(&server, &format!("content-length: {announced}")).await;
        stream.write_all(&[7; 1_000]).await.expect("sent");
        stream.shutdown().await.expect("closed for writing");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("not be received"), "{announced}: {answer}");
    }
    let mut stream = raw(&server, &format!("x-long: {}", "x".repeat(70_000))).await;
    let mut answer = String::new();
    // The server closes the connection while the headers are still being sent.
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(server.infer("p", "", "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_body_does_not_arrive_ends_at_the_body_time_out() {
    let server = Server::start(&format!("[server]\nbody_timeout = \"200ms\"\n{}", guests_config("tester", ""))).await;
    let mut stream = raw(&server, "content-length: 10").await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_timeout"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_stops_the_guest_and_is_counted_as_cancelled() {
    let server = Server::start(&format!("[server]\nmax_concurrency = 1\n{}", guests_config("tester", ""))).await;
    for guest in ["?do=loop", "?do=sleep&ms=60000"] {
        let stream = raw_query(&server, guest, "content-length: 0").await;
        server.wait_for_guests(1).await;
        drop(stream);
        // The only slot is free again long before the stage's deadline of ten seconds.
        let next = tokio::time::timeout(Duration::from_secs(5), server.infer("p", "?do=ok", "")).await;
        assert_eq!(next.expect("the guest was stopped").status, 200);
    }
    assert_eq!(server.memory_row("preprocess", "cancelled").await.expect("a row")["count"], 2);
    let metrics = server.get("/metrics").await.text;
    let is_counted =
        |line: &str| line.starts_with("plimsoll_requests_total{") && line.ends_with("outcome=\"cancelled\"} 2");
    assert!(metrics.lines().any(is_counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_replies_overloaded_with_retry_after() {
    let config = format!("[server]\nmax_concurrency = 1\nmax_queue = 1\n{}", guests_config("tester", ""));
    let server = Server::start(&config).await;
    let slow = || server.infer("p", "?do=sleep&ms=4000", "");
    let third = async {
        server.wait_for_metric("plimsoll_requests_running{pipeline=\"p\"}", 1.0).await;
        server.wait_for_metric("plimsoll_requests_waiting{pipeline=\"p\"}", 1.0).await;
        server.infer("p", "?do=ok", "").await
    };
    let (first, second, third): (Reply, Reply, Reply) = tokio::join!(slow(), slow(), third);
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!((third.status, third.code().as_str()), (503, "overloaded"), "{}", third.text);
    assert!(third.headers.contains_key("retry-after") && third.text.contains("server.max_queue"), "{}", third.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_end_is_stopped_after_the_grace_period() {
    let config = format!("[server]\ngrace_period = \"300ms\"\n{}", guests_config("tester", ""));
    let server = Server::start(&config).await;
    let mut stream = raw_query(&server, "?do=sleep&ms=60000", "content-length: 0").await;
    server.wait_for_guests(1).await;
    tokio::time::timeout(Duration::from_secs(5), server.stop()).await.expect("stopped within the grace period");
    drop(stream.shutdown().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_before_the_whole_body_was_read_announces_that_the_connection_closes() {
    let server = Server::start(&guests_config("tester", "")).await;
    let address = &server.url["http://".len()..];
    for (path, sent, closes) in [("p", 10, false), ("nothing", 4, true)] {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
        let head = format!("POST /v1/pipelines/{path}/infer HTTP/1.1\r\nhost: {address}\r\ncontent-length: 10\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.write_all(&b"0123456789"[..sent]).await.expect("sent");
        let mut reply = String::new();
        while !reply.contains("\r\n\r\n") {
            let mut part = [0; 4096];
            let read = stream.read(&mut part).await.expect("a reply");
            assert_ne!(read, 0, "the connection ended after {reply:?}");
            reply.push_str(&String::from_utf8_lossy(&part[..read]));
        }
        assert_eq!(reply.contains("\r\nconnection: close\r\n"), closes, "{reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_compressed_and_coarse_on_request() {
    let with = |buckets: &str| format!("[server]\nmetric_buckets = \"{buckets}\"\n{}", guests_config("tester", ""));
    let mut counts = Vec::new();
    let mut last = String::new();
    for config in [guests_config("tester", ""), with("coarse"), with("none")] {
        let server = Server::start(&config).await;
        assert_eq!(server.infer("p", "", "").await.status, 200);
        let plain = server.get("/metrics").await.text;
        assert!(!plain.contains("plimsoll_stage_refused_growths_total{"), "no growth was refused: {plain}");
        counts.push(plain.lines().filter(|line| line.starts_with("plimsoll_stage_duration_seconds_bucket{")).count());
        let packed = server.send("GET", "/metrics", &[("accept-encoding", "gzip")], Vec::new()).await;
        assert_eq!(packed.headers["content-encoding"], "gzip");
        assert!(packed.bytes.len() * 3 < plain.len(), "{} of {}", packed.bytes.len(), plain.len());
        last = plain;
    }
    // Without buckets: sums and counts of requests, the highest mark and the cap of each stage.
    let of_pipeline: Vec<_> = last.lines().filter(|line| line.contains("pipeline=\"p\"")).collect();
    assert!(of_pipeline.len() <= 15, "{of_pipeline:#?}");
    let has = |start: &str| of_pipeline.iter().any(|line| line.starts_with(start));
    assert!(has("plimsoll_request_duration_seconds_sum{") && has("plimsoll_request_duration_seconds_count{"), "{last}");
    assert!(has("plimsoll_stage_highest_mark_bytes{") && has("plimsoll_stage_memory_cap_bytes{"), "{last}");
    assert!(
        !last.lines().any(|line| line.contains("_bucket{")
            && !line.contains("le=\"+Inf\"")
            && !line.contains("_rows")
            && !line.contains("_difference")
            && !line.contains("_distance")),
        "{last}"
    );
    assert!(counts[1] > 0 && counts[0] > 2 * counts[1], "{counts:?}");
}

/// 500 pipelines that are configured and not used cost few lines. Only what is needed to see a pipeline that nobody uses is
/// there before its first request.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_no_series_of_what_never_ran() {
    let guests = guests_config("tester", "");
    let start = guests.find("[pipelines.p.preprocess]").expect("pipeline p");
    let idle = guests[start..].replace("pipelines.p.", "pipelines.idle.");
    let server = Server::start(&format!("{guests}{idle}")).await;
    let of = async |pipeline: &str| {
        let label = format!("pipeline=\"{pipeline}\"");
        let metrics = server.get("/metrics").await.text;
        metrics.lines().filter(|line| line.contains(&label)).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = of("p").await.len();
    assert_eq!(server.infer("p", "", "").await.status, 200);
    let (used, idle) = (of("p").await, of("idle").await);
    assert!(used.len() > 50 && idle.len() == before, "{idle:#?}");
    assert!(before <= 3, "{idle:#?}");
    assert!(!idle.iter().any(|line| line.contains("_bucket{") || line.contains("outcome=")), "{idle:#?}");
}
