//! The CPU time of a thread.

use std::time::Duration;

/// Returns the CPU time that the calling thread has used. Wall-clock time would include the time in which other threads
/// had the core.
pub fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
