//! Large replies are packed away from the threads that serve connections.
//!
//! The server has one thread for connections, and all threads for blocking work are kept busy. So a reply that is packed on
//! a thread for blocking work cannot be sent, and everything else can.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use plimsoll::base::process::process_memory;
use plimsoll_tests::{Server, guests_config};
use tokio::runtime::{Builder, Runtime};

const PATIENCE: Duration = Duration::from_secs(60);
const BYTES: usize = 28 << 20;

/// The threads for blocking work.
const THREADS: usize = 4;

/// Keeps all threads for blocking work busy until the result is dropped.
fn occupy(runtime: &Runtime) -> Vec<mpsc::Sender<()>> {
    let (begin, begun) = mpsc::channel();
    let occupy_one = |_| {
        let (release, released) = mpsc::channel::<()>();
        let begin = begin.clone();
        runtime.spawn_blocking(move || {
            begin.send(()).expect("the test waits");
            // An error: the sender is dropped.
            let _ = released.recv();
        });
        release
    };
    let busy = (0..THREADS).map(occupy_one).collect();
    (0..THREADS).for_each(|_| begun.recv_timeout(PATIENCE).expect("the threads become free"));
    busy
}

fn send(address: &str, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.write_all(request.as_bytes()).expect("sent");
    stream
}

fn read_all(mut stream: TcpStream) -> String {
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).expect("read");
    String::from_utf8(reply).expect("text")
}

/// The number of requests that have run all their stages.
fn completed(server: &Server) -> u64 {
    let metrics = server.app.records.metrics.encode(&process_memory(), None);
    let lines =
        metrics.lines().filter(|line| line.starts_with("plimsoll_requests_total{") && line.contains("outcome=\"ok\""));
    lines.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect("a number")).sum()
}

/// Sends a request for a reply of `bytes` bytes while the threads for blocking work are busy. Returns whether it was sent
/// meanwhile, and the reply.
fn ask(runtime: &Runtime, server: &Server, bytes: usize) -> (bool, String) {
    let address = &server.url["http://".len()..];
    let parameters = format!(r#"{{"post":"big","bytes":"{bytes}"}}"#);
    let body = format!(
        r#"{{"parameters":{parameters},"inputs":[{{"name":"image","shape":[1],"datatype":"BYTES","data":["x"]}}]}}"#
    );
    let before = completed(server);
    let busy = occupy(runtime);
    let mut reply = send(
        address,
        &format!(
            "POST /v2/models/p/infer HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
    );
    let end = std::time::Instant::now() + PATIENCE;
    while completed(server) == before {
        assert!(std::time::Instant::now() < end, "the request does not run");
        std::thread::sleep(Duration::from_millis(2));
    }
    // The reply is being packed, or would be: everything else is answered.
    for _ in 0..20 {
        let health = send(address, "GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        assert!(read_all(health).starts_with("HTTP/1.1 200"));
    }
    reply.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
    let mut first = [0; 1];
    let is_sent = match reply.read(&mut first) {
        Ok(_) => true,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    };
    reply.set_read_timeout(Some(PATIENCE)).expect("set");
    drop(busy);
    let rest = read_all(reply);
    (is_sent, if is_sent { format!("{}{rest}", char::from(first[0])) } else { rest })
}

#[test]
fn a_large_reply_is_packed_away_from_the_threads_that_serve_connections() {
    let runtime = Builder::new_multi_thread().worker_threads(1).max_blocking_threads(THREADS).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let config = format!("{}max_output = \"64MiB\"\nmax_memory = \"256MiB\"\n", guests_config("tester", ""));
    let server = runtime.block_on(Server::start(&config));
    // A small reply is packed at once, so the test can fail.
    let (is_sent, small) = ask(&runtime, &server, 1_000);
    assert!(is_sent && small.starts_with("HTTP/1.1 200"), "{is_sent} {small}");
    let (is_sent, large) = ask(&runtime, &server, BYTES);
    assert!(!is_sent, "the reply was packed on the thread that serves connections");
    assert!(large.starts_with("HTTP/1.1 200") && large.len() > BYTES, "{}", &large[..large.len().min(1_000)]);
    runtime.block_on(server.stop());
}
