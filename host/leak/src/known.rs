//! Known leaks, which do not fail a CI: those of an earlier report (the baseline), and those that a suppression file
//! names.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::census::Group;
use super::finding::{Class, LeakingMeasure, Measure, Study};
use super::verdict::{Finding, Verdict};

/// A holder or a call stack with at least this share of a leak's bytes must be known.
const SHARE: f64 = 0.05;
/// Factor by which a known leak may be larger, and bytes in addition: two runs differ by this much.
const GROWTH: f64 = 1.1;
const GROWTH_BYTES: f64 = 16.0;
/// Share of a leak of all classes together that the leaks of the classes must explain.
const EXPLAINED: f64 = 0.9;
/// How a line of a suppression file begins, as in the files of LeakSanitizer.
const PREFIX: &str = "leak:";

/// A leak: what a class of inputs leaks, or all of them together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leak {
    /// The class; `(all)`, `(host tensors)`, `(host handles)`, `(own pages)` or `(objects)` if the classes alone do not explain
    /// it; `(unchanged files)` or `(other contents)`.
    pub place: String,
    /// What leaks.
    pub measure: Measure,
    /// Bytes per request; handles per request if the measure is handles.
    pub per_request: f64,
    /// What holds the blocks, most bytes first.
    pub holders: Vec<String>,
    /// The call stacks that allocated the blocks, most bytes first, each from the innermost function.
    pub allocated_by: Vec<Vec<String>>,
    /// The reason, if the leak is known.
    pub known: Option<String>,
}

/// Which leaks are known.
#[derive(Debug, Default)]
pub struct Known {
    /// The baseline's path and leaks.
    baseline: Option<(PathBuf, Vec<Leak>)>,
    patterns: Vec<String>,
}

/// Why the list of known leaks cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KnownError {
    /// A file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The baseline is not a report.
    #[error("the baseline {} is not a report.json of this version of plimsoll: {error}", path.display())]
    Baseline {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// A line of the suppression file is not valid.
    #[error(
        "{}, line {line}: `{text}` is not a suppression; write `leak:` and a part of the name of a class, a static, a \
         function or a source file, for example `leak:my_plugin::CACHE`",
        path.display()
    )]
    Suppression {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// Its text.
        text: String,
    },
}

impl Known {
    /// Reads a baseline (a `report.json`) and a suppression file. Each line of the latter is `leak:PATTERN`, empty, or a
    /// comment (`#`). A pattern is a part of a name; `*` stands for any text.
    ///
    /// # Errors
    /// If a file cannot be read or is not valid.
    pub fn read(baseline: Option<&Path>, suppressions: Option<&Path>) -> Result<Self, KnownError> {
        #[derive(Deserialize)]
        struct Report {
            leaks: Vec<Leak>,
        }
        let bytes =
            |path: &Path| std::fs::read(path).map_err(|error| KnownError::Unreadable { path: path.to_owned(), error });
        let mut known = Self::default();
        if let Some(path) = baseline {
            let report: Report = serde_json::from_slice(&bytes(path)?)
                .map_err(|error| KnownError::Baseline { path: path.to_owned(), error })?;
            known.baseline = Some((path.to_owned(), report.leaks));
        }
        if let Some(path) = suppressions {
            for (index, line) in String::from_utf8_lossy(&bytes(path)?).lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let pattern = line.strip_prefix(PREFIX).map(str::trim).filter(|pattern| !pattern.is_empty());
                let pattern = pattern.ok_or_else(|| KnownError::Suppression {
                    path: path.to_owned(),
                    line: index + 1,
                    text: line.to_owned(),
                })?;
                known.patterns.push(pattern.to_owned());
            }
        }
        Ok(known)
    }

    /// Marks the leaks that are known.
    pub fn mark(&self, leaks: &mut [Leak]) {
        for leak in leaks {
            let pattern = self.patterns.iter().find(|pattern| suppresses(pattern, leak));
            leak.known = match (pattern, &self.baseline) {
                (Some(pattern), _) => Some(format!("suppressed by {PREFIX}{pattern}")),
                (None, Some((path, leaks))) if leaks.iter().any(|before| is_as_before(before, leak)) => {
                    Some(format!("known from {}", path.display()))
                }
                _ => None,
            };
        }
    }
}

/// Returns true if the pattern is a part of the leak's place, of each of its holders, or of a function or file of each of
/// its call stacks.
fn suppresses(pattern: &str, leak: &Leak) -> bool {
    let all = |parts: &[Vec<String>]| {
        !parts.is_empty() && parts.iter().all(|part| part.iter().any(|text| matches(pattern, text)))
    };
    let holders: Vec<_> = leak.holders.iter().map(|holder| vec![holder.clone()]).collect();
    matches(pattern, &leak.place) || all(&holders) || all(&leak.allocated_by)
}

