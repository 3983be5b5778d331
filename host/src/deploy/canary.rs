//! A canary: a new version gets a share of a pipeline's requests, and its figures beside the old version's decide
//! whether it is promoted or rolled back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::Notify;

use crate::config::Canary as Rules;
use crate::pipeline::Pipeline;
use crate::plugin::Identity;
use crate::stage::Outcome;

/// Failures of a new version that are no rate yet: fewer never roll it back.
const MIN_FAILURES: u64 = 3;
/// Requests of a new version before its high-water marks say anything.
const MIN_REQUESTS: u64 = 20;
/// 2^64 divided by the golden ratio: multiples of it spread evenly, so the share is kept at every moment, and no
/// caller's rhythm falls into step with it.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A pipeline with a new version of one plugin, beside the one that serves.
pub struct Trial {
    /// With the new version.
    pub pipeline: Arc<Pipeline>,
    candidate: Identity,
    rules: Rules,
    turn: Arc<AtomicU64>,
    old: Arc<Arm>,
    new: Arc<Arm>,
}

/// What one of the two versions did since the trial began.
pub struct Arm {
    plugin: Arc<str>,
    figures: Mutex<Figures>,
    /// Set when there is something to decide.
    due: Arc<Due>,
    is_new: bool,
}

#[derive(Debug)]
struct Figures {
    requests: u64,
    failures: u64,
    /// In pages of 64 KiB.
    marks: Histogram<u64>,
}

/// Wakes whoever decides, once for each decision.
#[derive(Default)]
pub struct Due {
    notify: Notify,
    flag: AtomicBool,
}

impl Due {
    fn set(&self) {
        if !self.flag.swap(true, Relaxed) {
            self.notify.notify_one();
        }
    }

    /// Waits until a trial has something to decide.
    pub async fn wait(&self) {
        self.notify.notified().await;
        self.flag.store(false, Relaxed);
    }
}

/// The figures of a trial, as they are logged and shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The pipeline.
    pub pipeline: String,
    /// Requests that the new version is to answer before it is promoted.
    pub wanted: u64,
    /// The new version's.
    pub new: Summary,
    /// The old version's over the same time.
    pub old: Summary,
}

/// One version's figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Requests answered.
    pub requests: u64,
    /// Those that ended in a trap, a memory limit or a passed deadline of the plugin.
    pub failures: u64,
    /// 99th percentile of the plugin's high-water mark in bytes.
    pub p99: u64,
}

/// What the figures say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough requests yet.
    Undecided,
    /// The new version may serve.
    Promote,
    /// It may not, and why.
    RollBack(String),
}

impl Trial {
    /// Begins a trial of `candidate` in `pipeline`, which has it.
    pub fn new(pipeline: Arc<Pipeline>, candidate: &Identity, rules: Rules, due: &Arc<Due>) -> Self {
        let arm = |is_new| {
            let marks = Histogram::new_with_bounds(1, 1 << 17, 2).expect("valid bounds");
            let figures = Mutex::new(Figures { requests: 0, failures: 0, marks });
            Arc::new(Arm { plugin: Arc::clone(&candidate.name), figures, due: Arc::clone(due), is_new })
        };
        let (old, new) = (arm(false), arm(true));
        Self { pipeline, candidate: candidate.clone(), rules, turn: Arc::default(), old, new }
    }

    /// The same trial going on in a pipeline whose other parts were exchanged.
    #[must_use]
    pub fn with(&self, pipeline: Arc<Pipeline>) -> Self {
        let Self { candidate, rules, turn, old, new, pipeline: _ } = self;
        let (turn, old, new) = (Arc::clone(turn), Arc::clone(old), Arc::clone(new));
        Self { pipeline, candidate: candidate.clone(), rules: rules.clone(), turn, old, new }
    }

    /// Whether this is the trial of that version.
    pub fn is_of(&self, candidate: &Identity) -> bool {
        self.candidate == *candidate
    }

    /// The plugin on trial.
    pub fn plugin(&self) -> &Arc<str> {
        &self.candidate.name
    }

    /// Which version the next request gets.
    pub fn takes_next(&self) -> bool {
        let point = self.turn.fetch_add(1, Relaxed).wrapping_mul(GOLDEN);
        (point as f64) < self.rules.share * (u64::MAX as f64)
    }

    /// Where a request's figures go.
    pub fn arm(&self, new: bool) -> Arc<Arm> {
        Arc::clone(if new { &self.new } else { &self.old })
    }

