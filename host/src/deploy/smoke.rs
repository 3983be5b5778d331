//! The sample that every new version has to answer before it serves.

use std::time::Duration;

use crate::pipeline::Pipeline;
use crate::stage::bindings::Request;
use crate::stage::{Outcome, StageError};
use crate::trace::Trace;

/// A small JPEG, for pipelines without a sample of their own.
const BUNDLED: &[u8] = include_bytes!("../../demo/sample.jpg");
/// Added to the pipeline's deadline: compiled code is touched for the first time, on a machine that compiles.
const SLACK: Duration = Duration::from_secs(5);

/// The stage that failed the sample.
#[derive(Debug)]
pub struct Failed {
    /// Its plugin.
    pub plugin: String,
    /// One sentence.
    pub reason: String,
}

/// Runs the sample through the pipeline: on the chips that run `plugin`, else on the default chip; on every chip where
/// no plugin is named. The configured sample must be answered. The bundled one, which may be of a kind that the
/// plugin does not read, may also be declined; but no stage may break, or meet a limit, on it.
///
/// # Errors
/// The stage that did not pass.
pub async fn run(pipeline: &Pipeline, plugin: Option<&str>) -> Result<(), Failed> {
    let of_plugin: Vec<_> = match plugin {
        None => pipeline.chips.keys().collect(),
        Some(plugin) => {
            pipeline.chips.iter().filter(|(_, stage)| &*stage.plugin.name == plugin).map(|(chip, _)| chip).collect()
        }
    };
    let chips = if of_plugin.is_empty() { vec![&pipeline.default_chip] } else { of_plugin };
    let (sample, content_type) = match &pipeline.sample {
        Some(sample) => (sample.bytes(), None),
        None => (BUNDLED, Some("image/jpeg".to_owned())),
    };
    for chip in chips {
        let infer = pipeline.chip(chip).expect("one of its own");
        let request = Request { id: "sample".into(), content_type: content_type.clone(), parameters: Vec::new() };
        let mut trace = Trace::unrecorded(&pipeline.name, chip, pipeline.deadline + SLACK);
        if let Err(failed) = pipeline.run(infer, &mut trace, &request, sample).await {
            if pipeline.sample.is_none() && declines(&failed.error) {
                continue;
            }
            let StageError { outcome, public, detail, .. } = &failed.error;
            // The first line of a trap's detail has its cause; the rest is the backtrace, for the log.
            let cause = detail.lines().next().filter(|line| !line.is_empty()).map(|line| format!(" ({line})"));
            return Err(Failed {
                plugin: failed.stage.plugin.name.to_string(),
                reason: format!(
                    "the sample of pipeline `{}` on chip `{chip}`: stage {} (plugin {}) ended in {}: {public}{}",
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

fn declines(error: &StageError) -> bool {
    matches!(error.outcome, Outcome::UnsupportedMediaType | Outcome::InvalidInput | Outcome::TooLarge)
}
