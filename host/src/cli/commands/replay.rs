//! `plimsoll replay`: runs recorded inputs again, with the same or another version of a plugin.

mod chips;
mod step;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use plimsoll_runtime::stage::{Request, RunLog};

use crate::base::telemetry;
use crate::cli::error::Error;
use crate::cli::output::out;
use crate::cli::source::ConfigSource;
use crate::cli::table;
use crate::config::Config;
use crate::deploy::NotServed;
use crate::deploy::needed::needed;
use crate::records::recording::store::{self, RecordingError};
use crate::records::recording::{Facts, StageFacts};
use crate::records::request_summary::merged;
use crate::serve::App;

#[derive(Debug, Args)]
pub(in crate::cli) struct Replay {
    /// The folder of recordings or captures: `recordings/PIPELINE` or `captures/PIPELINE` in the data folder, or the
    /// pipeline's `record.dir` or `capture.dir`.
    dir: PathBuf,
    #[command(flatten)]
    source: ConfigSource,
    /// Run this file instead of the plugin NAME. Repeat the option for several plugins.
    #[arg(long, value_name = "NAME=FILE.wasm", value_parser = replacement)]
    plugin: Vec<(String, PathBuf)>,
    /// Run all recordings on this chip; default the recorded chip. With several chips, compares the outputs of the others
    /// with those of the first, for the same tensors: of the infer stage, or of each step that has chips.
    #[arg(long)]
    chip: Vec<String>,
    /// In a pipeline of steps: run only this step again, on what the steps before it hand on for each recording; once for
    /// each item, if it runs for items. With several chips, compare only this step.
    #[arg(long, value_name = "NAME")]
    step: Option<String>,
}

/// The facts of the stages of a recording as recorded and as replayed, and whether the reply of a capture is the same.
type Replayed = (Vec<StageFacts>, Vec<StageFacts>, Option<bool>);

/// Why a recording, or the plugin that replaces another one, cannot be run.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error("write it as NAME=FILE.wasm")]
    NoName,
    #[error(transparent)]
    Path(#[from] io::Error),
    #[error("there is no file {}", .0.display())]
    NoFile(PathBuf),
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error("pipeline `{pipeline}` has no steps, so leave out --step")]
    NoSteps { pipeline: String },
    #[error("pipeline `{pipeline}` has no step `{step}`; its steps are {known}")]
    NoStep { pipeline: String, step: String, known: String },
    #[error("pipeline `{pipeline}` has no step `{step}` with chips to compare; those with chips are {known}")]
    NoChips { pipeline: String, step: String, known: String },
    /// What the step takes is not known.
    #[error("an earlier step failed: {step} ended in {error}")]
    EarlierStep { step: String, error: String },
    /// The configuration has no such pipeline or chip.
    #[error(transparent)]
    NotServed(#[from] NotServed),
}

fn replacement(text: &str) -> Result<(String, PathBuf), ReplayError> {
    let (name, file) = text.split_once('=').ok_or(ReplayError::NoName)?;
    // A path on the command line is relative to the current folder.
    let file = std::path::absolute(file)?;
    if file.is_file() { Ok((name.to_owned(), file)) } else { Err(ReplayError::NoFile(file)) }
}

