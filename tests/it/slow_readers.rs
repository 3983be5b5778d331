//! Clients that read their replies slowly. They get them while nothing else needs the bytes or the connection, and then
//! they make room.

use std::time::{Duration, Instant};

use plimsoll_tests::{Site, guests_config, shared_cache};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::wrapped::{Wrapped, site, until};

/// Bytes of a large reply, of which three almost fill the budget. A slow client needs 26 s for it.
const LARGE: usize = 14 << 20;
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy)]
enum Protocol {
    Http1,
    Http2,
    Grpc,
}

/// A server whose clients must read 4 MiB per second. The rate is high because the system's buffer for a connection takes
/// some megabytes at once.
fn start(limits: &str) -> (Site, Wrapped) {
    let site = site("");
    let text = format!(
        "cache_dir = {:?}\n[server]\nreply_timeout = \"4s\"\nreply_min_rate = \"4MiB\"\n{limits}\n{}max_output = \
         \"64MiB\"\nmax_memory = \"256MiB\"\n",
        shared_cache(),
        guests_config("tester", "")
    );
    std::fs::write(&site.config, text).expect("written");
    let served = Wrapped::start::<&str>(&[], &site);
    (site, served)
}

/// A field of Protocol Buffers with a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).expect("short")], content].concat()
}

/// A request for a reply of `bytes` bytes: `ModelInferRequest` in the frame of gRPC.
fn grpc_request(bytes: usize) -> Vec<u8> {
    let parameter = |name: &str, value: &str| {
        field(4, &[field(1, name.as_bytes()), field(2, &field(3, value.as_bytes()))].concat())
    };
    let contents = field(5, &field(8, b"x"));
    let input = [field(1, b"image"), field(2, b"BYTES"), field(3, &[1]), contents].concat();
    let message =
        [field(1, b"p"), parameter("post", "big"), parameter("bytes", &bytes.to_string()), field(5, &input)].concat();
    [&[0, 0, 0, 0, u8::try_from(message.len()).expect("short")][..], &message].concat()
}

/// Asks for `bytes` bytes and reads about half a megabyte of them per second. Returns how many arrived.
async fn read_slowly(address: String, protocol: Protocol, bytes: usize) -> usize {
    let path = format!("/v1/pipelines/p/infer?post=big&bytes={bytes}");
    let mut read = 0;
    if let Protocol::Http1 = protocol {
        let mut stream = TcpStream::connect(&address).await.expect("connected");
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut piece = vec![0; 16 << 10];
        while let Ok(some @ 1..) = stream.read(&mut piece).await {
            read += some;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        return read;
    }
    let client = reqwest::Client::builder().http2_prior_knowledge().http2_initial_stream_window_size(16 << 10).build();
    let client = client.expect("a client");
    let request = match protocol {
        Protocol::Grpc => client
            .post(format!("http://{address}/inference.GRPCInferenceService/ModelInfer"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(grpc_request(bytes)),
        Protocol::Http1 | Protocol::Http2 => client.post(format!("http://{address}{path}")),
    };
    let mut reply = request.send().await.expect("a reply");
    while let Ok(Some(chunk)) = reply.chunk().await {
        read += chunk.len();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    read
}

/// Starts slow clients, and waits until all have begun to get their replies.
async fn slow_clients(served: &Wrapped, protocol: Protocol, count: usize, bytes: usize) -> JoinSet<usize> {
    let answered = async || {
        let (_, metrics) = served.send("GET", "/metrics", Vec::new()).await;
        let is_answer = |line: &&str| line.starts_with("plimsoll_requests_total{") && line.contains("outcome=\"ok\"");
        let counts = metrics.lines().filter(is_answer).filter_map(|line| line.rsplit(' ').next());
        counts.map(|count| count.parse::<usize>().expect("a number")).sum::<usize>()
    };
    let before = answered().await;
    let mut slow = JoinSet::new();
    for _ in 0..count {
        slow.spawn(read_slowly(served.address().to_owned(), protocol, bytes));
    }
    until("the slow clients", async || answered().await == before + count).await;
    slow
}

async fn slow_clients_make_room(protocol: Protocol) {
    let (_site, served) = start("reply_budget = \"44MiB\"\nbudget_wait = \"100ms\"");
    // Alone, a slow client gets its whole reply.
    const ALONE: usize = 3 << 20;
    let alone = read_slowly(served.address().to_owned(), protocol, ALONE);
    let alone = tokio::time::timeout(Duration::from_secs(60), alone).await.expect("its reply arrives");
    assert!(alone >= ALONE, "{protocol:?}: {alone} of {ALONE} bytes");

    let slow = slow_clients(&served, protocol, 3, LARGE).await;
    let (mut refused, end) = (0, Instant::now() + PATIENCE);
    loop {
        let (status, text) = served.send("POST", "/v1/pipelines/p/infer?post=big&bytes=8000000", Vec::new()).await;
        match status {
            200 => {
                assert_eq!(text.len(), 8_000_000);
                break;
            }
            _ => assert!(status == 503 && text.contains("server.reply_budget"), "{status} {text}"),
        }
        refused += 1;
        assert!(Instant::now() < end, "{protocol:?}: the slow clients keep the budget");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let log = served.log();
    assert!(log.contains("server.reply_min_rate") && log.contains("a reply was cut off"), "{refused} {log}");
    let cut_off = log.matches("a reply was cut off").count();
    assert!(cut_off < 3, "only as many as needed: {log}");
    let read = slow.join_all().await;
    let whole = read.iter().filter(|read| **read >= LARGE).count();
    assert_eq!(whole, 3 - cut_off, "{protocol:?}: the others are whole, and this is no whole reply: {read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_of_http_1_make_room_for_other_replies() {
    slow_clients_make_room(Protocol::Http1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_of_http_2_make_room_for_other_replies() {
    slow_clients_make_room(Protocol::Http2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_of_grpc_make_room_for_other_replies() {
    slow_clients_make_room(Protocol::Grpc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_make_room_for_other_connections() {
    let (_site, served) = start("max_connections = 3");
    let mut slow = JoinSet::new();
    for _ in 0..3 {
        slow.spawn(read_slowly(served.address().to_owned(), Protocol::Http1, LARGE));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut other = TcpStream::connect(served.address()).await.expect("connected");
    let head = "GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    other.write_all(head.as_bytes()).await.expect("sent");
    let mut reply = String::new();
    let read = tokio::time::timeout(PATIENCE, other.read_to_string(&mut reply)).await;
    read.expect("the slow clients keep the connections").expect("read");
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    let cut_off = slow.join_all().await.iter().filter(|read| **read < LARGE).count();
    assert!(cut_off > 0, "one has made room");
}
