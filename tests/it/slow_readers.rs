//! Clients that read their replies slowly. They get them while nothing else needs the bytes or the connection, and then
//! they make room.

use std::time::{Duration, Instant};

use plimsoll_tests::{Site, guests_config, shared_cache};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::wrapped::{Wrapped, site, until};

/// Bytes of a large reply. All clients below are still reading theirs when the slowest one must make room.
const LARGE: usize = 24 << 20;
const PATIENCE: Duration = Duration::from_secs(60);
/// How many 16 KiB pieces the clients read in 27 ms: they read about 2.4, 1.2 and 0.6 MB per second.
const PIECES: [usize; 3] = [4, 2, 1];
/// The time after which all clients are measured.
const MEASURED: Duration = Duration::from_millis(5_500);

#[derive(Debug, Clone, Copy)]
enum Protocol {
    Http1,
    Http2,
    Grpc,
}

/// A server whose clients must read 16 MiB per second, measured over 4 s. The rate is high because the system's buffer for a
/// connection takes some megabytes at once.
fn start(limits: &str) -> (Site, Wrapped) {
    let site = site("");
    let text = format!(
        "cache_dir = {:?}\n[server]\nreply_timeout = \"4s\"\nreply_min_rate = \"16MiB\"\n{limits}\n{}max_output = \
         \"64MiB\"\nmax_memory = \"256MiB\"\n",
        shared_cache(),
        guests_config("tester", "")
    );
    plimsoll_tests::replace_file(&site.config, text).expect("written");
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

/// A client that reads a large reply slowly until it is released, and then as fast as it can. The task returns how many
/// bytes arrived.
struct Client {
    protocol: Protocol,
    pieces: usize,
    /// Told when the first bytes have arrived.
    begun: mpsc::Sender<()>,
    released: watch::Receiver<bool>,
}

impl Client {
    /// The client has read `read` bytes, and `piece` of them just now.
    async fn pause(&self, read: usize, piece: usize) {
        if read == piece {
            self.begun.send(()).await.expect("the test waits");
        }
        if !*self.released.borrow() {
            tokio::time::sleep(Duration::from_millis(27) * piece as u32 / (self.pieces * (16 << 10)) as u32).await;
        }
    }

    async fn read(self, address: String) -> usize {
        let path = format!("/v1/pipelines/p/infer?post=big&bytes={LARGE}");
        let mut read = 0;
        if let Protocol::Http1 = self.protocol {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.set_recv_buffer_size(64 << 10).expect("set");
            let mut stream = socket.connect(address.parse().expect("an address")).await.expect("connected");
            let head =
                format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("sent");
            let mut piece = vec![0; 16 << 10];
            while let Ok(some @ 1..) = stream.read(&mut piece).await {
                read += some;
                self.pause(read, some).await;
            }
            return read;
        }
        let client = reqwest::Client::builder().http2_prior_knowledge().http2_initial_stream_window_size(64 << 10);
        let client = client.build().expect("a client");
        let request = match self.protocol {
            Protocol::Grpc => client
                .post(format!("http://{address}/inference.GRPCInferenceService/ModelInfer"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(grpc_request(LARGE)),
            Protocol::Http1 | Protocol::Http2 => client.post(format!("http://{address}{path}")),
        };
        let mut reply = request.send().await.expect("a reply");
        while let Ok(Some(chunk)) = reply.chunk().await {
            read += chunk.len();
            self.pause(read, chunk.len()).await;
        }
        read
    }
}

/// Clients that read slowly, each with another rate.
struct SlowClients {
    released: watch::Sender<bool>,
    clients: Vec<JoinHandle<usize>>,
}

impl SlowClients {
    /// Starts the clients one after the other, each when the one before gets its reply, and lets the server measure them.
    async fn start(served: &Wrapped, protocol: Protocol) -> Self {
        let (released, on_release) = watch::channel(false);
        let mut clients = Vec::new();
        for pieces in PIECES {
            let (begun, mut begins) = mpsc::channel(1);
            let client = Client { protocol, pieces, begun, released: on_release.clone() };
            clients.push(tokio::spawn(client.read(served.address().to_owned())));
            tokio::time::timeout(PATIENCE, begins.recv()).await.expect("a reply").expect("a reply");
        }
        tokio::time::sleep(MEASURED).await;
        Self { released, clients }
    }

    /// Lets the clients read fast. Returns which of them get the whole reply.
    async fn release(self) -> Vec<bool> {
        self.released.send_replace(true);
        let mut whole = Vec::new();
        for client in self.clients {
            whole.push(client.await.expect("no panic") >= LARGE);
        }
        whole
    }
}

async fn the_slowest_client_makes_room(protocol: Protocol) {
    // Three large replies fit, and little else.
    let (_site, served) = start("reply_budget = \"76MiB\"\nbudget_wait = \"100ms\"");
    let slow = SlowClients::start(&served, protocol).await;
    let end = Instant::now() + PATIENCE;
    loop {
        let (status, text) = served.send("POST", "/v1/pipelines/p/infer?post=big&bytes=8000000", Vec::new()).await;
        if status == 200 {
            assert_eq!(text.len(), 8_000_000);
            break;
        }
        assert!(status == 503 && text.contains("server.reply_budget"), "{status} {text}");
        assert!(Instant::now() < end, "{protocol:?}: the slow clients keep the budget");
    }
    let log = served.log();
    assert!(log.contains("server.reply_min_rate") && log.contains("a reply was cut off"), "{log}");
    assert_eq!(slow.release().await, [true, true, false], "{protocol:?}: only the slowest one: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slowest_client_of_http_1_makes_room_for_another_reply() {
    the_slowest_client_makes_room(Protocol::Http1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slowest_client_of_http_2_makes_room_for_another_reply() {
    the_slowest_client_makes_room(Protocol::Http2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slowest_client_of_grpc_makes_room_for_another_reply() {
    the_slowest_client_makes_room(Protocol::Grpc).await;
}

/// If there is no room for a new connection, that of the slowest client is closed, and no other one.
async fn the_slowest_client_makes_room_for_a_connection(protocol: Protocol) {
    let (_site, served) = start("max_connections = 3");
    let slow = SlowClients::start(&served, protocol).await;
    let mut other = TcpStream::connect(served.address()).await.expect("connected");
    let head = "GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    other.write_all(head.as_bytes()).await.expect("sent");
    let mut reply = String::new();
    let read = tokio::time::timeout(PATIENCE, other.read_to_string(&mut reply)).await;
    read.expect("the slow clients keep the connections").expect("read");
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    until("the log", async || served.log().contains("no room for a new connection")).await;
    assert_eq!(slow.release().await, [true, true, false], "{protocol:?}: {}", served.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slowest_client_of_http_1_makes_room_for_another_connection() {
    the_slowest_client_makes_room_for_a_connection(Protocol::Http1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slowest_client_of_http_2_makes_room_for_another_connection() {
    the_slowest_client_makes_room_for_a_connection(Protocol::Http2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slowest_client_of_grpc_makes_room_for_another_connection() {
    the_slowest_client_makes_room_for_a_connection(Protocol::Grpc).await;
}
