//! Byte budgets: bytes count when they arrive, and a client that does not send or does not read is cut off after a
//! time.

use std::io::Write;
use std::time::{Duration, Instant};

use plimsoll_tests::{Server, guests_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wrapped::{Wrapped, can_run, site};

/// Opens a connection and sends bytes.
pub(crate) async fn raw(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(&server.url["http://".len()..]).await.expect("connected");
    stream.write_all(bytes).await.expect("sent");
    stream
}

/// Reads until the server closes the connection.
pub(crate) async fn read_all(stream: &mut TcpStream) -> String {
    let mut reply = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut reply)).await;
    read.expect("the server ends the connection in time").expect("read");
    String::from_utf8_lossy(&reply).into_owned()
}

/// The start of an HTTP/2 connection whose initial window has `window` bytes, and one HEADERS frame for each stream.
pub(crate) fn http2(method: u8, path: &str, window: u32, streams: u32) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend_from_slice(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4]);
    bytes.extend_from_slice(&window.to_be_bytes());
    for stream in 0..streams {
        // HPACK: `:method` and `:scheme http` of the static table, then `:path` and `:authority` as literals.
        let mut head = vec![method, 0x86, 0x04, path.len() as u8];
        head.extend_from_slice(path.as_bytes());
        head.extend_from_slice(&[0x01, 1, b'x']);
        let ends = if method == GET { 1 } else { 0 };
        bytes.extend_from_slice(&[0, 0, head.len() as u8, 1, 4 | ends]);
        bytes.extend_from_slice(&(2 * stream + 1).to_be_bytes());
        bytes.extend_from_slice(&head);
    }
    bytes
}

/// `:method GET` and `:method POST` in the static table of HPACK.
const GET: u8 = 0x82;
pub(crate) const POST: u8 = 0x83;

const INFER: &str = "/v1/pipelines/p/infer";
const SMALL_BUDGET: &str = "[server]\nmax_body = \"1MiB\"\nbody_budget = \"1MiB\"\nbudget_wait = \"0s\"\n";

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).expect("written");
    encoder.finish().expect("finished")
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_only_announced_take_nothing_from_the_budget() {
    let server = Server::start(&format!("{SMALL_BUDGET}{}", guests_config("tester", ""))).await;
    let head = format!("POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 1048576\r\n\r\n");
    let mut silent = vec![raw(&server, &http2(POST, INFER, 65_535, 16)).await];
    for _ in 0..16 {
        silent.push(raw(&server, head.as_bytes()).await);
    }
    let chunked = format!(
        "POST {INFER} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"
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
    let head = format!("POST {INFER} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1048576\r\n\r\n");
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
    let mut health = raw(&server, b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let reply = tokio::time::timeout(Duration::from_secs(20), read_all(&mut health)).await.expect("in time");
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_make_room_for_new_ones() {
    let server = Server::start(&format!("[server]\nmax_connections = 4\n{}", guests_config("tester", ""))).await;
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(raw(&server, b"").await);
        let mut health = raw(&server, b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        let reply = read_all(&mut health).await;
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
}

/// A connection whose first request is on the way is not idle, and connections are closed only if a client waits for
/// one.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_not_closed_before_their_first_request_arrives() {
    let server = Server::start(&format!("[server]\nmax_connections = 1\n{}", guests_config("tester", ""))).await;
    let request = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut first = raw(&server, b"").await;
    let mut second = raw(&server, b"").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    first.write_all(request).await.expect("sent");
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
    client.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let mut start = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(60), client.read_exact(&mut start)).await;
    read.expect("a reply while the others are open").expect("a reply");
    assert_eq!(&start, b"HTTP/1.1 200");
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_compressed_and_coarse_on_request() {
    let coarse = format!("[server]\nmetric_buckets = \"coarse\"\n{}", guests_config("tester", ""));
    let mut counts = Vec::new();
    for config in [guests_config("tester", ""), coarse] {
        let server = Server::start(&config).await;
        assert_eq!(server.infer("p", "", "").await.status, 200);
        let plain = server.get("/metrics").await.text;
        assert!(!plain.contains("plimsoll_stage_refused_growths_total{"), "no growth was refused: {plain}");
        counts.push(plain.lines().filter(|line| line.starts_with("plimsoll_stage_duration_seconds_bucket{")).count());
        let packed = server.send("GET", "/metrics", &[("accept-encoding", "gzip")], Vec::new()).await;
        assert_eq!(packed.headers["content-encoding"], "gzip");
        assert!(packed.bytes.len() * 3 < plain.len(), "{} of {}", packed.bytes.len(), plain.len());
    }
    assert!(counts[1] > 0 && counts[0] > 2 * counts[1], "{counts:?}");
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
    // Two bodies are what one connection may hold.
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..2 {
        slow.spawn(send(&one));
    }
    let until = Instant::now() + Duration::from_secs(20);
    while !server.get("/metrics").await.text.contains("stage=\"preprocess\",plugin=\"tester\"} 2\n") {
        assert!(Instant::now() < until, "the requests do not run");
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
