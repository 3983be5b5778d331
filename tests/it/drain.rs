//! The drain before a stop: the server is not ready any more, but still serves. Signals shorten the drain.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use plimsoll::serve::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use plimsoll::serve::grpc::inference::{ModelInferRequest, ModelReadyRequest, ServerLiveRequest, ServerReadyRequest};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::process::{Process, Setup};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A drain that no test waits for.
pub(crate) const LONG: &str = "drain = \"10m\"";

/// A kept-alive connection of HTTP/1.1.
pub(crate) struct Connection(BufReader<Box<dyn Stream>>);

trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A reply.
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Connection {
    /// A connection to `http://HOST:PORT`.
    pub(crate) fn open(url: &str) -> Self {
        let stream = TcpStream::connect(url.trim_start_matches("http://")).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        Self(BufReader::new(Box::new(stream)))
    }

    /// A connection to a unix socket.
    ///
    /// # Errors
    /// If nothing listens on it.
    pub(crate) fn open_socket(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(Box::new(stream))))
    }

    /// Sends a request and reads the whole reply. The error says at which point the connection was lost.
    pub(crate) fn try_request(&mut self, method: &str, path: &str) -> Result<Reply, String> {
        self.try_send(method, path, &[])
    }

    /// As [`Connection::try_request`], with a body.
    pub(crate) fn try_send(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Reply, String> {
        self.try_send_with(method, path, "", body)
    }

    /// As [`Connection::try_send`], with more lines of headers.
    pub(crate) fn try_send_with(&mut self, method: &str, path: &str, more: &str, body: &[u8]) -> Result<Reply, String> {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{more}content-length: {length}\r\n\r\n");
        let request = [head.as_bytes(), body].concat();
        self.0.get_mut().write_all(&request).map_err(|error| format!("not sent: {error}"))?;
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
        Ok(Reply { status, head, body: String::from_utf8_lossy(&body).into_owned() })
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
async fn in_the_drain_the_grpc_health_is_not_serving_and_calls_are_answered() {
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
    // Each call has its own connection: the server asks the client to leave after the first one.
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

#[tokio::test(flavor = "multi_thread")]
async fn idle_grpc_streams_end_before_the_grace_period_is_over() {
    let setup = Setup::new("drain = \"0s\"");
    let mut process = setup.serve();
    let channel = tonic::transport::Channel::from_shared(process.url()).expect("a URL");
    let channel = channel.connect().await.expect("a server");
    let (mut health, mut inference) =
        (HealthClient::new(channel.clone()), GrpcInferenceServiceClient::new(channel.clone()));
    let mut watched = health.watch(HealthCheckRequest::default()).await.expect("a stream").into_inner();
    let first = watched.message().await.expect("no error").expect("a status");
    assert_eq!(first.status(), ServingStatus::Serving);
    let (_sender, messages) = tokio::sync::mpsc::unbounded_channel::<ModelInferRequest>();
    let messages =
        futures_util::stream::unfold(messages, async |mut messages| Some((messages.recv().await?, messages)));
    let mut answers = inference.model_stream_infer(messages).await.expect("a stream").into_inner();

    process.signal("-TERM");
    let next = watched.message().await.expect("no error").expect("a status");
    assert_eq!(next.status(), ServingStatus::NotServing);
    assert!(watched.message().await.expect("the stream ends without an error").is_none());
    assert!(answers.message().await.expect("the stream ends without an error").is_none());
    let (code, log) = process.wait_for_exit();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("the grace period is over"), "{log}");
}

#[test]
fn sigint_stops_without_a_drain_and_running_requests_finish() {
    let setup = Setup::new(LONG);
    let mut process = setup.serve();
    let url = process.url();
    let slow = sleeping(&process, &url, 5000);
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
