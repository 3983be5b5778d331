//! HTTP/2 rapid reset: requests that the client cancels at once. The connection ends with an error, and other callers are
//! answered meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use plimsoll_tests::{Server, guests_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::raw_http::{POST, http2};

/// Streams of one connection.
const STREAMS: u32 = 4_000;
/// Connections, one after another on each of [`ATTACKERS`] tasks.
const CONNECTIONS: u32 = 28;
const ATTACKERS: u32 = 4;
/// GOAWAY, and its error `ENHANCE_YOUR_CALM` (RFC 9113, sections 6.8 and 7).
const GOAWAY: u8 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;
/// RST_STREAM, and its error `CANCEL`.
const RST_STREAM: u8 = 3;
const CANCEL: u32 = 8;

/// The start of a connection, and requests that are cancelled after their heads.
fn cancelled_requests() -> Vec<u8> {
    let bytes = http2(POST, "/v1/pipelines/p/infer", 65_535, STREAMS);
    let start = http2(POST, "/v1/pipelines/p/infer", 65_535, 0).len();
    let (mut sent, frames) = (bytes[..start].to_vec(), &bytes[start..]);
    let length = frames.len() / STREAMS as usize;
    for (stream, frame) in (0..STREAMS).zip(frames.chunks(length)) {
        sent.extend_from_slice(frame);
        sent.extend_from_slice(&[0, 0, 4, RST_STREAM, 0]);
        sent.extend_from_slice(&(2 * stream + 1).to_be_bytes());
        sent.extend_from_slice(&CANCEL.to_be_bytes());
    }
    sent
}

/// The errors of the GOAWAY frames in what a server sent.
fn goaways(mut bytes: &[u8]) -> Vec<u32> {
    let mut errors = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let (frame, next) = rest.split_at(length.min(rest.len()));
        if *kind == GOAWAY && frame.len() >= 8 {
            errors.push(u32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]));
        }
        bytes = next;
    }
    errors
}

/// Sends cancelled requests on one connection. Returns the errors of its GOAWAY frames.
async fn attack(address: &str, requests: &[u8]) -> Vec<u32> {
    let stream = TcpStream::connect(address).await.expect("connected");
    let (mut reader, mut writer) = stream.into_split();
    let mut replies = Vec::new();
    // The server stops reading when it ends the connection.
    let (_, _) = tokio::join!(writer.write_all(requests), async {
        let mut piece = [0; 4_096];
        while let Ok(read @ 1..) = reader.read(&mut piece).await {
            replies.extend_from_slice(&piece[..read]);
            if !goaways(&replies).is_empty() {
                return;
            }
        }
    });
    goaways(&replies)
}

/// The times of inferences until `is_over`, each of which must be answered.
async fn honest(server: &Server, is_over: impl Fn() -> bool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !is_over() || times.len() < 20 {
        let since = Instant::now();
        assert_eq!(server.infer("p", "", "x").await.status, 200);
        times.push(since.elapsed());
    }
    times.sort();
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_resets_its_requests_ends_and_others_are_answered() {
    let server = Server::start(&guests_config("tester", "")).await;
    let (address, requests) = (server.url["http://".len()..].to_owned(), Arc::new(cancelled_requests()));
    let shown = |what: &str, times: &[Duration]| {
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{what}: {} inferences, median {median:?}, longest {longest:?}", times.len());
    };
    shown("quiet", &honest(&server, || true).await);
    let is_over = Arc::new(AtomicBool::new(false));
    let attackers = async {
        let attackers: Vec<_> = (0..ATTACKERS)
            .map(|_| {
                let (address, requests) = (address.clone(), Arc::clone(&requests));
                tokio::spawn(async move {
                    for _ in 0..CONNECTIONS / ATTACKERS {
                        assert_eq!(attack(&address, &requests).await, [ENHANCE_YOUR_CALM]);
                    }
                })
            })
            .collect();
        for attacker in attackers {
            attacker.await.expect("every connection ends");
        }
        is_over.store(true, Relaxed);
    };
    let ((), times) = tokio::join!(attackers, honest(&server, || is_over.load(Relaxed)));
    shown(&format!("beside {} cancelled requests", STREAMS * CONNECTIONS), &times);
    // Nothing is left: no request runs or waits.
    let report = server.get("/v1/memory").await.json();
    assert_eq!((&report["load"]["running"], &report["load"]["queued"]), (&0.into(), &0.into()), "{report}");
}
