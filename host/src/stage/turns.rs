//! Turns: guests that compute for long share the cores, so that what is quick does not wait behind all of them.
//!
//! A guest that ends, or waits for the host, before it has computed for a tick of the epoch never comes here. Any other
//! needs a turn, of which there are as many as cores. Who has none waits in line and not in the queue of the runtime, so
//! what came in meanwhile waits for one tick of whoever has the core, however many long runs are under way.

use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::{TICK, busy};

/// After so many ticks a turn goes to the next in line, if there is one: 50 ms.
const TICKS: u32 = 25;

/// One turn for each core of the process.
static TURNS: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))));

/// The turn of one run of a guest, if it has one. Dropping it ends it.
#[derive(Default)]
pub(crate) struct Turn(Mutex<Run>);

#[derive(Default)]
struct Run {
    permit: Option<OwnedSemaphorePermit>,
    /// How many ticks the turn has lasted.
    ticks: u32,
    /// How many ticks the guest has computed in all, but for those before it was known to be long.
    computed: u32,
    /// Whether the guest is suspended in [`Turn::tick`], and not in a function of the host.
    here: bool,
    /// When the guest went on.
    since: Option<Instant>,
    /// What [`busy`] said at the first tick after that.
    busy: Option<Duration>,
}

impl Turn {
    /// To be asked at every tick of the epoch: what the guest has to wait for before it goes on, if it computes for long.
    pub(crate) fn tick(self: &Arc<Self>) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        let mut run = self.run();
        if run.permit.is_none() && !run.is_long() {
            return None;
        }
        run.computed += 1;
        run.here = true;
        run.ticks += 1;
        let keeps = run.permit.is_some() && run.ticks < TICKS;
        if !keeps {
            // Given back first, so that this run stands behind all who wait.
            run.permit = None;
            run.ticks = 0;
        }
        drop(run);
        let this = Arc::clone(self);
        Some(Box::pin(async move {
            let taken = match keeps {
                true => None,
                false => Some(Arc::clone(&TURNS).acquire_owned().await.expect("never closed")),
            };
            // The runtime polls for input and output, and runs what is ready, before it comes back.
            tokio::task::yield_now().await;
            let mut run = this.run();
            run.here = false;
            run.permit = taken.or(run.permit.take());
        }))
    }

    /// Waits for a turn before the guest begins.
    pub(crate) async fn take(&self) {
        let permit = Arc::clone(&TURNS).acquire_owned().await.expect("never closed");
        self.run().permit = Some(permit);
    }

    /// How many ticks the guest has computed, see [`Run::computed`].
    pub(crate) fn computed(&self) -> u32 {
        self.run().computed
    }

    /// Runs what calls the guest whose turn this is; while that waits for the host, it has none.
    pub(crate) async fn over<R>(&self, call: impl Future<Output = R>) -> R {
        let mut call = pin!(call);
        let poll = |context: &mut Context<'_>| {
            {
                let mut run = self.run();
                (run.since, run.busy) = (Some(Instant::now()), None);
            }
            let polled = call.as_mut().poll(context);
            let mut run = self.run();
            if !run.here {
                run.permit = None;
            }
            polled
        };
        std::future::poll_fn(poll).await
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    /// Whether the guest has computed for about a tick since it went on. The clock alone does not tell, for others may
    /// have had the core; what does costs a call of the kernel, so it is first asked when the clock says so.
    fn is_long(&mut self) -> bool {
        // Ticks do not begin when a run does.
        let about = TICK * 4 / 5;
        if self.since.is_some_and(|since| since.elapsed() < about) {
            return false;
        }
        let now = busy();
        now.saturating_sub(*self.busy.get_or_insert(now)) >= about
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::task::{Poll, Waker};

    use super::*;

    /// A tick of a run that has computed for long; `over` it, so that the run is polled as a stage's is.
    async fn long_tick(turn: &Arc<Turn>) {
        turn.run().busy = Some(Duration::ZERO);
        let wait = async {
            turn.run().since = None;
            turn.tick().expect("it computes for long").await;
        };
        wait.await;
    }

    fn polled<R>(future: Pin<&mut impl Future<Output = R>>) -> Poll<R> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    // One test, for all turns of the process are in it.
    #[test]
    fn who_computes_for_long_waits_for_a_turn_and_gives_it_up_while_the_host_works() {
        // So much that a thread has computed for more than a tick.
        while busy() < 2 * TICK {}
        let mut all: Vec<_> = std::iter::from_fn(|| Arc::clone(&TURNS).try_acquire_owned().ok()).collect();

        let foreseen = Turn::default();
        {
            let mut takes = pin!(foreseen.take());
            assert!(polled(takes.as_mut()).is_pending(), "it waits before it begins");
            drop(all.pop());
            assert!(polled(takes).is_ready());
        }
        all.extend(foreseen.run().permit.take());

        let short = Arc::new(Turn::default());
        assert!(polled(pin!(short.over(async { short.tick().is_none() }))).is_ready(), "a short run needs no turn");

        let (first, second) = (Arc::new(Turn::default()), Arc::new(Turn::default()));
        let mut runs_first = pin!(first.over(async {
            long_tick(&first).await;
            pending::<()>().await;
        }));
        let mut runs_second = pin!(second.over(long_tick(&second)));
        assert!(polled(runs_first.as_mut()).is_pending() && polled(runs_second.as_mut()).is_pending());
        assert!(first.run().permit.is_none() && second.run().permit.is_none(), "all turns are taken");

        drop(all.pop());
        // The first has the turn, lets the runtime work, goes on, and waits for the host.
        assert!(polled(runs_first.as_mut()).is_pending());
        assert!(polled(runs_second.as_mut()).is_pending(), "the second is behind the first");
        assert!(polled(runs_first.as_mut()).is_pending());
        assert!(!first.run().here && first.run().permit.is_none(), "who waits for the host has no turn");
        assert!(polled(runs_second.as_mut()).is_pending(), "it has the turn now, and lets the runtime work");
        assert!(polled(runs_second.as_mut()).is_ready());
    }
}
