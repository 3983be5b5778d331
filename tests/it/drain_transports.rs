//! The drain and the stop over everything on which a server listens: TLS, unix sockets, and separate addresses of gRPC and
//! administration. What is on its way when the server is asked to stop is answered: bodies, heads and handshakes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use plimsoll::serve::grpc::inference::ServerReadyRequest;
use plimsoll::serve::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use plimsoll_tests::{guests_config, shared_cache};

use crate::drain::{INFER, LONG, PATIENCE, READY};
use crate::process::{Process, Setup};
use crate::tls::{certified, have};

/// Reads the whole reply of a connection that the server closes.
fn rest(mut stream: impl Read) -> String {
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("a reply");
    reply.to_ascii_lowercase()
}

/// Sends a request and reads until the server closes the connection.
fn exchange(mut stream: impl Read + Write, method: &str, path: &str) -> String {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    rest(stream)
}

fn connect(url: &str) -> TcpStream {
    let stream = TcpStream::connect(url.trim_start_matches("http://")).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
}

fn assert_closes(reply: &str, status: u16) {
    let head = format!("http/1.1 {status}");
    assert!(reply.starts_with(&head) && reply.contains("\r\nconnection: close\r\n"), "{reply}");
}

/// The first word of the log after some words.
fn word_after(process: &Process, words: &str) -> String {
    let log = process.wait_for(words);
    let at = log.find(words).expect("found") + words.len();
    log[at..].split_whitespace().next().expect("a word").to_owned()
}

