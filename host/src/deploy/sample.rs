//! Runs the sample that every new version must answer before it serves.

use std::time::Duration;

use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::{Request, RunLog, StageError};

use super::served_pipeline::ServedPipeline;

/// A small JPEG, for pipelines that configure no sample.
pub const BUNDLED: &[u8] = include_bytes!("../../demo/sample.jpg");
/// Added to the pipeline's deadline, because the code runs for the first time, while the machine is compiling.
const SLACK: Duration = Duration::from_secs(5);
/// How often the sample is tried if the host has no room for an instance, and the pause after the first try; each further
/// pause is twice as long.
const MAX_TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The stage that failed the sample.
#[derive(Debug)]
pub struct SampleError {
    /// The plugin of the stage.
    pub plugin: String,
    /// The reason, in one sentence.
    pub reason: String,
    /// True if the host had no room for an instance, or the device failed.
    pub is_temporary: bool,
}

/// Runs the sample through the pipeline. If `plugin` is given, the sample runs on the chips with this plugin, or on the
/// default chip if there are none. Otherwise it runs on every chip. The configured sample must be answered. The plugin
/// may reject the bundled sample, because it may not read JPEG, but no stage may trap or exceed a limit.
///
/// # Errors
/// If a stage fails.
pub async fn run_sample(pipeline: &ServedPipeline, plugin: Option<&str>) -> Result<(), SampleError> {
    let of_plugin: Vec<_> = match plugin {
        None => pipeline.chip_names().iter().collect(),
        Some(plugin) => pipeline.chips_of(plugin),
    };
    let chips = if of_plugin.is_empty() { vec![&pipeline.default_chip] } else { of_plugin };
    let (sample, content_type) = match &pipeline.sample {
        Some(sample) => (sample.bytes(), None),
        None => (BUNDLED, Some("image/jpeg".to_owned())),
    };
    for chip in chips {
        let Some(selected) = pipeline.select(chip) else { continue };
        let request = Request { id: "sample".into(), content_type: content_type.clone(), parameters: Vec::new() };
        let mut tries = 0;
        let result = loop {
            let mut log = RunLog::new(pipeline.deadline + SLACK);
            let result = pipeline.run(selected, &mut log, &request, sample).await;
            let is_full = result.as_ref().is_err_and(|failed| failed.error.outcome == Outcome::NoCapacity);
            tries += 1;
            if !is_full || tries == MAX_TRIES {
                break result;
            }
            tokio::time::sleep(FIRST_PAUSE * (1 << (tries - 1))).await;
        };
        if let Err(failed) = result {
            if pipeline.sample.is_none() && is_refusal(&failed.error) {
                continue;
            }
            let StageError { outcome, public, detail, .. } = &failed.error;
            // The first line of the detail is the cause of a trap; the rest is the backtrace, for the log.
            let cause = detail.lines().next().filter(|line| !line.is_empty()).map(|line| format!(" ({line})"));
            return Err(SampleError {
                plugin: failed.stage.plugin.name.to_string(),
                is_temporary: matches!(outcome, Outcome::NoCapacity | Outcome::DeviceFailure),
                reason: format!(
                    "the sample of pipeline `{}` failed on chip `{chip}`: stage {} (plugin {}) ended in {}: {public}{}",
                    pipeline.name,
                    failed.stage.name,
                    failed.stage.plugin.name,
                    outcome.as_str(),
                    cause.unwrap_or_default()
                ),
            });
        }
    }
    Ok(())
}

fn is_refusal(error: &StageError) -> bool {
    matches!(error.outcome, Outcome::UnsupportedMediaType | Outcome::InvalidInput | Outcome::TooLarge)
}
