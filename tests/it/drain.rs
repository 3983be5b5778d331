//! The drain before a stop: not ready at once, but still serving. Then a rolling restart behind HAProxy loses nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use plimsoll::serve::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use plimsoll::serve::grpc::inference::{ModelReadyRequest, ServerLiveRequest, ServerReadyRequest};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::start_stop::{Process, Setup};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A drain that no test waits for.
const LONG: &str = "drain = \"10m\"";

/// A kept-alive connection of HTTP/1.1.
pub(crate) struct Connection(BufReader<TcpStream>);

/// Status and head of a reply.
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
}

impl Connection {
    pub(crate) fn open(url: &str) -> Self {
        let stream = TcpStream::connect(url.trim_start_matches("http://")).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        Self(BufReader::new(stream))
    }

    /// Sends a request and reads the whole reply. The error says at which point the connection was lost.
    pub(crate) fn try_request(&mut self, method: &str, path: &str) -> Result<Reply, String> {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).map_err(|error| format!("not sent: {error}"))?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match self.0.read_line(&mut head) {
                Ok(0) => return Err(format!("the connection was closed after {head:?}")),
                Ok(_) => {}
                Err(error) => return Err(format!("no reply: {error}")),
            }
        }
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let mut body = vec![0; length.parse().expect("a number")];
        self.0.read_exact(&mut body).map_err(|error| format!("the body is cut off: {error}"))?;
        let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Ok(Reply { status, head })
    }

    fn request(&mut self, method: &str, path: &str) -> Reply {
        self.try_request(method, path).expect("a reply")
    }

    /// Returns true if the server has closed the connection.
    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0))
    }
}

impl Reply {
    pub(crate) fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }
}

pub(crate) const READY: &str = "/v2/health/ready";
pub(crate) const INFER: &str = "/v1/pipelines/p/infer";

#[test]
fn in_the_drain_the_server_is_not_ready_and_serves_new_and_kept_alive_connections() {
    let setup = Setup::new(LONG);
    let mut process = setup.serve();
    let url = process.url();
    let mut kept = Connection::open(&url);
    let ready = kept.request("GET", READY);
    assert_eq!((ready.status, ready.closes()), (200, false));
    let mut idle = Connection::open(&url);
    assert_eq!(idle.request("POST", INFER).status, 200);
    // A request that begins before the drain.
    let mut slow = Connection::open(&url);
    let slow = std::thread::spawn(move || slow.request("POST", "/v1/pipelines/p/infer?do=sleep&ms=1000"));

    process.signal("-TERM");
    process.wait_for("draining for 600s");
    let ready = kept.request("GET", READY);
    assert_eq!((ready.status, ready.closes()), (503, true));
    assert!(kept.is_closed());
    let infer = idle.request("POST", INFER);
    assert_eq!((infer.status, infer.closes()), (200, true), "a kept-alive connection that was idle");
    assert!(idle.is_closed());
    for (method, path, status) in [
        ("GET", READY, 503),
        ("GET", "/v2/models/p/ready", 503),
        ("GET", "/v2/health/live", 200),
        ("POST", INFER, 200),
        ("GET", "/no/such/route", 404),
    ] {
        let mut new = Connection::open(&url);
        let reply = new.request(method, path);
        assert_eq!((reply.status, reply.closes()), (status, true), "{path}");
        assert!(new.is_closed(), "{path}");
    }
    assert_eq!(slow.join().expect("no panic").status, 200);

    process.signal("-TERM");
    let (code, log) = process.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the drain ends early"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_drain_grpc_is_not_serving_and_live_and_answers() {
    let setup = Setup::new(LONG);
    let mut process = setup.serve();
    let url = process.url();
    let channel =
        tonic::transport::Channel::from_shared(url.clone()).expect("a URL").connect().await.expect("a server");
    let mut health = HealthClient::new(channel);
    let checked = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let status = health.check(checked("")).await.expect("an answer").into_inner().status();
    assert_eq!(status, ServingStatus::Serving);
    let mut watched = health.watch(checked("")).await.expect("a stream").into_inner();
    let first = watched.message().await.expect("no error").expect("a status");
    assert_eq!(first.status(), ServingStatus::Serving);

    process.signal("-TERM");
    process.wait_for("draining");
    let next = watched.message().await.expect("no error").expect("a status");
    assert_eq!(next.status(), ServingStatus::NotServing, "pushed to the client that watches");
    let new = tonic::transport::Channel::from_shared(url).expect("a URL").connect().await.expect("a server");
    let mut inference = GrpcInferenceServiceClient::new(new);
    // Each call has a connection of its own: the server asks the client to leave after the first one.
    assert!(inference.server_live(ServerLiveRequest {}).await.expect("an answer").into_inner().live);
    drop(inference);
    for model in [None, Some("p")] {
        let new = tonic::transport::Channel::from_shared(process.url()).expect("a URL");
        let mut inference = GrpcInferenceServiceClient::new(new.connect().await.expect("a server"));
        let ready = match model {
            None => inference.server_ready(ServerReadyRequest {}).await.expect("an answer").into_inner().ready,
            Some(name) => {
                let model = ModelReadyRequest { name: name.into(), ..ModelReadyRequest::default() };
                inference.model_ready(model).await.expect("an answer").into_inner().ready
            }
        };
        assert!(!ready, "{model:?}");
    }
    drop(watched);
    process.signal("-INT");
    assert_eq!(process.wait_for_exit().0, Some(0));
}

