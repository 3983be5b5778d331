//! An open connection and its running requests: what each of them waits for.
//!
//! If the server has no room for new connections, it closes those for which it does nothing. A request does not keep its
//! connection open for ever: an endless stream without a message (`Watch` of `grpc.health.v1`, an idle `ModelStreamInfer`)
//! waits for the server or the client, and a reply of any size may wait for a client that does not read it, or reads it
//! slowly.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::slowness::Slowness;

/// A connection without a request is not idle for this long: its first request is on the way. Otherwise a server whose
/// other connections are all busy would close each new one before it is read.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// When the process began to count.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

fn milliseconds() -> u64 {
    BEGINNING.elapsed().as_millis() as u64
}

/// A client that is not slow.
const NOT_SLOW: u64 = u64::MAX;

fn encode(slowness: Option<Slowness>) -> u64 {
    slowness
        .map_or(NOT_SLOW, |Slowness { rate, is_preliminary }| rate.min(NOT_SLOW >> 2) << 1 | u64::from(is_preliminary))
}

fn decode(slowness: u64) -> Option<Slowness> {
    (slowness != NOT_SLOW).then_some(Slowness { rate: slowness >> 1, is_preliminary: slowness & 1 == 1 })
}

/// What a request waits for.
pub(super) struct RunningState {
    connection: Weak<OpenConnection>,
    /// Its reply was cut off, because the client does not read it.
    is_cut_off: AtomicBool,
    /// The rate of a client that reads its reply below the minimum rate (`server.reply_min_rate`), as [`encode`] has it.
    slowness: AtomicU64,
    /// The head of its reply has been created, so the request itself is answered, except for messages of a stream.
    is_replying: AtomicBool,
    /// A stream of request messages has one in progress.
    has_message: AtomicBool,
    /// Everything of the reply that exists so far was taken, and more may come.
    is_sent: AtomicBool,
    /// When hyper last asked for a part of the reply, in milliseconds since [`BEGINNING`].
    asked: AtomicU64,
    /// A reply of which the client reads nothing for this long does not keep its connection open (`server.reply_timeout`).
    reply_timeout: Duration,
}

impl RunningState {
    pub(super) fn new(connection: Weak<OpenConnection>, reply_timeout: Duration) -> Self {
        Self {
            connection,
            is_cut_off: AtomicBool::new(false),
            slowness: AtomicU64::new(NOT_SLOW),
            is_replying: AtomicBool::new(false),
            has_message: AtomicBool::new(false),
            is_sent: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            reply_timeout,
        }
    }

    /// Returns true if the server does nothing for the request, and the connection may close.
    pub(super) fn is_idle(&self) -> bool {
        // A client could keep its connection for ever if it read a few bytes of its reply now and then.
        if self.is_cut_off.load(Relaxed) || self.slowness().is_some_and(|slowness| !slowness.is_preliminary) {
            return true;
        }
        if !self.is_replying.load(Relaxed) {
            return false;
        }
        if self.is_sent.load(Relaxed) {
            return !self.has_message.load(Relaxed);
        }
        self.is_unread()
    }

    /// Returns true if the client reads nothing of the reply that is there.
    pub(super) fn is_unread(&self) -> bool {
        let waits = || u128::from(milliseconds().saturating_sub(self.active_at()));
        self.is_replying.load(Relaxed) && !self.is_sent.load(Relaxed) && waits() >= self.reply_timeout.as_millis()
    }

    /// When hyper last asked for a part of the reply.
    pub(super) fn active_at(&self) -> u64 {
        self.asked.load(Relaxed)
    }

    /// hyper asks for the next part of the reply. `is_sent`: there is none at present.
    pub(super) fn asked(&self, is_sent: bool) {
        self.asked.store(milliseconds(), Relaxed);
        self.is_sent.store(is_sent, Relaxed);
    }

    /// A message of a stream begins, or its handling is complete.
    pub(super) fn set_message(&self, has_message: bool) {
        self.has_message.store(has_message, Relaxed);
    }

    /// The client reads its reply below the minimum rate; `None`: not, or not any more.
    pub(super) fn set_slowness(&self, slowness: Option<Slowness>) {
        self.slowness.store(encode(slowness), Relaxed);
    }

    /// How slowly the client reads its reply, if it is below the minimum rate.
    pub(super) fn slowness(&self) -> Option<Slowness> {
        decode(self.slowness.load(Relaxed)).filter(|_| !self.is_cut_off.load(Relaxed))
    }

    /// Marks the request as cut off, and tells the connection to close after its other requests. HTTP/2 has no other way:
    /// hyper polls the body again only when the client reads on.
    pub(super) fn cut_off(&self) {
        if !self.is_cut_off.swap(true, Relaxed)
            && let Some(connection) = self.connection.upgrade()
        {
            connection.close();
        }
    }
}