    /// The figures so far.
    pub fn comparison(&self) -> Comparison {
        Comparison {
            pipeline: self.pipeline.name.clone(),
            wanted: self.rules.requests,
            new: self.new.summary(),
            old: self.old.summary(),
        }
    }

    /// What the figures so far say.
    pub fn verdict(&self) -> Verdict {
        judge(&self.comparison(), &self.rules)
    }
}

fn judge(figures: &Comparison, rules: &Rules) -> Verdict {
    let Comparison { new, old, pipeline, .. } = figures;
    let rate = |arm: &Summary| arm.failures as f64 / arm.requests.max(1) as f64;
    if new.failures >= MIN_FAILURES && rate(new) > rules.failure_factor * rate(old) {
        return Verdict::RollBack(format!(
            "canary in pipeline `{pipeline}`: {} of {} requests ended in a trap, a memory limit or a deadline, with \
             the old version {} of {} (no more than {} times its rate is allowed)",
            new.failures, new.requests, old.failures, old.requests, rules.failure_factor
        ));
    }
    let enough = new.requests >= MIN_REQUESTS.min(rules.requests) && old.requests > 0;
    if enough && new.p99 as f64 > rules.memory_factor * old.p99 as f64 {
        return Verdict::RollBack(format!(
            "canary in pipeline `{pipeline}`: the p99 high-water mark is {} bytes after {} requests, with the old \
             version {} (no more than {} times is allowed)",
            new.p99, new.requests, old.p99, rules.memory_factor
        ));
    }
    if new.requests >= rules.requests { Verdict::Promote } else { Verdict::Undecided }
}

impl Arm {
    /// Whether this is the plugin on trial.
    pub fn is_of(&self, plugin: &str) -> bool {
        plugin == &*self.plugin
    }

    /// Counts a stage run, if it is of the plugin on trial.
    pub fn stage(&self, plugin: &str, outcome: Outcome, high_water: u64) {
        if !self.is_of(plugin) {
            return;
        }
        let mut figures = self.figures.lock().expect("no holder panics");
        figures.marks.saturating_record(high_water.div_ceil(PAGE));
        if outcome.is_plugin_failure() {
            figures.failures += 1;
        }
    }

    /// Counts a request that came to the plugin.
    pub fn request(&self) {
        self.figures.lock().expect("no holder panics").requests += 1;
        if self.is_new {
            self.due.set();
        }
    }

    fn summary(&self) -> Summary {
        let figures = self.figures.lock().expect("no holder panics");
        let p99 = figures.marks.value_at_quantile(0.99) * PAGE;
        Summary { requests: figures.requests, failures: figures.failures, p99 }
    }
}

const PAGE: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules { share: 0.05, requests: 1_000, failure_factor: 2.0, memory_factor: 1.5 }
    }

    fn figures(new: (u64, u64, u64), old: (u64, u64, u64)) -> Comparison {
        let summary = |(requests, failures, p99)| Summary { requests, failures, p99 };
        Comparison { pipeline: "p".into(), wanted: 1_000, new: summary(new), old: summary(old) }
    }

    #[test]
    fn the_figures_decide() {
        let judge = |new, old| judge(&figures(new, old), &rules());
        assert_eq!(judge((10, 0, 100), (200, 0, 100)), Verdict::Undecided);
        assert_eq!(judge((1_000, 0, 100), (20_000, 0, 100)), Verdict::Promote);
        assert_eq!(judge((1_000, 2, 100), (20_000, 0, 100)), Verdict::Promote, "two failures are no rate");
        assert!(matches!(judge((50, 3, 100), (1_000, 0, 100)), Verdict::RollBack(_)));
        assert_eq!(judge((50, 5, 100), (1_000, 100, 100)), Verdict::Undecided, "the old version fails as often");
        assert!(matches!(judge((50, 0, 151), (1_000, 0, 100)), Verdict::RollBack(_)));
        assert_eq!(judge((5, 0, 151), (1_000, 0, 100)), Verdict::Undecided, "five requests are no percentile");
    }

    #[test]
    fn the_share_is_kept_at_every_moment() {
        let taken = |share: f64, turns: u64| {
            (0..turns).filter(|turn| (turn.wrapping_mul(GOLDEN) as f64) < share * (u64::MAX as f64)).count()
        };
        for turns in [100, 1_000, 10_000] {
            let expected = turns as f64 * 0.05;
            assert!((taken(0.05, turns) as f64 - expected).abs() <= 3.0, "{turns}");
        }
    }
}
