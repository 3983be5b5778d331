//! CPU permits: long-running guests share the cores, so that short runs do not wait behind all of them.
//!
//! A guest that ends, or waits for the host, before it has computed for one epoch tick needs no permit. Any other guest
//! needs one; there is one permit per core. A guest without a permit waits on the semaphore, not in tokio's run queue.
//! So a new request waits for at most one tick of the guest that has the core, however many long runs there are.

use std::any::Any;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::background::Priority;
use super::cpu_time::thread_cpu_time;
use super::mode::Scheduling;
use super::tick::{TICK, TickAction};

/// After this many ticks (50 ms) a permit goes to the next waiting guest, if there is one.
const TICKS_PER_PERMIT: u32 = 25;

/// How often a long run lets all ready tasks run between two ticks, and how long it waits for them at most. The bound gives
/// a long run at least a third of its core, however many short runs there are.
const YIELDS: u32 = 8;
const LONGEST_YIELD: Duration = TICK.saturating_mul(2);

/// How many stages may run at the same time in addition to one for each request: items and branches of pipelines of steps.
/// The instance pool needs this many slots more than there are requests.
pub const EXTRA_RUNS: u32 = 16;

/// The CPU permits of all guests. Each run counts a reference, so nothing else is in the same line of the cache.
#[derive(Clone)]
#[repr(align(128))]
pub struct Scheduler {
    permits: Arc<Semaphore>,
    /// The right of a request to use an instance in addition to its own; see [`EXTRA_RUNS`].
    extra_runs: Arc<Semaphore>,
    scheduling: Scheduling,
    /// The thread that advances the epoch. It lives as long as a guest runs: without ticks, a guest that loops would never
    /// return to its task, and a server that stops would wait for it forever.
    _clock: Option<Arc<dyn Any + Send + Sync>>,
}

impl Scheduler {
    /// One permit for each core of the process.
    pub fn new(scheduling: Scheduling) -> Self {
        Self::with_permits(std::thread::available_parallelism().map_or(1, usize::from), scheduling)
    }

    fn with_permits(permits: usize, scheduling: Scheduling) -> Self {
        let extra_runs = Arc::new(Semaphore::new(EXTRA_RUNS as usize));
        Self { permits: Arc::new(Semaphore::new(permits)), extra_runs, scheduling, _clock: None }
    }

    /// Keeps the source of the epoch's ticks as long as this scheduler lives, and each run holds the scheduler.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Any + Send + Sync>) -> Self {
        Self { _clock: Some(clock), ..self }
    }

    /// The right of a request to use an instance in addition to its own.
    pub fn extra_runs(&self) -> &Arc<Semaphore> {
        &self.extra_runs
    }

    /// The mode of the heuristics.
    pub fn scheduling(&self) -> Scheduling {
        self.scheduling
    }

    #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
    async fn acquire(&self, priority: &Priority) -> OwnedSemaphorePermit {
        match priority {
            Priority::Normal => Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed"),
            Priority::Background(run) => run.acquire_idle(&self.permits).await,
        }
    }
}

/// The schedule of one run of a guest: its CPU permit, if it has one, and how long it has computed. Dropping it frees
/// the permit.
pub struct CpuSchedule {
    scheduler: Arc<Scheduler>,
    run: Mutex<Run>,
}

#[derive(Default)]
struct Run {
    priority: Priority,
    permit: Option<OwnedSemaphorePermit>,
    /// Ticks since the permit was acquired.
    permit_ticks: u32,
    /// Ticks that the guest has computed in all, without those before it was known to be long.
    computed_ticks: u32,
    /// True while the guest is suspended at an epoch tick, and not in a function of the host.
    is_at_tick: bool,
    /// When the guest was last resumed.
    resumed: Option<Instant>,
    /// The thread's CPU time at the first tick after that.
    cpu_time: Option<Duration>,
}

impl CpuSchedule {
    /// A run that has not begun.
    pub fn new(scheduler: &Arc<Scheduler>) -> Self {
        Self { scheduler: Arc::clone(scheduler), run: Mutex::default() }
    }

    /// Sets how urgent the run is. Call it before the run begins.
    pub fn set_priority(&self, priority: Priority) {
        self.run().priority = priority;
    }

    /// How urgent the run is.
    pub fn priority(&self) -> Priority {
        self.run().priority.clone()
    }

    /// Call this at every epoch tick.
    pub fn on_tick(self: &Arc<Self>) -> TickAction {
        if self.scheduler.scheduling == Scheduling::Off {
            return TickAction::Yield;
        }
        let mut run = self.run();
        if run.permit.is_none() && !run.is_long() {
            return TickAction::Continue;
        }
        run.computed_ticks += 1;
        run.is_at_tick = true;
        run.permit_ticks += 1;
        let is_background = matches!(run.priority, Priority::Background(_));
        let keeps_permit = run.permit.is_some() && run.permit_ticks < TICKS_PER_PERMIT && !is_background;
        if !keeps_permit {
            // Released before the next one is requested, so that this run queues behind all waiting runs.
            run.permit = None;
            run.permit_ticks = 0;
        }
        drop(run);
        let this = Arc::clone(self);
        TickAction::Wait(Box::pin(async move {
            let acquired = match keeps_permit {
                true => None,
                false => Some(this.scheduler.acquire(&this.priority()).await),
            };
            this.let_others_run().await;
            let mut run = this.run();
            run.is_at_tick = false;
            run.permit = acquired.or(run.permit.take());
        }))
    }

