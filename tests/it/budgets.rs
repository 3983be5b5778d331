//! Byte budgets: bytes count when they arrive, and a client that does not send or does not read is cut off after a
//! time.

use std::time::{Duration, Instant};

use plimsoll_tests::{Server, guests_config};
use tokio::io::AsyncWriteExt;

use crate::http_bodies::gzip;
use crate::raw_http::{POST, http2, raw, read_all};

const INFER: &str = "/v1/pipelines/p/infer";
const SMALL_BUDGET: &str = "[server]\nmax_body = \"1MiB\"\nbody_budget = \"1MiB\"\nbudget_wait = \"0s\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_only_announced_take_nothing_from_the_budget() {
    let server = Server::start(&format!("{SMALL_BUDGET}{}", guests_config("tester", ""))).await;
    let head = format!("POST {INFER} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1048576\r\n\r\n");
    let mut silent = vec![raw(&server, &http2(POST, INFER, 65_535, 16)).await];
    for _ in 0..16 {
        silent.push(raw(&server, head.as_bytes()).await);
    }
    let chunked = format!(
        "POST {INFER} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"
    );
    for _ in 0..8 {
        assert_eq!(server.infer("p", "", vec![0; 1 << 10]).await.status, 200);
        let packed = server.send("POST", INFER, &[("content-encoding", "gzip")], gzip(&[0; 1 << 10])).await;
        assert_eq!(packed.status, 200, "{}", packed.text);
        let mut stream = raw(&server, chunked.as_bytes()).await;
        let reply = read_all(&mut stream).await;
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
    // A body that needs the whole budget fits, too.
    assert_eq!(server.infer("p", "", vec![0; 1 << 20]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_bodies_of_unknown_size_arrive_at_once() {
    let server = std::sync::Arc::new(Server::start(&format!("{SMALL_BUDGET}{}", guests_config("tester", ""))).await);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let server = std::sync::Arc::clone(&server);
        tasks.spawn(async move {
            let headers = [("content-encoding", "gzip")];
            server.send("POST", INFER, &headers, gzip(&[7; 1 << 10])).await.status
        });
    }
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.expect("no panic"), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_read_bodies_do_not_block_each_other() {
    let limits = "[server]\nmax_body = \"1MiB\"\nbody_budget = \"2MiB\"\nbudget_wait = \"20s\"\n";
    let server = Server::start(&format!("{limits}{}", guests_config("tester", ""))).await;
    let head =
        format!("POST {INFER} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 1048576\r\n\r\n");
    let half = vec![0; 512 << 10];
    let mut bodies = Vec::new();
    for _ in 0..4 {
        let mut stream = raw(&server, head.as_bytes()).await;
        stream.write_all(&half).await.expect("sent");
        bodies.push(stream);
    }
    let since = Instant::now();
    let rest = bodies.into_iter().map(|mut stream| {
        let half = half.clone();
        async move {
            stream.write_all(&half).await.expect("sent");
            read_all(&mut stream).await
        }
    });
    for reply in futures_util::future::join_all(rest).await {
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_larger_than_the_rest_of_the_budget_is_refused_and_its_bytes_are_released() {
    let server = Server::start(&format!("{SMALL_BUDGET}{}", guests_config("tester", ""))).await;
    let slow = server.infer("p", "?do=sleep&ms=60000", vec![0; 1 << 20]);
    let other = async {
        let until = Instant::now() + Duration::from_secs(10);
        // Both bodies must not arrive at the same time.
        while !server.get("/metrics").await.text.contains("stage=\"preprocess\",plugin=\"tester\"} 1\n") {
            assert!(Instant::now() < until, "the first request does not run");
        }
        loop {
            let reply = server.infer("p", "", vec![0; 512 << 10]).await;
            if reply.status == 503 {
                return reply;
            }
            assert!(Instant::now() < until, "the first body is not counted");
        }
    };
    tokio::select! {
        reply = slow => panic!("it still sleeps: {}", reply.text),
        reply = other => {
            assert_eq!(reply.code(), "overloaded");
            assert!(reply.text.contains("server.body_budget"), "{}", reply.text);
            assert!(reply.headers.contains_key("retry-after"));
        }
    }
    // The sleeper has disconnected.
    let until = Instant::now() + Duration::from_secs(10);
    while server.infer("p", "", vec![0; 1 << 20]).await.status != 200 {
        assert!(Instant::now() < until, "the bytes are not released");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_and_repository_requests_that_do_not_arrive_end() {
    let config = format!("[server]\nbody_timeout = \"300ms\"\n{}", guests_config("tester", ""));
    let server = Server::start(&config).await;
    let token = server.token.clone().unwrap_or_default();
    for (line, size) in [("PUT /v1/plugins/tester", 1 << 20), ("POST /v2/repository/index", 1_000)] {
        let head = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: {size}\r\n\r\nabc"
        );
        let reply = read_all(&mut raw(&server, head.as_bytes()).await).await;
        assert!(reply.starts_with("HTTP/1.1 408"), "{line}: {reply}");
    }
    let too_large = server.send("POST", "/v2/repository/index", &[], vec![b' '; 100_000]).await;
    assert_eq!(too_large.status, 413, "{}", too_large.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_not_read_is_counted_and_cut_off() {
    let limits = "[server]\nreply_budget = \"256KiB\"\nbudget_wait = \"100ms\"\nreply_timeout = \"2s\"\n";
    let server = Server::start(&format!("{limits}{}", guests_config("tester", ""))).await;
    let path = format!("{INFER}?post=big&bytes=200000");
    let query = &path[INFER.len()..];
    assert_eq!(server.infer("p", query, "").await.bytes.len(), 200_000);
    // A client of HTTP/2 that allows no byte of the replies. Its request has a body of zero bytes.
    let mut bytes = http2(POST, &path, 0, 1);
    bytes.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0, 1]);
    let _unread = raw(&server, &bytes).await;
    let mut refused = false;
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let reply = server.infer("p", query, "").await;
        if reply.status == 503 {
            assert!(reply.text.contains("server.reply_budget"), "{}", reply.text);
            refused = true;
        } else if refused {
            assert_eq!((reply.status, reply.bytes.len()), (200, 200_000));
            return;
        }
        assert!(Instant::now() < until, "counted: {refused}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One connection of HTTP/2 cannot take the bytes of all others.
#[tokio::test(flavor = "multi_thread")]
async fn the_bodies_of_one_connection_leave_bytes_for_the_others() {
    let limits = "[server]\nmax_body = \"1MiB\"\nbody_budget = \"8MiB\"\nbudget_wait = \"0s\"\n";
    let server = Server::start(&format!("{limits}{}", guests_config("tester", "deadline = \"5m\""))).await;
    let one = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let url = format!("{}{INFER}?do=sleep&ms=60000", server.url);
    let send = |client: &reqwest::Client| client.post(&url).body(vec![0; 1 << 20]).send();
    assert_eq!(one.get(format!("{}/v2/health/live", server.url)).send().await.expect("a reply").status(), 200);
    // Two bodies are what one connection may hold, also if their bytes arrive in turns.
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..2 {
        slow.spawn(send(&one));
    }
    let until = Instant::now() + Duration::from_secs(60);
    while !server.get("/metrics").await.text.contains("stage=\"preprocess\",plugin=\"tester\"} 2\n") {
        assert!(Instant::now() < until, "the requests do not run");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = send(&one).await.expect("a reply");
    assert_eq!(refused.status(), 503);
    let text = refused.text().await.expect("text");
    assert!(text.contains("use more connections"), "{text}");
    assert_eq!(server.infer("p", "", vec![0; 1 << 20]).await.status, 200, "another connection");
}

/// Components that arrive, and those that are being compiled, have a separate budget.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_have_their_own_budget() {
    let limits = "[server]\nbudget_wait = \"0s\"\n[deploy]\nmax_plugin = \"1MiB\"\n";
    let server = Server::start(&format!("{limits}{}", guests_config("tester", ""))).await;
    let token = server.token.clone().unwrap_or_default();
    let head = format!(
        "PUT /v1/plugins/tester HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: 1048576\r\n\r\n"
    );
    let mut halves = Vec::new();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let mut stream = raw(&server, head.as_bytes()).await;
        stream.write_all(&[0; 900_000]).await.expect("sent");
        halves.push(stream);
        let put = server.send("PUT", "/v1/plugins/tester", &[], vec![0; 900_000]).await;
        if put.status == 503 {
            assert!(put.text.contains("the byte budget for uploads"), "{}", put.text);
            break;
        }
        assert_eq!(put.status, 422, "{}", put.text);
        assert!(halves.len() < 20 && Instant::now() < until, "uploads are not counted");
    }
    assert_eq!(server.infer("p", "", vec![0; 1 << 20]).await.status, 200, "requests have another budget");
    drop(halves);
    while server.send("PUT", "/v1/plugins/tester", &[], vec![0; 900_000]).await.status != 422 {
        assert!(Instant::now() < until, "the bytes are not released");
    }
}