/// Returns true if `text` contains the parts of the pattern between its `*`, in their order.
fn matches(pattern: &str, text: &str) -> bool {
    let mut rest = text;
    pattern.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Returns true if the leak was there before: at the same place, held by nothing else, and not larger.
fn is_as_before(before: &Leak, now: &Leak) -> bool {
    before.place == now.place
        && before.measure == now.measure
        && now.per_request <= GROWTH * before.per_request + GROWTH_BYTES * f64::from(u8::from(now.measure.is_bytes()))
        && now.holders.iter().all(|holder| before.holders.contains(holder))
        // If it is not known what holds it, it may be another leak.
        && now.holders.is_empty() == before.holders.is_empty()
}

/// The leaks of a study: of each class that leaks; of all classes together if the classes do not explain it; and what leaks
/// only with other inputs.
pub fn leaks_of(study: &Study) -> Vec<Leak> {
    let leak = |place: String, measure: Measure, finding: &Finding, class: Option<usize>| Leak {
        place,
        measure,
        per_request: finding.growth.bytes,
        holders: match measure {
            Measure::Heap => {
                holders(study.groups.iter().filter(|group| class.is_none_or(|class| group.class == class)))
            }
            _ => Vec::new(),
        },
        allocated_by: if measure == Measure::Heap { stacks(study, class) } else { Vec::new() },
        known: None,
    };
    let mut leaks = Vec::new();
    for (index, class) in study.classes.iter().enumerate() {
        leaks.extend(class.leaking().map(|(finding, measure)| leak(class.name(), measure, finding, Some(index))));
    }
    for (place, finding, measure) in study.whole() {
        // A handle that leaks is the handle of a tensor that leaks.
        let is_of_tensors = measure == Measure::Handles && leaks.iter().any(|leak| leak.measure == Measure::Tensors);
        if finding.verdict == Verdict::Leaks && !is_explained(study, finding, measure) && !is_of_tensors {
            leaks.push(leak(place.to_owned(), measure, finding, None));
        }
    }
    for (place, found) in study.elsewhere() {
        for &LeakingMeasure { ref finding, measure } in &found.leaks {
            let holders = if measure == Measure::Heap { holders(found.groups.iter()) } else { Vec::new() };
            let (allocated_by, per_request) = (Vec::new(), finding.growth.bytes);
            leaks.push(Leak { place: place.to_owned(), measure, per_request, holders, allocated_by, known: None });
        }
    }
    leaks
}

/// Returns true if what all classes leak together is the sum of what they leak alone.
fn is_explained(study: &Study, finding: &Finding, measure: Measure) -> bool {
    let most = |finding: &Finding| finding.growth.bytes + finding.growth.bytes_within;
    let of_class = |class: &Class| {
        let leaks = class.leaking().filter(|(_, of)| *of == measure);
        leaks.map(|(finding, _)| most(finding)).sum::<f64>() * class.samples as f64
    };
    let alone: f64 = study.classes.iter().map(of_class).sum();
    let all = (finding.growth.bytes - finding.growth.bytes_within) * study.samples as f64;
    alone > 0.0 && alone >= EXPLAINED * all
}

/// What holds most of the blocks of some groups. A static without a name has another address in each build, so all statics
/// without a name count as the same holder.
fn holders<'a>(groups: impl Iterator<Item = &'a Group> + Clone) -> Vec<String> {
    let all: u64 = groups.clone().map(|group| group.bytes).sum();
    let mut found: Vec<(String, u64)> = Vec::new();
    for group in groups {
        let name = group.holder();
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, bytes)) => *bytes += group.bytes,
            None => found.push((name, group.bytes)),
        }
    }
    found.retain(|(_, bytes)| *bytes as f64 >= SHARE * all as f64);
    found.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    found.into_iter().map(|(name, _)| name).collect()
}

/// The call stacks that allocated most of the blocks of a class; of all blocks if it is `None`.
fn stacks(study: &Study, class: Option<usize>) -> Vec<Vec<String>> {
    let of_class = |stack: &&super::finding::StackReport| class.is_none_or(|class| stack.class == class);
    let stacks: Vec<_> = study.stacks.iter().filter(of_class).filter(|stack| stack.totals.inuse_space > 0).collect();
    let all: u64 = stacks.iter().map(|stack| stack.totals.inuse_space).sum();
    let large = stacks.iter().filter(|stack| stack.totals.inuse_space as f64 >= SHARE * all as f64);
    large.map(|stack| stack.frames.iter().map(ToString::to_string).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leak(place: &str, per_request: f64, holders: &[&str]) -> Leak {
        Leak {
            place: place.into(),
            measure: Measure::Heap,
            per_request,
            holders: holders.iter().map(|&name| name.to_owned()).collect(),
            allocated_by: vec![vec!["app::keep (src/lib.rs:7)".into(), "app::run".into()]],
            known: None,
        }
    }

    #[test]
    fn a_leak_is_known_if_it_was_there_before_and_is_not_larger() {
        let before = leak("ok", 100.0, &["static A", "static B"]);
        assert!(is_as_before(&before, &leak("ok", 105.0, &["static B"])));
        assert!(!is_as_before(&before, &leak("ok", 200.0, &["static B"])), "larger");
        assert!(!is_as_before(&before, &leak("invalid_input", 100.0, &["static B"])), "another class");
        assert!(!is_as_before(&before, &leak("ok", 100.0, &["static B", "static C"])), "another holder");
        assert!(!is_as_before(&before, &leak("ok", 100.0, &[])), "no holder is known");
    }

    #[test]
    fn a_suppression_must_match_every_holder_or_every_call_stack() {
        let both = leak("ok", 100.0, &["static app::A", "static app::B"]);
        assert!(suppresses("app::A", &leak("ok", 1.0, &["static app::A"])));
        assert!(!suppresses("app::A", &both));
        assert!(suppresses("static app::*", &both));
        assert!(suppresses("keep*lib.rs", &both));
        assert!(!suppresses("lib.rs*keep", &both));
        assert!(!suppresses("other", &both));
    }
}
