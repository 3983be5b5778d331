//! The bytes of the byte budget that a call holds for its messages.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::task::futures::TaskLocalFuture;
use tokio::time::Instant;
use tonic::Status;

use super::error::status;
use crate::serve::admission::BodyBytes;
use crate::serve::overloaded::Overloaded;

/// The part of the budget that a request has reserved. It is in the request's extensions, so that the handler can keep
/// it as long as the message. The messages of a stream are handled one at a time and share it.
#[derive(Clone)]
pub(super) struct CallReservation(Arc<Mutex<ReservedBytes>>);

struct ReservedBytes {
    reserved: BodyBytes,
    /// The bytes that the decoder needs and that were not free, and since when it waits for them.
    wanted: Option<(u64, Instant)>,
}

tokio::task_local! {
    /// The reservation of the call whose messages are decoded.
    static DECODING: CallReservation;
}

impl CallReservation {
    /// Wraps a reservation.
    pub(super) fn new(reserved: BodyBytes) -> Self {
        Self(Arc::new(Mutex::new(ReservedBytes { reserved, wanted: None })))
    }

    /// Grows to the bytes that the message and its tensors take. Waits for a short time if the budget is spent.
    ///
    /// # Errors
    /// If the budget is spent, or too small.
    pub(super) async fn grow(&self, bytes: u64) -> Result<(), Overloaded> {
        std::future::poll_fn(|context| self.poll_grow(context, bytes, true)).await
    }

    /// As [`CallReservation::grow`]. `is_complete`: the message has arrived.
    pub(super) fn poll_grow(
        &self,
        context: &mut Context<'_>,
        bytes: u64,
        is_complete: bool,
    ) -> Poll<Result<(), Overloaded>> {
        let mut held = self.lock();
        let grown = ready!(held.reserved.poll_grow(context, bytes));
        held.wanted = None;
        if is_complete && grown.is_ok() {
            held.reserved.complete();
        }
        Poll::Ready(grown)
    }

    /// The bytes that the decoder waits for, and since when.
    pub(super) fn wanted(&self) -> Option<(u64, Instant)> {
        self.lock().wanted
    }

    /// Releases all bytes.
    pub(super) fn release(&self) {
        self.lock().reserved.shrink(0);
    }

    /// Runs a call whose messages are decoded with this reservation.
    pub(super) fn scope<F: Future>(self, call: F) -> TaskLocalFuture<Self, F> {
        DECODING.scope(self, call)
    }

    /// Runs `poll`, which may decode messages of the call.
    pub(super) fn while_decoding<T>(&self, poll: impl FnOnce() -> T) -> T {
        DECODING.sync_scope(self.clone(), poll)
    }

    /// Reserves bytes if they are free. Otherwise returns false, and the bytes are [`CallReservation::wanted`].
    fn try_grow(&self, bytes: u64) -> Result<bool, Overloaded> {
        let mut held = self.lock();
        // The decoder also runs before the body is polled, when the wait may have ended. Only `poll_grow` ends it.
        if held.wanted.is_some() {
            return Ok(false);
        }
        match held.reserved.try_grow(bytes) {
            Ok(()) => Ok(true),
            Err(error @ Overloaded::TooLarge(..)) => Err(error),
            Err(_) => {
                held.wanted = Some((bytes, Instant::now()));
                Ok(false)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ReservedBytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reserves the bytes that the message being decoded will take. Returns false if they are not free: a decoder cannot wait,
/// so it leaves the message in its buffer. The call waits when it is polled for more bytes (`budget.rs`), and then the
/// decoder is called again.
///
/// # Errors
/// If the budget is too small.
pub(super) fn reserve_decoded(bytes: u64) -> Result<bool, Status> {
    let reserved = DECODING.try_with(|held| held.try_grow(bytes));
    reserved.unwrap_or(Ok(true)).map_err(overloaded)
}

/// The status of a message whose bytes are not reserved.
pub(super) fn overloaded(error: Overloaded) -> Status {
    status(&error.into())
}
