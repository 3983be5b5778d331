//! The epoch ticks, at which a running guest may be suspended.

use std::pin::Pin;
use std::time::Duration;

/// How often a running guest checks its deadline and lets other tasks run. With longer ticks, deadlines fire later and
/// other requests wait longer. The median latency of a fast pipeline next to a slow one was 10 ms with ticks of 5 ms,
/// and 7 ms with ticks of 2 ms. Ticks of 1 ms did not reduce it further.
pub const TICK: Duration = Duration::from_millis(2);

/// The future that a guest waits for before it continues.
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The action of a guest at an epoch tick.
pub enum TickAction {
    /// It continues at once.
    Continue,
    /// It lets the runtime run other tasks, then continues.
    Yield,
    /// It waits, then continues.
    Wait(Wait),
}
