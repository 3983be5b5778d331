//! Shows how far a study is: as a bar on a terminal, otherwise as lines.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use plimsoll_runtime::text::grouped;

/// Calls between two lines.
const CALLS_PER_LINE: u64 = 1_000;

/// Prints a line.
type Print = Box<dyn Fn(&str) + Send + Sync>;

/// The progress of a study.
pub struct Progress {
    bar: ProgressBar,
    /// How lines are printed, and the current step; `None` on a terminal.
    lines: Option<(Print, Mutex<Step>)>,
}

/// A step of a study: its name, the calls made and the calls known so far.
#[derive(Default)]
struct Step {
    name: String,
    made: u64,
    all: u64,
}

impl Progress {
    /// A bar on stderr, which must be a terminal.
    pub fn bar() -> Self {
        // The longest message fits into 80 columns.
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}");
        let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, lines: None }
    }

    /// Lines that `print` prints: one at the beginning of each step, and one after every 1,000 calls.
    pub fn lines(print: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { bar: ProgressBar::hidden(), lines: Some((Box::new(print), Mutex::default())) }
    }

    /// Begins a step with this number of calls.
    pub(crate) fn step(&self, name: &str, calls: usize) {
        self.bar.set_message(name.to_owned());
        self.bar.inc_length(calls as u64);
        if let Some((print, step)) = &self.lines {
            print(&format!("{name}: {} calls", grouped(calls as u64)));
            *step.lock().unwrap_or_else(PoisonError::into_inner) =
                Step { name: name.to_owned(), made: 0, all: calls as u64 };
        }
    }

    /// Adds calls to the step.
    pub(crate) fn add(&self, calls: usize) {
        self.bar.inc_length(calls as u64);
        if let Some((_, step)) = &self.lines {
            step.lock().unwrap_or_else(PoisonError::into_inner).all += calls as u64;
        }
    }

    /// Counts a call.
    pub(crate) fn count(&self) {
        self.bar.inc(1);
        let Some((print, step)) = &self.lines else { return };
        let mut step = step.lock().unwrap_or_else(PoisonError::into_inner);
        step.made += 1;
        if step.made.is_multiple_of(CALLS_PER_LINE) {
            print(&format!("{}: {} of {} calls", step.name, grouped(step.made), grouped(step.all.max(step.made))));
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
