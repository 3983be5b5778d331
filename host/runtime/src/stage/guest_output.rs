//! The guest's stdout and stderr: every line becomes a log event with plugin and request.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::environment::StageEnvironment;

/// Maximum bytes of output of one stage run. More is dropped, with one event that says so, so that a guest cannot fill the
/// disk.
const MAX_LOG_BYTES: usize = 64 << 10;
/// A longer line is logged in pieces of this many bytes.
const MAX_LINE: usize = 4 << 10;

/// The fields of every event.
pub struct GuestIdentity {
    /// Has the plugin's name.
    pub environment: StageEnvironment,
    /// The request's id; empty during `init`.
    pub request: String,
    /// True if the output is dropped.
    pub is_muted: AtomicBool,
}

/// The stdout or stderr of a store.
#[derive(Clone)]
pub struct LogStream(Arc<Lines>);

struct Lines {
    source: Arc<GuestIdentity>,
    stream: &'static str,
    buffer: Mutex<Buffer>,
}

#[derive(Default)]
struct Buffer {
    line: Vec<u8>,
    total: usize,
}

impl LogStream {
    /// A stream whose events have the fields of `source` and `stream` (`stdout` or `stderr`).
    pub fn new(source: Arc<GuestIdentity>, stream: &'static str) -> Self {
        Self(Arc::new(Lines { source, stream, buffer: Mutex::default() }))
    }
}

impl Lines {
    fn write(&self, bytes: &[u8]) {
        if self.source.is_muted.load(Relaxed) {
            return;
        }
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_LOG_BYTES.saturating_sub(buffer.total);
        if room == 0 {
            return;
        }
        buffer.total += bytes.len();
        let kept = &bytes[..bytes.len().min(room)];
        for piece in kept.split_inclusive(|&byte| byte == b'\n') {
            buffer.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || buffer.line.len() >= MAX_LINE {
                self.event(&std::mem::take(&mut buffer.line));
            }
        }
        if buffer.total >= MAX_LOG_BYTES {
            self.event(format!("(more than {MAX_LOG_BYTES} bytes were written; the rest is dropped)").as_bytes());
        }
    }

    fn event(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let (plugin, request) = (self.source.environment.plugin(), &self.source.request);
        tracing::info!(target: "plimsoll::guest", %plugin, %request, stream = self.stream, "{}", line.trim_end());
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let rest = std::mem::take(&mut self.buffer.get_mut().unwrap_or_else(PoisonError::into_inner).line);
        if !rest.is_empty() {
            self.event(&rest);
        }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_LINE)
    }
}

impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
