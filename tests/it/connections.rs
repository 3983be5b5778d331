//! Connections: those that are idle or whose replies are not read make room for others, and a large body on one delays no
//! other.

use std::time::{Duration, Instant};

use plimsoll_tests::{Server, guests_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::raw_http::{POST, http2, raw, read_all};
use crate::wrapped::{Wrapped, can_run, site};

const INFER: &str = "/v1/pipelines/p/infer";

/// A client of HTTP/2 that takes one byte of its reply and then nothing would otherwise keep its connection forever.
#[tokio::test(flavor = "multi_thread")]
async fn connections_whose_replies_are_not_read_are_closed() {
    let limits = "[server]\nmax_connections = 4\nreply_timeout = \"1s\"\n";
    let server = Server::start(&format!("{limits}{}", guests_config("tester", ""))).await;
    let mut unread = Vec::new();
    for bytes in [100_000, 400_000, 100_000, 400_000] {
        let mut request = http2(POST, &format!("{INFER}?post=big&bytes={bytes}"), 1, 1);
        request.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0, 1]);
        unread.push(raw(&server, &request).await);
    }
    let mut health =
        raw(&server, b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    let reply = tokio::time::timeout(Duration::from_secs(20), read_all(&mut health)).await.expect("in time");
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_make_room_for_new_ones() {
    let server = Server::start(&format!("[server]\nmax_connections = 4\n{}", guests_config("tester", ""))).await;
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(raw(&server, b"").await);
        let mut health =
            raw(&server, b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
        let reply = read_all(&mut health).await;
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
}

/// A connection whose first request is on the way is not idle, and connections are closed only if a client waits for
/// one.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_not_closed_before_their_first_request_arrives() {
    let request = b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut tries = 0;
    let (_server, mut first, mut second) = loop {
        let server = Server::start(&format!("[server]\nmax_connections = 1\n{}", guests_config("tester", ""))).await;
        let since = Instant::now();
        let mut first = raw(&server, b"").await;
        let second = raw(&server, b"").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let sent = first.write_all(request).await;
        // A new connection is protected for a second, so a try on a machine that was busy for longer says nothing.
        if since.elapsed() < Duration::from_millis(900) {
            sent.expect("sent");
            break (server, first, second);
        }
        tries += 1;
        assert!(tries < 20, "the machine is too slow");
    };
    let reply = read_all(&mut first).await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    // The first connection has ended, because the second one waited for it. No client waits for the second one.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    second.write_all(request).await.expect("sent");
    let mut start = [0; 12];
    second.read_exact(&mut start).await.expect("a reply");
    assert_eq!(&start, b"HTTP/1.1 200");
}

/// The default bound is 30 of the 40 descriptors, but the server needs more than 10 for itself, so the bound is never
/// reached.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_if_there_are_no_descriptors_for_new_ones() {
    let limited = ["prlimit", "--nofile=40:40"];
    if !can_run(&limited) {
        return;
    }
    let site = site("");
    let served = Wrapped::start(&limited, &site);
    let address = served.address().to_owned();
    let mut idle = Vec::new();
    for _ in 0..60 {
        idle.push(TcpStream::connect(&address).await.expect("connected"));
    }
    let mut client = TcpStream::connect(&address).await.expect("connected");
    client.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
    let mut start = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(60), client.read_exact(&mut start)).await;
    read.expect("a reply while the others are open").expect("a reply");
    assert_eq!(&start, b"HTTP/1.1 200");
    drop(idle);
}

/// Large bodies of JSON are parsed away from the threads that serve connections. Otherwise the only one would serve
/// nothing meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_large_body_of_json_delays_nothing_else() {
    let server = Server::start(&guests_config("tester", "")).await;
    let numbers = "1.5,".repeat(2_000_000);
    let body = format!(
        "{{\"inputs\":[{{\"name\":\"x\",\"shape\":[2000001],\"datatype\":\"FP32\",\"data\":[{numbers}1.5]}}]}}"
    );
    let url = server.url.clone();
    // The client has its own threads.
    let client = move || {
        let health = format!("{url}/v2/health/live");
        let (infer, is_over) = (format!("{url}/v2/models/p.infer/infer"), std::sync::atomic::AtomicBool::new(false));
        std::thread::scope(|scope| {
            let pings = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    let (client, mut last, mut longest) = (reqwest::Client::new(), Instant::now(), Duration::ZERO);
                    while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                        assert_eq!(client.get(&health).send().await.expect("a reply").status(), 200);
                        longest = longest.max(last.elapsed());
                        last = Instant::now();
                    }
                    longest
                })
            });
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let since = Instant::now();
            let sent = runtime.block_on(async { reqwest::Client::new().post(infer).body(body).send().await });
            let took = since.elapsed();
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            let longest = pings.join().expect("no panic");
            (sent.expect("a reply").status(), took, longest)
        })
    };
    let (status, took, longest) = tokio::task::spawn_blocking(client).await.expect("no panic");
    println!("the request took {took:?}, and no health check more than {longest:?}");
    assert_eq!(status, 200);
    assert!(longest * 2 < took, "the request took {took:?}, and a health check {longest:?}");
}