impl Replay {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        let names = store::names(&self.dir)
            .map_err(|error| Error::Failed(format!("{} cannot be read: {error}", self.dir.display())))?;
        if names.is_empty() {
            return Err(Error::Failed(format!("there are no recordings in {}", self.dir.display())));
        }
        let app = App::build(&self.config()?).await?;
        if self.chip.len() > 1 {
            return finish(&chips::compare(&app, &self.dir, &names, (&self.chip, self.step.as_ref())).await);
        }
        if let Some(step) = &self.step {
            return finish(&step::run(&app, &self.dir, &names, self.chip.first(), step).await);
        }
        let mut rows = Vec::new();
        let mut failures = Vec::new();
        let mut same_replies: Vec<bool> = Vec::new();
        for (at, name) in names.iter().enumerate() {
            show_progress(at, names.len());
            match self.replay_recording(&app, name).await {
                Ok((recorded, replayed, is_same)) => {
                    rows.extend(compared(name, &recorded, &replayed));
                    same_replies.extend(is_same);
                }
                Err(error) => failures.push(format!("recording {name} cannot be run: {error}")),
            }
        }
        telemetry::clear_status();
        let header = [
            "recording",
            "stage",
            "recorded plugin",
            "outcome",
            "replayed plugin",
            "outcome",
            "high water",
            "replayed",
            "difference",
        ];
        for line in table::lines(&header, &rows, 6) {
            out!("{line}");
        }
        if !same_replies.is_empty() {
            let same = same_replies.iter().filter(|is_same| **is_same).count();
            out!("{same} of {} replies have the same bytes as those that were captured", same_replies.len());
        }
        finish(&failures)
    }

    /// The configuration with the replaced plugins.
    fn config(&self) -> Result<Config, Error> {
        let mut config = self.source.load()?;
        for (name, file) in &self.plugin {
            if !needed(&config).contains_key(name.as_str()) {
                let known: Vec<_> = needed(&config).into_keys().map(str::to_owned).collect();
                return Err(Error::Failed(format!(
                    "--plugin {name}=…: no pipeline uses a plugin `{name}`; the pipelines use {}",
                    known.join(", ")
                )));
            }
            config.plugins.entry(name.clone()).or_default().file = Some(file.clone());
        }
        Ok(config)
    }

    /// Runs one recording.
    async fn replay_recording(&self, app: &App, name: &str) -> Result<Replayed, ReplayError> {
        let (facts, body) = store::read(Path::new(&self.dir), name)?;
        let captured = facts.reply.as_ref().and_then(|_| store::read_reply(&self.dir, name).transpose()).transpose()?;
        let Facts { request, pipeline, chip, content_type, parameters, stages, .. } = facts;
        let pipeline = app.pipeline(&pipeline)?;
        let chip = self.chip.first().unwrap_or(&chip);
        let infer = pipeline.find_chip(chip)?;
        let request = Request { id: request, content_type, parameters };
        let mut log = RunLog::new(pipeline.deadline);
        // An error is ignored, because the reports of the stages contain the outcome, as in the recording.
        let reply = pipeline.run(infer, &mut log, &request, &body).await;
        let is_same = captured.map(|captured| reply.is_ok_and(|reply| reply.body == captured));
        Ok((stages, merged(log.reports()).iter().map(StageFacts::from).collect(), is_same))
    }
}

/// Says on a terminal how many recordings have been run.
fn show_progress(at: usize, count: usize) {
    telemetry::show_status(&format!("running recording {} of {count} …", at + 1));
}

/// The result of the command, with a message for each recording that cannot be run.
fn finish(failures: &[String]) -> Result<ExitCode, Error> {
    if failures.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Error::Failed(failures.join("\n"))) }
}

/// Returns a row for each stage that was recorded or replayed.
fn compared(name: &str, recorded: &[StageFacts], replayed: &[StageFacts]) -> Vec<Vec<String>> {
    // The last group of the UUID is random. The groups before it are the time, which several recordings may share.
    let short = name.rsplit('-').next().unwrap_or(name);
    let mut rows = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for facts in recorded.iter().chain(replayed) {
        if !names.contains(&facts.stage.as_str()) {
            names.push(&facts.stage);
        }
    }
    for stage in names {
        let of = |facts: &[StageFacts]| facts.iter().find(|facts| facts.stage == stage).cloned();
        let (then, now) = (of(recorded), of(replayed));
        if then.is_none() && now.is_none() {
            continue;
        }
        let absent = || "-".to_owned();
        let plugin = |facts: &StageFacts| {
            let digest = facts.digest.get(..12).unwrap_or(&facts.digest);
            format!("{}@{}+{digest}", facts.plugin, facts.version)
        };
        let texts = |facts: &Option<StageFacts>| {
            facts.as_ref().map_or_else(|| [absent(), absent()], |facts| [plugin(facts), facts.outcome.clone()])
        };
        let mark =
            |facts: &Option<StageFacts>| facts.as_ref().map_or_else(absent, |facts| facts.high_water.to_string());
        let difference = then.as_ref().zip(now.as_ref());
        let difference = difference.map_or_else(absent, |(then, now)| {
            format!("{:+}", i128::from(now.high_water) - i128::from(then.high_water))
        });
        let [then_plugin, then_outcome] = texts(&then);
        let [now_plugin, now_outcome] = texts(&now);
        let texts = [short.to_owned(), stage.to_owned(), then_plugin, then_outcome, now_plugin, now_outcome];
        rows.push(texts.into_iter().chain([mark(&then), mark(&now), difference]).collect());
    }
    rows
}
