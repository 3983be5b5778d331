//! The clocks of a guest that is run for hours within seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// The resolution of the clocks.
const RESOLUTION: Duration = Duration::from_micros(1);

/// Both clocks of a guest, which can be advanced: what has a time to live then expires. Clones share the time.
#[derive(Debug, Clone)]
pub struct GuestClock {
    created: Instant,
    /// Milliseconds by which the clocks are ahead of the host's.
    ahead: Arc<AtomicU64>,
}

impl Default for GuestClock {
    fn default() -> Self {
        Self { created: Instant::now(), ahead: Arc::default() }
    }
}

impl GuestClock {
    /// Advances the clocks.
    pub fn advance(&self, time: Duration) {
        self.ahead.fetch_add(time.as_millis() as u64, Relaxed);
    }

    fn ahead(&self) -> Duration {
        Duration::from_millis(self.ahead.load(Relaxed))
    }
}

impl HostWallClock for GuestClock {
    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn now(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + self.ahead()
    }
}

impl HostMonotonicClock for GuestClock {
    fn resolution(&self) -> u64 {
        RESOLUTION.as_nanos() as u64
    }

    fn now(&self) -> u64 {
        (self.created.elapsed() + self.ahead()).as_nanos() as u64
    }
}
