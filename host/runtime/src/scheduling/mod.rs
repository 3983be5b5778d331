//! Scheduling: which thread runs what, and when.
//!
//! Four heuristics keep short runs fast while long runs use the cores. All of them can be switched off together
//! ([`Scheduling::Off`], `fair_scheduling = false` in `[server]`), for example to find out whether a latency problem is
//! theirs.
//!
//! | heuristic | decision | off |
//! | --- | --- | --- |
//! | [`cpu_permits`] | A guest that has computed for about one epoch tick needs a CPU permit from then on. There is one permit per core; a permit goes to the next waiting guest after 50 ms. | A guest yields to the runtime at every epoch tick (2 ms). |
//! | [`run_length`] | A preprocess run that is predicted to be long waits for its CPU permit *before* it gets an instance. So of runs that end within one permit, no more hold memory than compute. | Every run gets its instance at once. |
//! | [`background`] | A run for which nobody waits takes a permit only if one is free and no other run waits; it gives it back at every tick. | It yields like any other run. |
//! | [`short_runs`] | A model whose recent runs took at most 250 µs runs on the calling thread, without the bound on concurrent runs of the backend. | Every run of a model moves to a thread for blocking work. |

pub mod background;
pub mod cpu_permits;
pub mod cpu_time;
pub mod mode;
pub mod run_length;
pub mod short_runs;
pub mod tick;

pub(crate) use background::is_low_priority;
pub use background::{BackgroundRun, Priority, run_at_low_priority};
pub use cpu_permits::{CpuSchedule, EXTRA_RUNS, Scheduler};
pub use mode::Scheduling;
pub use run_length::RunLengthPredictor;
pub use short_runs::ShortRunDetector;
