//! Sees whether a connection begins with the preface of HTTP/2. The server learns that from hyper with the first request
//! only, and a client of HTTP/2 may wait long before it sends one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::io::AsyncRead;
use tokio_util::io::InspectReader;

/// The first bytes of the preface (RFC 9113, section 3.4). No method of HTTP/1 begins like this.
const FIRST: &[u8] = b"PRI * HTTP/2";

/// Compares the first bytes of `stream` with the preface while they are read. Sets `is_http2` to true when the preface has
/// arrived.
pub(super) fn watch<S: AsyncRead>(stream: S, is_http2: Arc<AtomicBool>) -> InspectReader<S, impl FnMut(&[u8])> {
    // The bytes of the preface that have arrived; `None` after the comparison.
    let mut matched = Some(0);
    InspectReader::new(stream, move |arrived: &[u8]| {
        let Some(before) = matched else { return };
        let expected = &FIRST[before..];
        let compared = arrived.len().min(expected.len());
        matched = (arrived[..compared] == expected[..compared]).then_some(before + compared);
        if matched == Some(FIRST.len()) {
            is_http2.store(true, Relaxed);
            matched = None;
        }
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn the_preface_is_seen_in_pieces_and_nothing_else_is_taken_for_it() {
        for (pieces, expected) in [
            (&["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"][..], true),
            (&["P", "RI * ", "HTTP/2.0\r\n"], true),
            (&["PRI * HTTP/1.1\r\n"], false),
            (&["POST / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n"], false),
            (&["PRI"], false),
        ] {
            let is_http2 = Arc::new(AtomicBool::new(false));
            let (server, mut client) = duplex(64);
            let mut server = watch(server, Arc::clone(&is_http2));
            for piece in pieces {
                client.write_all(piece.as_bytes()).await.expect("written");
                let mut read = vec![0; piece.len()];
                server.read_exact(&mut read).await.expect("read");
                assert_eq!(read, piece.as_bytes());
            }
            assert_eq!(is_http2.load(Relaxed), expected, "{pieces:?}");
        }
    }
}
