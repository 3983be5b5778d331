//! The bound on open connections. If it is reached, the connections that are idle for the longest time are closed, so
//! that a new client, for example a health check, gets in. Only if all are busy, new connections wait in the system's
//! queue.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::running::{Running, RunningState};

/// Default maximum of connections. An idle connection takes a few kilobytes.
const MOST: u64 = 16_384;
/// Maximum of connections to the separate addresses of administration.
const ADMINISTRATION: u32 = 64;
/// How often idle connections are closed while a new one waits.
const PAUSE: Duration = Duration::from_millis(50);
/// A connection without a request is not idle for this long: its first request is on the way. Otherwise a server whose
/// other connections are all busy would close each new one before it is read.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// The bound on open connections.
pub(super) struct ConnectionLimit {
    max: usize,
    room: Arc<Semaphore>,
    open: Arc<Mutex<HashMap<u64, Arc<OpenConnection>>>>,
    next: AtomicU64,
    since: Instant,
    /// True after a warning was logged that the bound is reached.
    is_logged: AtomicBool,
}

/// An open connection.
pub(super) struct OpenConnection {
    /// Requests that are not completely answered.
    running: Mutex<Vec<Arc<RunningState>>>,
    /// When it became idle, in milliseconds after the start of the server.
    idle_since: AtomicU64,
    has_had_requests: AtomicBool,
    is_closing: AtomicBool,
    close: Notify,
    since: Instant,
}

/// The slot of an open connection, which is free again on drop.
pub(super) struct ConnectionSlot {
    /// The connection.
    pub(super) connection: Arc<OpenConnection>,
    number: u64,
    open: Arc<Mutex<HashMap<u64, Arc<OpenConnection>>>>,
    /// `None` if the bound does not apply.
    _room: Option<OwnedSemaphorePermit>,
}

impl ConnectionLimit {
    /// The bound for the separate addresses of administration. Callers cannot use up these connections.
    pub(super) fn for_administration() -> Self {
        Self::new(Some(ADMINISTRATION), None)
    }

    /// A bound of `max` connections, or of three quarters of the file descriptors.
    pub(super) fn new(max: Option<u32>, descriptors: Option<u64>) -> Self {
        let default = descriptors.map_or(MOST, |descriptors| (descriptors / 4 * 3).clamp(1, MOST));
        let max = max.map_or(default as usize, |max| max as usize).min(Semaphore::MAX_PERMITS);
        Self {
            max,
            room: Arc::new(Semaphore::new(max)),
            open: Arc::default(),
            next: AtomicU64::new(0),
            since: Instant::now(),
            is_logged: AtomicBool::new(false),
        }
    }

    /// Waits until there is room for a connection that has arrived.
    pub(super) async fn room(&self) -> ConnectionSlot {
        let room = loop {
            if let Ok(room) = Arc::clone(&self.room).try_acquire_owned() {
                break room;
            }
            if !self.is_logged.swap(true, Relaxed) {
                let max = self.max;
                tracing::warn!(
                    "{max} connections are open (`server.max_connections`); for new ones, the longest idle are closed"
                );
            }
            self.close_idle();
            if let Ok(Ok(room)) = tokio::time::timeout(PAUSE, Arc::clone(&self.room).acquire_owned()).await {
                break room;
            }
        };
        if self.room.available_permits() > self.max / 4 {
            self.is_logged.store(false, Relaxed);
        }
        self.slot(Some(room))
    }

    /// A slot beyond the bound, for the clients in the system's queue when the server stops.
    pub(super) fn extra(&self) -> ConnectionSlot {
        self.slot(None)
    }

    fn slot(&self, room: Option<OwnedSemaphorePermit>) -> ConnectionSlot {
        let connection = Arc::new(OpenConnection {
            running: Mutex::default(),
            idle_since: AtomicU64::new(0),
            has_had_requests: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            close: Notify::new(),
            since: self.since,
        });
        let number = self.next.fetch_add(1, Relaxed);
        ConnectionSlot { connection, number, open: Arc::clone(&self.open), _room: room }
    }

    /// Closes the connections that are idle for the longest time. Closes several at once, because finding them takes
    /// time. Returns false if none is idle.
    pub(super) fn close_idle(&self) -> bool {
        let open = lock(&self.open);
        let mut idle: Vec<_> =
            open.values().filter(|connection| connection.is_idle() && !connection.is_new()).collect();
        idle.retain(|connection| !connection.is_closing.load(Relaxed));
        idle.sort_unstable_by_key(|connection| connection.idle_since.load(Relaxed));
        let count = (self.max / 64).clamp(1, idle.len().div_ceil(4).max(1));
        for connection in idle.iter().take(count) {
            connection.close();
        }
        !idle.is_empty()
    }
}

fn lock(open: &Mutex<HashMap<u64, Arc<OpenConnection>>>) -> MutexGuard<'_, HashMap<u64, Arc<OpenConnection>>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ConnectionSlot {
    /// The connection begins: it counts as idle until its first request.
    pub(super) fn open(&self) {
        self.connection.idle();
        lock(&self.open).insert(self.number, Arc::clone(&self.connection));
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        lock(&self.open).remove(&self.number);
    }
}

impl OpenConnection {
    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        let state = Arc::new(RunningState::new(Arc::downgrade(self)));
        self.running().push(Arc::clone(&state));
        self.has_had_requests.store(true, Relaxed);
        Running::new(state)
    }

    /// A request is completely answered, or is gone.
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

    /// Tells the connection to close after its other requests.
    pub(super) fn close(&self) {
        self.is_closing.store(true, Relaxed);
        self.close.notify_one();
    }

    fn running(&self) -> MutexGuard<'_, Vec<Arc<RunningState>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if its first request may still be on the way.
    fn is_new(&self) -> bool {
        let age = (self.since.elapsed().as_millis() as u64).saturating_sub(self.idle_since.load(Relaxed));
        !self.has_had_requests.load(Relaxed) && Duration::from_millis(age) < FIRST_REQUEST
    }

    /// Waits until the connection must close: to make room, or because a reply was cut off.
    pub(super) async fn must_close(&self) {
        self.close.notified().await;
    }

    fn idle(&self) {
        self.idle_since.store(self.since.elapsed().as_millis() as u64, Relaxed);
    }
}
