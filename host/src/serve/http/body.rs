//! Request bodies. A body is received within its size limit, its time and the byte budget. The budget counts bytes when
//! they arrive, by the memory that they really take.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body::Body as _;
use memmap2::MmapMut;

use crate::serve::App;
use crate::serve::admission::{BodyBytes, ConnectionBudget};
use crate::serve::error::{ErrorKind, ServeError};
use crate::serve::headers::text;
use crate::serve::overloaded::Overloaded;
use crate::serve::pace::{Late, Pace};

/// A body with a `Content-Length` of at least this many bytes gets its own memory mapping.
const OWN_PAGES: u64 = 512 << 10;
/// Larger bodies are reserved in steps of this many bytes.
const STEP: u64 = 256 << 10;

/// What limits a body.
pub(super) struct Limits {
    /// Maximum bytes.
    pub(super) size: u64,
    /// The key of `size`, for messages.
    pub(super) size_key: &'static str,
    /// The time in which it must arrive.
    pub(super) time: Duration,
    /// The key of `time`, for messages.
    pub(super) time_key: &'static str,
    /// The end of the request.
    pub(super) deadline: Option<Instant>,
}

impl Limits {
    /// The limits of a request that must end at `deadline`.
    pub(super) fn for_request(app: &App, deadline: Option<Instant>) -> Self {
        let (size, time) = (app.server.max_body.as_u64(), app.server.body_timeout);
        Self { size, size_key: "server.max_body", time, time_key: "server.body_timeout", deadline }
    }

    pub(super) fn too_large(&self) -> ServeError {
        let Self { size, size_key, .. } = self;
        ServeError::new(ErrorKind::BodyTooLarge, format!("the body is larger than {size} bytes (`{size_key}`)"))
    }

    fn late(&self, late: Late) -> ServeError {
        let detail = match late {
            Late::Time(_) => format!("the body {late} (`{}`)", self.time_key),
            Late::Rate { .. } | Late::Crowded => format!("the body {late}"),
        };
        ServeError::new(ErrorKind::BodyTimeout, detail)
    }
}

/// Reads the whole body of a request. Returns it with its bytes in the budget.
///
/// # Errors
/// If the budget is spent, or the body is too large, too slow, or cannot be received.
pub(super) async fn receive(
    app: &App,
    headers: &HeaderMap,
    connection: Option<&ConnectionBudget>,
    body: Body,
    deadline: Instant,
) -> Result<(Bytes, BodyBytes), ServeError> {
    let limits = Limits::for_request(app, Some(deadline));
    receive_within(app, headers, body, &limits, app.admission.body(connection)).await
}

/// As [`receive`], with its own limits and budget.
///
/// # Errors
/// As [`receive`].
pub(super) async fn receive_within(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
    mut reserved: BodyBytes,
) -> Result<(Bytes, BodyBytes), ServeError> {
    let declared = text(headers, &header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.size) {
        return Err(limits.too_large());
    }
    let mut time = limits.time;
    if let Some(deadline) = limits.deadline {
        time = time.min(deadline.saturating_duration_since(Instant::now()));
    }
    let pace = Pace::start(&app.server, time);
    reserved.follow(pace.arrival());
    let mut receiver = Receiver { body, pace, reserved, limits, received: 0 };
    let body = receiver.read(declared).await?;
    // A compressed body still needs the bytes of its decompressed form.
    if !headers.contains_key(header::CONTENT_ENCODING) {
        receiver.reserved.complete();
    }
    Ok((body, receiver.reserved))
}

/// A body that is being received.
struct Receiver<'a> {
    body: Body,
    pace: Pace,
    reserved: BodyBytes,
    limits: &'a Limits,
    received: u64,
}

impl Receiver<'_> {
    /// Reads the body to its end. A body that arrives in a single piece is not copied. A body with a `Content-Length` is
    /// never in memory twice.
    async fn read(&mut self, declared: Option<u64>) -> Result<Bytes, ServeError> {
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        self.reserve(self.received).await?;
        // The allocator would keep the memory of large bodies in an arena for each thread that received one. A separate
        // mapping is returned to the kernel. It takes no memory before bytes arrive.
        let own = declared.filter(|declared| *declared >= OWN_PAGES.max(self.received));
        if let Some(length) = own.and_then(|length| usize::try_from(length).ok())
            && let Ok(whole) = MmapMut::map_anon(length)
        {
            return self.read_mapped(first, whole).await;
        }
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await? {
            if whole.is_empty() {
                self.make_room(&mut whole, declared.unwrap_or(0).min(STEP).max(self.received)).await?;
                whole.extend_from_slice(&first);
            }
            if self.received > whole.capacity() as u64 {
                let twice = (whole.capacity() as u64).saturating_mul(2).min(declared.unwrap_or(self.limits.size));
                self.make_room(&mut whole, self.received.max(twice)).await?;
            }
            whole.extend_from_slice(&piece);
        }
        Ok(if whole.is_empty() { first } else { whole.into() })
    }

    async fn read_mapped(&mut self, first: Bytes, mut whole: MmapMut) -> Result<Bytes, ServeError> {
        let mut filled = first.len();
        whole[..filled].copy_from_slice(&first);
        drop(first);
        while let Some(piece) = self.next().await? {
            self.reserve(self.received.next_multiple_of(STEP).min(whole.len() as u64)).await?;
            let end = filled + piece.len();
            let place = whole.get_mut(filled..end);
            place
                .ok_or_else(|| ServeError::invalid("the body is longer than its `Content-Length`"))?
                .copy_from_slice(&piece);
            filled = end;
        }
        Ok(Bytes::from_owner(whole).slice(..filled))
    }

    /// Reserves bytes. The time for which the host waits for them does not count against the sender.
    async fn reserve(&mut self, bytes: u64) -> Result<(), ServeError> {
        if bytes > self.reserved.bytes() {
            let since = Instant::now();
            self.reserved.grow(bytes).await?;
            self.pace.pause(since.elapsed());
        }
        Ok(())
    }

    /// Gives `whole` a capacity of `bytes`.
    async fn make_room(&mut self, whole: &mut Vec<u8>, bytes: u64) -> Result<(), ServeError> {
        self.reserve(bytes).await?;
        make_room(whole, bytes)
    }

    /// Returns the next piece of the body that has data, or `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ServeError> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ServeError>> {
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let late = ready!(self.pace.poll_late(context));
                    return Poll::Ready(Err(self.limits.late(late)));
                }
            };
            let data = match frame {
                None => return Poll::Ready(Ok(None)),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    let detail = format!("the body could not be received: {error}");
                    return Poll::Ready(Err(ServeError::invalid(detail)));
                }
            };
            if !data.is_empty() {
                self.pace.arrived(data.len());
                self.received += data.len() as u64;
                let fits = self.received <= self.limits.size;
                return Poll::Ready(if fits { Ok(Some(data)) } else { Err(self.limits.too_large()) });
            }
        }
    }
}

/// Gives `whole` a capacity of `bytes`.
///
/// # Errors
/// If the host has no memory. Without this check the process would abort.
pub(super) fn make_room(whole: &mut Vec<u8>, bytes: u64) -> Result<(), ServeError> {
    let more = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_sub(whole.len());
    whole.try_reserve_exact(more).map_err(|_| Overloaded::Memory.into())
}
