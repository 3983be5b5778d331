//! The part of a request's record that its reply shows.

use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::StageReport;

/// The part of a record that is returned to the caller.
#[derive(Debug, Clone)]
pub struct RequestSummary {
    /// The request's id.
    pub id: String,
    /// The chip that answered; of several images, all chips that did, with commas.
    pub chip: String,
    /// The reports of its stages.
    pub stages: Vec<StageReport>,
    /// The span of the request, for `traceresponse`; `None` if neither the caller nor a collector knows its trace.
    pub trace: Option<String>,
}

/// Between the names of chips.
const SEPARATOR: &str = ", ";

/// Returns true if [`merged`] may change something: a step may have run more than once.
pub fn repeats_steps(stages: &[StageReport]) -> bool {
    /// More reports than these are not compared with each other.
    const FEW: usize = 16;
    let is_repeated =
        |(at, report): (usize, &StageReport)| stages[..at].iter().any(|known| known.stage == report.stage);
    stages.len() > FEW || stages.iter().enumerate().any(is_repeated)
}

/// The reports with one for each step: a step that ran for several items has the sum of their durations and the highest
/// high-water mark. The first outcome that is not `ok` is kept.
pub fn merged(stages: &[StageReport]) -> Vec<StageReport> {
    let mut all: Vec<StageReport> = Vec::new();
    for report in stages {
        let known = all
            .iter_mut()
            .find(|known| known.stage.is_step() && known.stage == report.stage && known.digest == report.digest);
        match known {
            None => all.push(report.clone()),
            Some(known) => {
                known.duration += report.duration;
                known.usage.high_water = known.usage.high_water.max(report.usage.high_water);
                if known.outcome == Outcome::Ok {
                    known.outcome = report.outcome;
                }
            }
        }
    }
    all
}

impl RequestSummary {
    /// The summary without the chip to which the request was routed: each image names the chip that answered it.
    #[must_use]
    pub fn of_images(self) -> Self {
        Self { chip: String::new(), ..self }
    }

    /// Adds the summary of another request of the same batch. Durations of the same stage are summed; the highest
    /// high-water mark is kept; each chip is named once.
    pub fn add(&mut self, other: Self) {
        if self.chip.split(SEPARATOR).all(|known| known != other.chip) {
            if !self.chip.is_empty() {
                self.chip.push_str(SEPARATOR);
            }
            self.chip.push_str(&other.chip);
        }
        for report in other.stages {
            match self.stages.iter_mut().find(|known| known.stage == report.stage && known.digest == report.digest) {
                None => self.stages.push(report),
                Some(known) => {
                    known.duration += report.duration;
                    known.usage.high_water = known.usage.high_water.max(report.usage.high_water);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chip_that_answered_an_image_is_named_once() {
        let on = |chip: &str| RequestSummary { id: "1".into(), chip: chip.into(), stages: Vec::new(), trace: None };
        let mut summary = on("a").of_images();
        for chip in ["cpu", "cpu", "a", "cpu"] {
            summary.add(on(chip));
        }
        assert_eq!(summary.chip, "cpu, a");
    }
}