/// A request of a connection, until it is completely answered.
pub(super) struct Running(Arc<RunningState>);

impl Running {
    pub(super) fn new(state: Arc<RunningState>) -> Self {
        Self(state)
    }

    /// What it waits for.
    pub(super) fn state(&self) -> &Arc<RunningState> {
        &self.0
    }

    /// The head of its reply has been created.
    pub(super) fn replies(&self) {
        self.0.asked(false);
        self.0.is_replying.store(true, Relaxed);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(connection) = self.0.connection.upgrade() {
            connection.end(&self.0);
        }
    }
}

/// What the server does for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// It computes, or sends a reply to a client that reads it.
    Busy,
    /// It only sends replies to a client that reads them slowly.
    Slow(Slowness),
    /// Nothing.
    Idle,
}

/// An open connection.
pub(super) struct OpenConnection {
    /// Requests that are not completely answered.
    running: Mutex<Vec<Arc<RunningState>>>,
    /// When it became idle, in milliseconds after the start of the server.
    pub(super) idle_since: AtomicU64,
    has_had_requests: AtomicBool,
    pub(super) is_closing: AtomicBool,
    close: Notify,
    since: Instant,
    reply_timeout: Duration,
}

impl OpenConnection {
    /// A connection without requests. Times are counted from `since`.
    pub(super) fn new(since: Instant, reply_timeout: Duration) -> Self {
        Self {
            running: Mutex::default(),
            idle_since: AtomicU64::new(0),
            has_had_requests: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            close: Notify::new(),
            since,
            reply_timeout,
        }
    }

    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        let state = Arc::new(RunningState::new(Arc::downgrade(self), self.reply_timeout));
        self.running().push(Arc::clone(&state));
        self.has_had_requests.store(true, Relaxed);
        Running::new(state)
    }

    /// Call when a request is completely answered, or its client is gone.
    pub(super) fn end(&self, state: &RunningState) {
        self.idle();
        let mut running = self.running();
        if let Some(index) = running.iter().position(|other| std::ptr::eq(&**other, state)) {
            running.swap_remove(index);
        }
    }

    /// Returns true if nothing is computed for this connection, and nothing is sent to it.
    pub(super) fn is_idle(&self) -> bool {
        self.running().iter().all(|state| state.is_idle())
    }

    /// What the server does for this connection.
    pub(super) fn load(&self) -> Load {
        let mut slow: Option<Slowness> = None;
        for state in self.running().iter() {
            match state.slowness() {
                // The client has the rate of all its replies together.
                Some(Slowness { rate, is_preliminary }) => {
                    let other = slow.unwrap_or(Slowness { rate: 0, is_preliminary: false });
                    let rate = other.rate.saturating_add(rate);
                    slow = Some(Slowness { rate, is_preliminary: is_preliminary || other.is_preliminary });
                }
                None if !state.is_idle() => return Load::Busy,
                None => {}
            }
        }
        slow.map_or(Load::Idle, Load::Slow)
    }

    /// Tells the connection to close after its other requests.
    pub(super) fn close(&self) {
        self.is_closing.store(true, Relaxed);
        self.close.notify_one();
    }

    fn running(&self) -> MutexGuard<'_, Vec<Arc<RunningState>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if its first request may still be on the way.
    pub(super) fn is_new(&self) -> bool {
        let age = (self.since.elapsed().as_millis() as u64).saturating_sub(self.idle_since.load(Relaxed));
        !self.has_had_requests.load(Relaxed) && Duration::from_millis(age) < FIRST_REQUEST
    }

    /// Waits until the connection must close: to make room, or because a reply was cut off.
    pub(super) async fn must_close(&self) {
        self.close.notified().await;
    }

    pub(super) fn idle(&self) {
        self.idle_since.store(self.since.elapsed().as_millis() as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_idle_only_if_the_server_does_nothing_for_it() {
        let state = Arc::new(RunningState::new(Weak::new(), Duration::from_secs(600)));
        assert!(!state.is_idle(), "it runs");
        let running = Running::new(Arc::clone(&state));
        running.replies();
        assert!(!state.is_idle(), "its reply is sent");
        state.asked(true);
        assert!(state.is_idle(), "a stream waits for an event");
        state.set_message(true);
        assert!(!state.is_idle(), "a message of the stream is handled");
        state.set_message(false);
        state.asked(false);
        assert!(!state.is_idle());
        state.cut_off();
        assert!(state.is_idle());
        let unread = Arc::new(RunningState::new(Weak::new(), Duration::ZERO));
        Running::new(Arc::clone(&unread)).replies();
        assert!(unread.is_idle(), "the client has read nothing for the whole time-out");
    }
}
