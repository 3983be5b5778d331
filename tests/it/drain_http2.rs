//! In the drain, connections of HTTP/2 get the frame GOAWAY.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::drain::{INFER, LONG, PATIENCE, READY};
use crate::process::Setup;

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
            assert_ne!(kind, GOAWAY, "the server was not asked to stop");
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
    // A connection without a request so far. After GOAWAY the client would have to connect once more.
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
