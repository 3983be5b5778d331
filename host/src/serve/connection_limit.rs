//! The bound on open connections. If it is reached, the connections that are idle for the longest time are closed, so
//! that a new client, for example a health check, gets in. If none is idle, the client that reads its replies the slowest
//! makes room, one for each new connection. Only if all are busy, new connections wait in the system's queue.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::open_connection::{Load, OpenConnection};
use super::slowness::Slowest;
use crate::base::descriptors;
use crate::config::Server;
use crate::records::metrics::load::Used;

/// Default maximum of connections. An idle connection takes a few kilobytes.
const MOST: u64 = 16_384;
/// Maximum of connections to the separate addresses of administration.
const ADMINISTRATION: u32 = 64;
/// How often idle connections are closed while a new one waits.
const PAUSE: Duration = Duration::from_millis(50);

/// The bound on open connections.
pub(super) struct ConnectionLimit {
    max: usize,
    room: Arc<Semaphore>,
    open: Arc<Mutex<HashMap<u64, Arc<OpenConnection>>>>,
    next: AtomicU64,
    since: Instant,
    /// How long a client may read nothing of a reply that keeps its connection open.
    reply_timeout: Duration,
    /// True after a warning was logged that the bound is reached.
    is_logged: AtomicBool,
    slowest: Slowest,
}

/// The bounds on open connections. Those of administration are separate, so that callers cannot lock administrators out.
pub(super) struct ConnectionLimits {
    /// The bound for callers, and for administration if it has no addresses of its own.
    pub(super) callers: Arc<ConnectionLimit>,
    /// The bound for the separate addresses of administration.
    pub(super) administration: Arc<ConnectionLimit>,
}

impl ConnectionLimits {
    /// The bounds as configured.
    pub(super) fn new(server: &Server) -> Self {
        let Server { max_connections, reply_timeout, .. } = *server;
        Self {
            callers: Arc::new(ConnectionLimit::new(max_connections, descriptors::limit(), reply_timeout)),
            administration: Arc::new(ConnectionLimit::new(Some(ADMINISTRATION), None, reply_timeout)),
        }
    }
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
    /// A bound of `max` connections, or of three quarters of the file descriptors. A reply of which the client reads
    /// nothing for `reply_timeout` does not keep its connection open any more.
    fn new(max: Option<u32>, descriptors: Option<u64>, reply_timeout: Duration) -> Self {
        let default = descriptors.map_or(MOST, |descriptors| (descriptors / 4 * 3).clamp(1, MOST));
        let max = max.map_or(default as usize, |max| max as usize).min(Semaphore::MAX_PERMITS);
        Self {
            max,
            room: Arc::new(Semaphore::new(max)),
            open: Arc::default(),
            next: AtomicU64::new(0),
            since: Instant::now(),
            reply_timeout,
            is_logged: AtomicBool::new(false),
            slowest: Slowest::new(reply_timeout),
        }
    }

    /// The open connections, and the most of them.
    pub(super) fn used(&self) -> Used {
        Used { used: lock(&self.open).len() as u64, limit: self.max as u64 }
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
                    "{max} connections are open (`server.max_connections`); for new ones, the connections that were \
                     idle longest are closed"
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
        let connection = Arc::new(OpenConnection::new(self.since, self.reply_timeout));
        let number = self.next.fetch_add(1, Relaxed);
        ConnectionSlot { connection, number, open: Arc::clone(&self.open), _room: room }
    }

    /// Closes the connections that are idle for the longest time. Closes several at once, because finding them takes
    /// time. If none is idle, closes that of the slowest client. Returns false if none can close.
    pub(super) fn close_idle(&self) -> bool {
        let open = lock(&self.open);
        let (mut idle, mut slow) = (Vec::new(), Vec::new());
        for connection in open.values().filter(|connection| !connection.is_closing.load(Relaxed)) {
            match connection.load() {
                Load::Idle if !connection.is_new() => idle.push(connection),
                Load::Slow(slowness) => slow.push((slowness, (connection, slowness.rate))),
                Load::Idle | Load::Busy => {}
            }
        }
        if idle.is_empty() {
            let Some((connection, rate)) = self.slowest.choose(slow) else { return false };
            tracing::warn!(
                "a reply was cut off: its client reads {rate} bytes per second, less than `server.reply_min_rate` and \
                 than every other client, and there is no room for a new connection (`server.max_connections`)"
            );
            connection.close();
            return true;
        }
        idle.sort_unstable_by_key(|connection| connection.idle_since.load(Relaxed));
        let count = (self.max / 64).clamp(1, idle.len().div_ceil(4).max(1));
        for connection in idle.iter().take(count) {
            connection.close();
        }
        true
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