/// A connection of HTTP/2, frame by frame.
struct Http2(TcpStream);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;

impl Http2 {
    fn open(url: &str) -> Self {
        let stream = TcpStream::connect(url.trim_start_matches("http://")).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut this = Self(stream);
        this.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("sent");
        this.send(4, 0, 0, &[]);
        this
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).expect("sent");
    }

    /// Sends a request without a body; `method` is an entry of the static table of HPACK: 2 is GET, 3 is POST.
    fn request(&mut self, stream: u32, method: u8, path: &str) {
        let mut head = vec![0x80 | method, 0x86];
        for (name, value) in [(4, path), (1, "localhost")] {
            head.extend([name, u8::try_from(value.len()).expect("short")]);
            head.extend(value.as_bytes());
        }
        self.send(HEADERS, 4 | END_STREAM, stream, &head);
    }

    /// Reads a frame: its kind, flags and stream. Answers pings. `None` if the connection is closed.
    fn frame(&mut self) -> Option<(u8, u8, u32)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).ok()?;
        let (kind, flags) = (head[3], head[4]);
        if kind == PING && flags & ACK == 0 {
            self.send(PING, ACK, 0, &payload);
        }
        Some((kind, flags, u32::from_be_bytes([head[5], head[6], head[7], head[8]])))
    }

    /// Reads until the connection is closed. Returns the kinds of frames, and the streams whose reply is complete.
    fn rest(mut self) -> (Vec<u8>, Vec<u32>) {
        let (mut kinds, mut complete) = (Vec::new(), Vec::new());
        while let Some((kind, flags, stream)) = self.frame() {
            kinds.push(kind);
            if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                complete.push(stream);
            }
        }
        (kinds, complete)
    }

    /// Reads until the reply to a stream is complete.
    fn complete(&mut self, wanted: u32) {
        loop {
            let (kind, flags, stream) = self.frame().expect("the reply comes before the end");
            assert_ne!(kind, GOAWAY, "nobody asked the server to stop");
            if matches!(kind, DATA | HEADERS) && stream == wanted && flags & END_STREAM != 0 {
                return;
            }
        }
    }
}

#[test]
fn in_the_drain_http2_connections_are_asked_to_go_away_after_their_requests() {
    let setup = Setup::new(LONG);
    let mut process = setup.serve();
    let url = process.url();
    let mut idle = Http2::open(&url);
    idle.request(1, 2, READY);
    idle.complete(1);
    let mut busy = Http2::open(&url);
    busy.request(1, 2, READY);
    busy.complete(1);
    busy.request(3, 3, "/v1/pipelines/p/infer?do=sleep&ms=1000");
    // Without a request so far, so that GOAWAY would make the client connect in vain.
    let mut silent = Http2::open(&url);

    process.signal("-TERM");
    process.wait_for("draining");
    let (kinds, _) = idle.rest();
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    let (kinds, complete) = busy.rest();
    assert!(kinds.contains(&GOAWAY) && complete == [3], "{kinds:?} {complete:?}");
    let mut new = Http2::open(&url);
    for connection in [&mut silent, &mut new] {
        connection.request(1, 3, INFER);
    }
    for connection in [silent, new] {
        let (kinds, complete) = connection.rest();
        assert!(kinds.contains(&GOAWAY) && complete == [1], "{kinds:?} {complete:?}");
    }
    process.signal("-TERM");
    assert_eq!(process.wait_for_exit().0, Some(0));
}

#[test]
fn sigint_stops_without_a_drain_and_running_requests_finish() {
    let setup = Setup::new(LONG);
    let mut process = setup.serve();
    let url = process.url();
    let slow = sleeping(&process, &url, 1000);
    process.signal("-INT");
    let (code, log) = process.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("draining") && log.contains("stopped"), "{log}");
    assert_eq!(slow.join().expect("no panic").expect("a reply").status, 200);
}

#[test]
fn the_second_signal_ends_the_drain_and_the_third_cancels_what_still_runs() {
    let setup = Setup::new(&format!("{LONG}\ngrace_period = \"10m\""));
    let mut process = setup.serve();
    let url = process.url();
    let slow = sleeping(&process, &url, 50_000);
    process.signal("-TERM");
    process.wait_for("draining");
    process.signal("-TERM");
    process.wait_for("accepting no new connections");
    process.signal("-TERM");
    let (code, log) = process.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("cancelled, because of another signal"), "{log}");
    assert!(slow.join().expect("no panic").is_err());
}

/// Starts a request, and returns when it runs.
fn sleeping(process: &Process, url: &str, milliseconds: u32) -> std::thread::JoinHandle<Result<Reply, String>> {
    let mut connection = Connection::open(url);
    let path = format!("/v1/pipelines/p/infer?do=sleep&ms={milliseconds}");
    let slow = std::thread::spawn(move || connection.try_request("POST", &path));
    let live = "plimsoll_stage_live_instances{pipeline=\"p\",stage=\"preprocess\",plugin=\"tester\"} 1";
    let end = Instant::now() + PATIENCE;
    loop {
        let mut connection = TcpStream::connect(url.trim_start_matches("http://")).expect("a connection");
        connection.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("sent");
        let mut metrics = String::new();
        connection.read_to_string(&mut metrics).expect("a reply");
        if metrics.contains(live) {
            return slow;
        }
        assert!(Instant::now() < end, "the request does not begin: {}", process.wait_for("listening"));
        std::thread::sleep(Duration::from_millis(5));
    }
}