    /// The operating system runs other threads, and the runtime polls for input and output and runs ready tasks, before this
    /// run is resumed. Without the first, a client, a proxy or a backend's thread on the same core waits for this run until
    /// the end of the core's time slice, and the next request comes late. Both return at once where nothing is ready.
    async fn let_others_run(&self) {
        let begin = Instant::now();
        for _ in 0..YIELDS {
            std::thread::yield_now();
            tokio::task::yield_now().await;
            if begin.elapsed() >= LONGEST_YIELD {
                break;
            }
        }
    }

    /// Waits for a permit before the guest begins.
    pub async fn acquire_permit(&self) {
        if self.scheduler.scheduling == Scheduling::Off {
            return;
        }
        let permit = self.scheduler.acquire(&self.priority()).await;
        self.run().permit = Some(permit);
    }

    /// How many epoch ticks the guest has computed, without those before it was known to be long.
    pub fn computed_ticks(&self) -> u32 {
        self.run().computed_ticks
    }

    /// Polls a call into the guest of this run. While the call waits for the host, the run has no permit.
    pub async fn run_guest<R>(&self, call: impl Future<Output = R>) -> R {
        let mut call = pin!(call);
        let poll = |context: &mut Context<'_>| {
            {
                let mut run = self.run();
                (run.resumed, run.cpu_time) = (Some(Instant::now()), None);
            }
            let polled = call.as_mut().poll(context);
            let mut run = self.run();
            if !run.is_at_tick {
                run.permit = None;
            }
            polled
        };
        std::future::poll_fn(poll).await
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    /// Returns true if the guest has computed for about one tick since it was resumed. Wall-clock time alone is not
    /// sufficient, because other threads may have used the core. Reading the CPU time is a system call, so it is read
    /// only after a tick of wall-clock time has passed.
    fn is_long(&mut self) -> bool {
        // A run does not begin at a tick, so its first tick is shorter.
        let about_one_tick = TICK * 4 / 5;
        if self.resumed.is_some_and(|resumed| resumed.elapsed() < about_one_tick) {
            return false;
        }
        let now = thread_cpu_time();
        now.saturating_sub(*self.cpu_time.get_or_insert(now)) >= about_one_tick
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::Pin;
    use std::task::{Poll, Waker};

    use super::*;

    /// A tick of a run that has computed for long. Call it inside `run_guest`, as a stage does.
    async fn long_tick(schedule: &Arc<CpuSchedule>) {
        {
            let mut run = schedule.run();
            (run.cpu_time, run.resumed) = (Some(Duration::ZERO), None);
        }
        let TickAction::Wait(wait) = schedule.on_tick() else { panic!("a long run waits at a tick") };
        wait.await;
    }

    fn polled<R>(future: Pin<&mut impl Future<Output = R>>) -> Poll<R> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn use_two_ticks_of_cpu_time() {
        while thread_cpu_time() < 2 * TICK {}
    }

    fn schedules<const N: usize>(permits: usize) -> (Arc<Scheduler>, [Arc<CpuSchedule>; N]) {
        let scheduler = Arc::new(Scheduler::with_permits(permits, Scheduling::Fair));
        let schedules = std::array::from_fn(|_| Arc::new(CpuSchedule::new(&scheduler)));
        (scheduler, schedules)
    }

    #[test]
    fn a_run_predicted_to_be_long_waits_before_it_begins() {
        let (scheduler, [run]) = schedules(1);
        let permit = Arc::clone(&scheduler.permits).try_acquire_owned().expect("free");
        let mut waits = pin!(run.acquire_permit());
        assert!(polled(waits.as_mut()).is_pending());
        drop(permit);
        assert!(polled(waits).is_ready());
        assert_eq!(scheduler.permits.available_permits(), 0);
    }

    #[test]
    fn a_short_run_needs_no_permit() {
        let (_scheduler, [run]) = schedules(0);
        let call = run.run_guest(async { matches!(run.on_tick(), TickAction::Continue) });
        assert_eq!(polled(pin!(call)), Poll::Ready(true));
    }

    #[test]
    fn long_runs_take_permits_in_order_and_release_them_while_the_host_works() {
        use_two_ticks_of_cpu_time();
        let (scheduler, [first, second]) = schedules(0);
        let mut runs_first = pin!(first.run_guest(async {
            long_tick(&first).await;
            pending::<()>().await;
        }));
        let mut runs_second = pin!(second.run_guest(long_tick(&second)));
        assert!(polled(runs_first.as_mut()).is_pending() && polled(runs_second.as_mut()).is_pending());
        assert!(first.run().permit.is_none() && second.run().permit.is_none(), "all permits are taken");

        scheduler.permits.add_permits(1);
        // The first run acquires the permit, lets the runtime work several times, continues, and waits for the host.
        assert!(polled(runs_first.as_mut()).is_pending());
        assert!(polled(runs_second.as_mut()).is_pending(), "the second run queues behind the first");
        assert!((0..YIELDS).all(|_| polled(runs_first.as_mut()).is_pending()));
        assert!(!first.run().is_at_tick && first.run().permit.is_none(), "a run that waits for the host has no permit");
        assert!(polled(runs_second.as_mut()).is_pending(), "it has the permit now, and lets the runtime work");
        assert!((0..YIELDS).any(|_| polled(runs_second.as_mut()).is_ready()));
    }

    #[test]
    fn without_fair_scheduling_a_guest_only_yields() {
        use_two_ticks_of_cpu_time();
        let scheduler = Arc::new(Scheduler::with_permits(0, Scheduling::Off));
        let run = Arc::new(CpuSchedule::new(&scheduler));
        assert!(polled(pin!(run.acquire_permit())).is_ready());
        assert!(matches!(run.on_tick(), TickAction::Yield));
        assert_eq!(run.computed_ticks(), 0);
    }
}