#[test]
fn in_the_drain_a_unix_socket_and_the_address_of_administration_serve_and_close() {
    let setup = Setup::with(&format!(
        "cache_dir = {:?}\n[server]\n{LONG}\n[admin]\nlisten = \"127.0.0.1:0\"\n{}",
        shared_cache(),
        guests_config("tester", "")
    ));
    let socket = setup.path("plimsoll.sock");
    let mut process = setup.serve_on(&format!("127.0.0.1:0,unix:{socket}"));
    process.url();
    let admin = word_after(&process, "listening for administration, reports and metrics on ");
    let unix = || {
        let stream = UnixStream::connect(&socket).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream
    };
    // Connections that are open, and have sent nothing so far.
    let (waiting_unix, waiting_admin) = (unix(), connect(&admin));
    process.signal("-TERM");
    process.wait_for("draining");
    for (stream, path, status) in [(waiting_unix, READY, 503), (unix(), READY, 503), (unix(), INFER, 200)] {
        let method = if path == INFER { "POST" } else { "GET" };
        assert_closes(&exchange(stream, method, path), status);
    }
    for (stream, path, status) in [(waiting_admin, READY, 503), (connect(&admin), "/metrics", 200)] {
        assert_closes(&exchange(stream, "GET", path), status);
    }
    process.signal("-TERM");
    assert_eq!(process.wait_for_exit().0, Some(0));
    assert!(!Path::new(&socket).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_drain_the_address_of_grpc_asks_clients_to_leave_and_answers_them() {
    let setup = Setup::new(&format!("{LONG}\ngrpc_listen = \"127.0.0.1:0\""));
    let mut process = setup.serve();
    process.url();
    let url = format!("http://{}", word_after(&process, "listening for gRPC on "));
    let mut kept = GrpcInferenceServiceClient::new(crate::grpc_calls::channel(&url).await);
    assert!(kept.server_ready(ServerReadyRequest {}).await.expect("an answer").into_inner().ready);
    process.signal("-TERM");
    process.wait_for("draining");
    // A client that does not connect again by itself finds its connection closed after GOAWAY, or gets the GOAWAY itself if its
    // request crosses it. Both say that the request was not processed.
    let left = kept.server_ready(ServerReadyRequest {}).await;
    let is_asked_to_leave = |status: &tonic::Status| {
        status.code() == tonic::Code::Cancelled || format!("{status:?}").contains("GoAway(b\"\", NO_ERROR, Remote)")
    };
    assert!(left.is_ok() || left.as_ref().is_err_and(is_asked_to_leave), "{left:?}");
    for _ in 0..3 {
        let mut new = GrpcInferenceServiceClient::new(crate::grpc_calls::channel(&url).await);
        assert!(!new.server_ready(ServerReadyRequest {}).await.expect("an answer").into_inner().ready);
    }
    process.signal("-TERM");
    assert_eq!(process.wait_for_exit().0, Some(0));
}

/// The head, or a part of the body, was sent before the signal. The rest is sent in the drain, or after the listeners were
/// closed.
#[test]
fn a_head_and_a_body_in_flight_over_the_signal_are_answered() {
    let request = format!("POST {INFER} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 300000\r\n\r\n").into_bytes();
    let request = [request, vec![b'x'; 300_000]].concat();
    for (signal, words) in [("-TERM", "draining"), ("-INT", "accepting no new connections")] {
        let setup = Setup::new(LONG);
        let mut process = setup.serve();
        let url = process.url();
        // The end of what was sent before: inside of the head (only in the drain), after it, and inside of the body.
        let ends = if signal == "-TERM" { vec![10, 60, 100_000] } else { vec![100_000, 200_000] };
        let streams: Vec<_> = ends
            .into_iter()
            .map(|end| {
                let mut stream = connect(&url);
                stream.write_all(&request[..end]).expect("sent");
                (stream, end)
            })
            .collect();
        wait_for_bodies(&url, if signal == "-TERM" { 90_000 } else { 250_000 });
        process.signal(signal);
        process.wait_for(words);
        for (mut stream, end) in streams {
            stream.write_all(&request[end..]).expect("sent");
            assert_closes(&rest(stream), 200);
        }
        if signal == "-TERM" {
            process.signal("-TERM");
        }
        let (code, log) = process.wait_for_exit();
        assert_eq!(code, Some(0), "{log}");
        assert!(!log.contains("cancelled"), "{log}");
    }
}

/// Waits until the bodies that have arrived have so many bytes.
fn wait_for_bodies(url: &str, bytes: u64) {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut stream = connect(url);
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("sent");
        let metrics = rest(stream);
        let used = metrics.lines().find_map(|line| line.strip_prefix("plimsoll_budget_used_bytes{budget=\"bodies\"} "));
        if used.expect("a metric").parse::<u64>().expect("a number") >= bytes {
            return;
        }
        assert!(Instant::now() < end, "the bodies do not arrive: {metrics}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Connects a client to the server, but passes on what the client sends only after a signal: the handshake of TLS, and then
/// the request, are on their way when the server stops. Returns the port for the client, and the sender of the signal.
fn holding_back(server: &str) -> (u16, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let mut to_server = connect(server);
    let (pass, passed) = channel();
    std::thread::spawn(move || {
        let (mut from_client, _) = listener.accept().expect("a client");
        let (mut from_server, mut to_client) =
            (to_server.try_clone().expect("cloned"), from_client.try_clone().expect("cloned"));
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from_server, &mut to_client);
            let _ = to_client.shutdown(std::net::Shutdown::Write);
        });
        passed.recv().expect("a signal");
        let _ = std::io::copy(&mut from_client, &mut to_server);
    });
    (port, pass)
}

#[test]
fn handshakes_and_first_requests_on_their_way_are_answered_although_the_server_stops() {
    if !have(&["openssl", "curl"]) {
        return;
    }
    let folder = certified("");
    let mut command = crate::served_folder::command(folder.path());
    command.args(["serve", "--config", "plimsoll.toml", "--listen", "127.0.0.1:0"]);
    let mut process = Process::with_own_environment(&mut command);
    let url = word_after(&process, "listening on https://");
    let curl = |port: u16| {
        let mut command = Command::new("curl");
        command.current_dir(folder.path()).args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*"]);
        command.args(["--cacert", "ca.pem", "--http1.1", "--data-binary", "x", "-w", " %{http_code}"]);
        command.arg(format!("https://127.0.0.1:{port}{INFER}")).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("curl starts")
    };
    let (port, pass) = holding_back(&url);
    let client = curl(port);
    process.signal("-INT");
    process.wait_for("accepting no new connections");
    pass.send(()).expect("it waits");
    let output = client.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && text.ends_with(" 200"), "{text}");
    let (code, log) = process.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("cancelled"), "{log}");

    // The same without TLS.
    let setup = Setup::new("drain = \"0s\"");
    let mut process = setup.serve();
    let stream = connect(&process.url());
    process.signal("-TERM");
    process.wait_for("accepting no new connections");
    assert_closes(&exchange(stream, "POST", INFER), 200);
    assert_eq!(process.wait_for_exit().0, Some(0));
}

#[test]
fn in_the_drain_tls_connections_are_served_and_closed() {
    if !have(&["openssl", "curl"]) {
        return;
    }
    let folder = certified("");
    let mut command = crate::served_folder::command(folder.path());
    command
        .args(["serve", "--config", "plimsoll.toml", "--listen", "127.0.0.1:0"])
        .env("PLIMSOLL_SERVER__DRAIN", "10m");
    let mut process = Process::with_own_environment(&mut command);
    let url = word_after(&process, "listening on ");
    process.signal("-TERM");
    process.wait_for("draining for 600s");
    for (version, path, status) in [("--http1.1", READY, "503"), ("--http1.1", INFER, "200"), ("--http2", INFER, "200")]
    {
        let mut command = Command::new("curl");
        command.current_dir(folder.path()).args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*"]);
        command.args([version, "--cacert", "ca.pem", "--include", "-w", " %{http_code}"]);
        if path == INFER {
            command.args(["--data-binary", "x"]);
        }
        let output = command.arg(format!("{url}{path}")).output().expect("curl starts");
        let text = String::from_utf8_lossy(&output.stdout).to_ascii_lowercase();
        assert!(output.status.success() && text.ends_with(&format!(" {status}")), "{text}");
        assert_eq!(text.contains("\r\nconnection: close\r\n"), version == "--http1.1", "{text}");
    }
    process.signal("-TERM");
    assert_eq!(process.wait_for_exit().0, Some(0));
}
