//! The bound on streams of gRPC without an end: `ModelStreamInfer`, `Watch` of `grpc.health.v1`, and reflection. A client may
//! keep such a stream open for ever, and no other budget counts its memory: a `Watch` among 50 on a connection takes 8.5 KB,
//! one with a connection of its own 29 KB (measured as the growth of resident memory with 2,000 and 500 streams). If there
//! are too many, the one that waits for the longest time ends, so that a new client gets in.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::watch;

use super::error::{ErrorKind, ServeError};
use super::open_connection::RunningState;

/// The bound on open streams.
pub(super) struct StreamLimit {
    max: usize,
    open: Mutex<Vec<Arc<OpenStream>>>,
}

struct OpenStream {
    /// Knows whether the stream waits.
    running: Arc<RunningState>,
    must_end: watch::Sender<bool>,
}

/// The place of an open stream, which is free again on drop.
pub(super) struct StreamSlot {
    limit: Arc<StreamLimit>,
    stream: Arc<OpenStream>,
}

impl StreamLimit {
    /// A bound of `max` streams.
    pub(super) fn new(max: u32) -> Arc<Self> {
        Arc::new(Self { max: max as usize, open: Mutex::default() })
    }

    /// A place for a new stream. If there is none, the stream that waits for the longest time ends.
    ///
    /// # Errors
    /// If there is no place, and no stream waits.
    pub(super) fn enter(self: &Arc<Self>, running: &Arc<RunningState>) -> Result<StreamSlot, ServeError> {
        let mut open = self.lock();
        if open.len() >= self.max {
            let waiting = open.iter().enumerate().filter(|(_, stream)| stream.running.is_idle());
            // A stream that waits has nothing to lose. One whose client does not read, or reads slowly, loses an answer.
            let cost = |running: &RunningState| match running.slowness() {
                Some(slowness) => slowness.rate.saturating_add(2),
                None => u64::from(running.is_unread()),
            };
            let key = |running: &RunningState| (cost(running), running.active_at());
            let Some((at, _)) = waiting.min_by_key(|(_, stream)| key(&stream.running)) else {
                let detail = format!("all {} streams that may be open are busy (`server.max_streams`)", self.max);
                return Err(ServeError::new(ErrorKind::Overloaded, detail));
            };
            let stream = open.swap_remove(at);
            // The end of a stream is not seen if its client does not read on.
            if stream.running.is_unread() || stream.running.slowness().is_some() {
                stream.running.cut_off();
            }
            stream.must_end.send_replace(true);
        }
        let stream = Arc::new(OpenStream { running: Arc::clone(running), must_end: watch::Sender::new(false) });
        open.push(Arc::clone(&stream));
        drop(open);
        Ok(StreamSlot { limit: Arc::clone(self), stream })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<OpenStream>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamSlot {
    /// Returns what to poll while the stream waits. It completes if the stream must end, with the reason.
    pub(super) fn must_end(&self) -> MustEnd {
        let (mut ends, max) = (self.stream.must_end.subscribe(), self.limit.max);
        MustEnd(Box::pin(async move {
            if ends.wait_for(|must_end| *must_end).await.is_err() {
                // The stream itself is gone.
                std::future::pending::<()>().await;
            }
            let detail = format!(
                "{max} streams are open (`server.max_streams`), and this one waited for the longest time, so it made room \
                 for another; open it again"
            );
            ServeError::new(ErrorKind::Overloaded, detail)
        }))
    }
}

/// Completes if a stream must end.
pub(super) struct MustEnd(Pin<Box<dyn Future<Output = ServeError> + Send>>);

impl MustEnd {
    /// As [`Future::poll`].
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<ServeError> {
        self.0.as_mut().poll(context)
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut open = self.limit.lock();
        if let Some(at) = open.iter().position(|other| Arc::ptr_eq(other, &self.stream)) {
            open.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::time::Duration;

    use super::*;
    use crate::serve::open_connection::Running;

    /// A stream whose reply has begun, and which waits.
    fn stream(reply_timeout: Duration) -> Arc<RunningState> {
        let state = Arc::new(RunningState::new(Weak::new(), reply_timeout));
        Running::new(Arc::clone(&state)).replies();
        state.asked(true);
        std::thread::sleep(Duration::from_millis(5));
        state
    }

    #[tokio::test]
    async fn the_stream_that_waits_for_the_longest_time_makes_room() {
        let limit = StreamLimit::new(2);
        let [one, two, three, four] = std::array::from_fn(|_| stream(Duration::from_secs(600)));
        let has_ended = |slot: &StreamSlot| *slot.stream.must_end.borrow();
        let first = limit.enter(&one).expect("room");
        one.set_message(true);
        let second = limit.enter(&two).expect("room");
        let third = limit.enter(&three).expect("the second one waits");
        assert!(has_ended(&second) && !has_ended(&first) && !has_ended(&third));
        let mut end = second.must_end();
        let reason = std::future::poll_fn(|context| end.poll(context)).await;
        assert!(reason.detail.contains("server.max_streams"), "{reason:?}");
        three.set_message(true);
        assert!(limit.enter(&four).is_err(), "all are busy");
        drop(second);
        assert!(limit.enter(&four).is_err(), "the second one had no place any more");
        drop(first);
        let fourth = limit.enter(&four).expect("room");
        assert!(!has_ended(&third) && !has_ended(&fourth));
    }

    #[test]
    fn a_stream_whose_client_reads_nothing_makes_room_and_is_cut_off() {
        let limit = StreamLimit::new(1);
        let unread = stream(Duration::ZERO);
        unread.set_message(true);
        let slot = limit.enter(&unread).expect("room");
        let other = stream(Duration::ZERO);
        assert!(limit.enter(&other).is_err(), "its answer is computed");
        // The next part of its answer is there, and is not taken.
        unread.asked(false);
        assert!(unread.is_unread());
        assert!(limit.enter(&other).is_ok() && *slot.stream.must_end.borrow());
    }
}
