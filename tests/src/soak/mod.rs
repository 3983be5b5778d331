//! The soak: very many requests against the real binary, half of them malformed, while plugins are deployed, rolled back
//! and reloaded. It checks every reply, and that resident memory does not grow.
//!
//! `cargo bench --bench soak` runs it in full; the test `soak` runs a short form.

mod kind;
mod process;
mod raw;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub use kind::{BAD, GOOD, Kind};
use process::Process;

/// The longest body that is not an image, in bytes.
const LARGE: u64 = 128 << 10;
/// The same beside the good requests whose times are compared with a quiet server's: as long as twice a good one. So the
/// comparison shows what bombs, loops, traps and cut connections cost, and not what bytes cost.
const SMALL: u64 = 4_000;
/// The number of the phase of this comparison.
const ATTACK: u64 = 11;

/// How the soak runs.
#[derive(Debug, Clone, Copy)]
pub struct Soak {
    /// The number of requests.
    pub requests: u64,
    /// Concurrent clients.
    pub clients: u64,
    /// The start of the sequence of pseudo-random requests.
    pub seed: u64,
    /// Requests between two changes: a deployment, a rollback or a reload.
    pub change_every: u64,
}

/// What the soak saw.
#[derive(Debug, Default)]
pub struct Report {
    /// The number of requests of each kind.
    pub counts: BTreeMap<&'static str, u64>,
    /// Replies that were not expected, at most 20.
    pub unexpected: Vec<String>,
    /// The number of unexpected replies.
    pub unexpected_count: u64,
    /// The number of deployments, rollbacks and reloads.
    pub changes: u64,
    /// Resident memory in bytes after each tenth of the requests, without running requests.
    pub resident: Vec<u64>,
    /// Of these, the bytes in parts of the instance pool's slots that no instance uses.
    pub unused_slots: Vec<u64>,
    /// 99th percentile of the time of good requests in milliseconds, while only good requests ran.
    pub quiet_p99: f64,
    /// The same, while half of the requests were malformed (traps, loops, bombs, cut connections), and nothing was deployed.
    pub attacked_p99: f64,
    /// 99th percentile of the time of good requests in milliseconds, during the soak.
    pub mixed_p99: f64,
    /// Duration of the soak in seconds.
    pub seconds: f64,
}

impl Soak {
    /// Runs the soak against the binary.
    ///
    /// # Panics
    /// If the binary does not start, or a client panics.
    pub async fn run(self, binary: &Path) -> Report {
        let process = Arc::new(Process::start(binary).await);
        let mut report = Report::default();
        // Before the changes begin, and with fewer requests: a percentile needs some hundreds.
        let quiet = self.phase(&process, (self.requests / 10).clamp(200, 20_000), 0, true).await;
        let attacked = self.phase(&process, (self.requests / 5).max(400), ATTACK, false).await;
        let quiet_after = self.phase(&process, (self.requests / 10).clamp(200, 20_000), 12, true).await;
        // Before and after the attack, because the machine may become slower or faster meanwhile.
        let mut quiet_times = Vec::new();
        report.add(quiet, &mut quiet_times);
        report.add(quiet_after, &mut quiet_times);
        report.quiet_p99 = p99(quiet_times);
        let mut attacked_times = Vec::new();
        report.add(attacked, &mut attacked_times);
        report.attacked_p99 = p99(attacked_times);
        let started = Instant::now();
        let (stop, changes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sent = Arc::new(AtomicU64::new(0));
        let changing = {
            let (process, stop, changes, sent) =
                (Arc::clone(&process), Arc::clone(&stop), Arc::clone(&changes), Arc::clone(&sent));
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Relaxed) {
                    let number = changes.load(Relaxed);
                    if sent.load(Relaxed) < number * self.change_every {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    }
                    failures.extend(process.change(number).await.err());
                    changes.fetch_add(1, Relaxed);
                }
                failures
            })
        };
        let mut times = Vec::new();
        for tenth in 0..10 {
            let phase = self.phase(&process, self.requests / 10, tenth + 1, false).await;
            sent.fetch_add(self.requests / 10, Relaxed);
            report.add(phase, &mut times);
            report.resident.push(process.resident_at_rest().await);
            report.unused_slots.push(process.inaccessible());
        }
        stop.store(true, Relaxed);
        let failed = changing.await.expect("no panic");
        report.unexpected_count += failed.len() as u64;
        report.unexpected.extend(failed);
        report.unexpected.truncate(20);
        report.changes = changes.load(Relaxed);
        report.mixed_p99 = p99(times);
        report.seconds = started.elapsed().as_secs_f64();
        report
    }

    /// Sends `requests` requests from all clients, and waits for all replies.
    async fn phase(self, process: &Arc<Process>, requests: u64, number: u64, good_only: bool) -> Phase {
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..self.clients {
            let process = Arc::clone(process);
            let longest = if number == ATTACK { SMALL } else { LARGE };
            let share = requests / self.clients + u64::from(client < requests % self.clients);
            let mut random = Random(self.seed ^ (number << 32) ^ (client << 16) | 1);
            clients.spawn(async move {
                let mut phase = Phase::default();
                let http = reqwest::Client::new();
                for _ in 0..share {
                    let kind = Kind::choose(&mut random, good_only);
                    let started = Instant::now();
                    let outcome = kind.send(&process, &http, &mut random, longest).await;
                    if kind.is_good() {
                        phase.times.push(started.elapsed().as_secs_f64() * 1e3);
                    }
                    *phase.counts.entry(kind.name()).or_default() += 1;
                    if let Err(reason) = outcome {
                        phase.unexpected.push(format!("{}: {reason}", kind.name()));
                    }
                }
                phase
            });
        }
        let mut whole = Phase::default();
        while let Some(phase) = clients.join_next().await {
            whole.add(phase.expect("no client panics"));
        }
        whole
    }
}

/// The results of the clients of a phase.
#[derive(Default)]
struct Phase {
    counts: BTreeMap<&'static str, u64>,
    unexpected: Vec<String>,
    /// Times of good requests in milliseconds.
    times: Vec<f64>,
}

impl Phase {
    fn add(&mut self, other: Self) {
        for (name, count) in other.counts {
            *self.counts.entry(name).or_default() += count;
        }
        self.unexpected.extend(other.unexpected);
        self.times.extend(other.times);
    }
}

impl Report {
    fn add(&mut self, phase: Phase, times: &mut Vec<f64>) {
        for (name, count) in phase.counts {
            *self.counts.entry(name).or_default() += count;
        }
        self.unexpected_count += phase.unexpected.len() as u64;
        self.unexpected.extend(phase.unexpected);
        self.unexpected.truncate(20);
        times.extend(phase.times);
    }

    /// How many times longer the slowest of 100 good requests took while others attacked the server.
    pub fn slowdown(&self) -> f64 {
        self.attacked_p99 / self.quiet_p99
    }

    /// How much resident memory grew, in bytes: resident memory after the last tenth of the requests minus that after
    /// the second tenth.
    pub fn growth(&self) -> i64 {
        self.resident[9] as i64 - self.resident[1] as i64
    }

    /// The same of the unused parts of slots.
    pub fn growth_of_slots(&self) -> i64 {
        self.unused_slots[9] as i64 - self.unused_slots[1] as i64
    }
}

fn p99(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    if times.is_empty() { 0.0 } else { crate::bench::quantile(&times, 0.99) }
}

/// A small generator of pseudo-random numbers (xorshift64), so that a run can be repeated.
pub struct Random(u64);

impl Random {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}
