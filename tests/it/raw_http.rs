//! For tests: requests as bytes, for what no library of HTTP sends.

use std::time::Duration;

use plimsoll_tests::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// `:method GET` and `:method POST` in the static table of HPACK.
const GET: u8 = 0x82;
pub(crate) const POST: u8 = 0x83;

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
