//! The bound on open connections. If it is reached, the connections that are idle for the longest time are closed, so
//! that a new client, for example a health check, gets in. Only if all are busy, new connections wait in the system's
//! queue.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Default maximum of connections. An idle connection takes a few kilobytes.
const MOST: u64 = 16_384;
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
    running: AtomicUsize,
    /// Running requests whose reply was cut off because the client does not read it.
    cut_off: AtomicUsize,
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

/// A request of a connection. The connection is idle when all of them are dropped or cut off.
pub(super) struct Running {
    connection: Arc<OpenConnection>,
    is_cut_off: Arc<AtomicBool>,
}

/// Marks a request as cut off.
pub(super) struct CutOff {
    connection: Arc<OpenConnection>,
    is_cut_off: Arc<AtomicBool>,
}

impl ConnectionLimit {
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
            running: AtomicUsize::new(0),
            cut_off: AtomicUsize::new(0),
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
            connection.is_closing.store(true, Relaxed);
            connection.close.notify_one();
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
        self.running.fetch_add(1, Relaxed);
        self.has_had_requests.store(true, Relaxed);
        Running { connection: Arc::clone(self), is_cut_off: Arc::default() }
    }

    /// Returns true if no request is running, except those that were cut off.
    pub(super) fn is_idle(&self) -> bool {
        self.running.load(Relaxed) <= self.cut_off.load(Relaxed)
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

impl Running {
    /// The mark of this request.
    pub(super) fn mark(&self) -> CutOff {
        CutOff { connection: Arc::clone(&self.connection), is_cut_off: Arc::clone(&self.is_cut_off) }
    }
}

impl CutOff {
    /// Marks the request, and tells the connection to close after its other requests. HTTP/2 has no other way: hyper polls
    /// the body again only when the client reads on.
    pub(super) fn set(&self) {
        if !self.is_cut_off.swap(true, Relaxed) {
            self.connection.cut_off.fetch_add(1, Relaxed);
            self.connection.is_closing.store(true, Relaxed);
            self.connection.close.notify_one();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.connection.idle();
        // The counters change in this order, so that a connection with other requests is never idle in between.
        if self.is_cut_off.load(Relaxed) {
            self.connection.cut_off.fetch_sub(1, Relaxed);
        }
        self.connection.running.fetch_sub(1, Relaxed);
    }
}
