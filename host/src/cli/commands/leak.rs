//! `plimsoll leak`: runs a plugin in the leak laboratory.

use std::fmt::Display;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use plimsoll_leak::conclusion::Conclusion;
use plimsoll_leak::corpus;
use plimsoll_leak::finding::Study;
use plimsoll_leak::known::{Known, leaks_of};
use plimsoll_leak::progress::Progress;
use plimsoll_leak::report;
use plimsoll_leak::study::Options;
use plimsoll_leak::subject::PluginUnderTest;
use plimsoll_leak::verdict::MIN_ROUNDS;
use plimsoll_runtime::component::exports::names_of;
use plimsoll_runtime::component::{Artifact, CompiledCache};
use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::pipeline::Pipeline;
use plimsoll_runtime::stage::{Limits, StageCore, StageEnvironment};
use plimsoll_runtime::text::{printable, printable_lines, shortened};

use crate::base::defaults::{DEADLINE, INIT_DEADLINE, MAX_OUTPUT};
use crate::base::telemetry::print_line;
use crate::cli::error::Error;
use crate::cli::output::{self, out};
use crate::cli::source::ConfigSource;
use crate::cli::stage_kind;
use crate::config::Overrides;
use crate::serve::App;

/// Maximum bytes of the folder of compiled plugins.
const MAX_CACHE: bytesize::ByteSize = bytesize::ByteSize::gib(2);

#[derive(Debug, Args)]
pub(in crate::cli) struct Leak {
    /// The component under test, a `.wasm` file.
    plugin: PathBuf,
    /// The folder of inputs; subfolders are judged separately.
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// The pipeline that provides the plugin's configuration, assets and model. For infer and postprocess plugins, its
    /// earlier stages turn the corpus into the plugin's inputs.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// The step of the pipeline that the plugin runs; needed if the pipeline has several steps of its kind.
    #[arg(long, value_name = "NAME", requires = "pipeline")]
    step: Option<String>,
    /// The chip of the pipeline; default: the pipeline's default chip.
    #[arg(long, value_name = "NAME")]
    chip: Option<String>,
    /// The kind of stage; needed if the component exports several.
    #[arg(long, value_parser = stage_kind::any())]
    kind: Option<StageKind>,
    /// Rounds over the corpus, at least 4; a power of two gives the best comparison. There are more until there are 1,024
    /// calls, and if memory grows and it is not yet clear whether it leaks.
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// A request parameter, as in the query of a URL; can be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    parameter: Vec<String>,
    /// The content type of the requests, for example `image/jpeg`; default: none.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// The memory limit of the instance, which must hold everything that leaks.
    #[arg(long, value_name = "BYTES", default_value = "2GiB")]
    max_memory: bytesize::ByteSize,
    /// The folder to which the report is written.
    #[arg(long, value_name = "DIR", default_value = "leak-report")]
    out: PathBuf,
    /// The folder in which the compiled plugin is kept for the next run. Compiling a plugin in Python or JavaScript takes
    /// longer than running it.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Do not trace allocations: faster, but without call stacks.
    #[arg(long)]
    no_trace: bool,
    /// The `report.json` of an earlier run. Leaks that it has do not count, unless they became larger or are held by
    /// something else.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// A file with lines `leak:PATTERN`. Leaks whose class, static, function or source file contains a pattern do not
    /// count; `*` stands for any text.
    #[arg(long, value_name = "FILE")]
    suppressions: Option<PathBuf>,
    #[command(flatten)]
    source: ConfigSource,
}

impl Leak {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        let failed = |text: String| Error::Inconclusive(text);
        if self.rounds < MIN_ROUNDS {
            return Err(failed(format!(
                "--rounds must be at least {MIN_ROUNDS}, because growth is compared between rounds"
            )));
        }
        let known = Known::read(self.baseline.as_deref(), self.suppressions.as_deref()).map_err(Error::inconclusive)?;
        let bytes = std::fs::read(&self.plugin)
            .map_err(|error| failed(format!("{} cannot be read: {error}", self.plugin.display())))?;
        let name = self.plugin.file_stem().and_then(|name| name.to_str()).unwrap_or("plugin");
        let name = shortened(name);
        let artifact = Artifact::new(&name, None, bytes.into());
        let artifact = artifact.map_err(|error| failed(format!("{}: its version {error}", self.plugin.display())))?;
        let kind = self.kind(&artifact)?;
        let samples = corpus::read(&self.corpus, &self.parameters()?, self.content_type.as_deref());
        let samples = samples.map_err(Error::inconclusive)?;

        let (environment, corpus) = match (&self.pipeline, kind) {
            (None, StageKind::Preprocess) => {
                (StageEnvironment::default(), corpus::Corpus { samples, skipped: Vec::new() })
            }
            (None, _) => {
                return Err(failed(format!(
                    "`{name}` is a plugin of kind `{}`, and its inputs come from the earlier stages of a pipeline; \
                     name the pipeline with --pipeline (and its file with --config)",
                    kind.as_str()
                )));
            }
            (Some(pipeline), _) => self.environment_and_corpus(pipeline, kind, samples).await?,
        };
        if let Some((file, reason)) = corpus.skipped.first() {
            let skipped = corpus.skipped.len();
            let example = printable(&format!("{file}: {reason}"), 1_000);
            print_line(&format!("{skipped} files of the corpus do not reach the stage, for example {example}"));
        }
        if corpus.samples.is_empty() {
            return Err(failed("no file of the corpus reaches the stage".into()));
        }
        let limits = Limits {
            max_memory: self.max_memory.as_u64(),
            deadline: DEADLINE * 10,
            init_deadline: INIT_DEADLINE * 10,
            max_output: MAX_OUTPUT,
        };
        let at_plugin = |error: &dyn Display| failed(format!("{}: {error}", self.plugin.display()));
        let cache = self.cache.as_deref().map(|folder| CompiledCache::open(folder, MAX_CACHE.as_u64())).transpose();
        let cache = cache.map_err(Error::inconclusive)?;
        let plugin = PluginUnderTest::new(artifact, kind, environment, limits, cache);
        let plugin = plugin.map_err(|error| at_plugin(&error))?;
        let progress = if io::stderr().is_terminal() { Progress::bar() } else { Progress::lines(print_line) };
        let options = Options { rounds: self.rounds, trace: !self.no_trace };
        let study = Study::run(&plugin, &corpus.samples, options, &progress).await;
        let study = study.map_err(|error| at_plugin(&error))?;
        progress.finish();
        let mut leaks = leaks_of(&study);
        known.mark(&mut leaks);
        output::write(printable_lines(&report::summary(&study, &leaks)).as_bytes());
        report::write(&study, &leaks, &corpus.samples, &self.out).map_err(Error::inconclusive)?;
        out!("\nThe report is in {}; open report.html.", self.out.display());
        Ok(ExitCode::from(Conclusion::of(&study, &leaks).exit_code()))
    }

    fn kind(&self, artifact: &Artifact) -> Result<StageKind, Error> {
        let kinds = PluginUnderTest::kinds(artifact)
            .map_err(|error| Error::Inconclusive(format!("{}: {error}", self.plugin.display())))?;
        let exported = names_of(&kinds);
        match (self.kind, kinds.as_slice()) {
            (Some(kind), _) if kinds.contains(&kind) => Ok(kind),
            (None, [only]) => Ok(*only),
            (Some(kind), _) => {
                let name = kind.as_str();
                Err(Error::Inconclusive(format!(
                    "{} is not a plugin of kind `{name}`. Exported kinds: {exported}",
                    self.plugin.display()
                )))
            }
            (None, _) => Err(Error::Inconclusive(format!(
                "{} does not export exactly one kind of stage; choose one with --kind. Exported kinds: {exported}",
                self.plugin.display()
            ))),
        }
    }

    fn parameters(&self) -> Result<Vec<(String, String)>, Error> {
        let pair = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let pairs = self.parameter.iter().map(|text| {
            pair(text).ok_or_else(|| {
                Error::Inconclusive(format!("`{text}` is not a valid parameter; write it as NAME=VALUE"))
            })
        });
        pairs.collect()
    }

    /// The environment of the pipeline's stage of this kind, and the corpus as inputs of that stage.
    async fn environment_and_corpus(
        &self,
        name: &str,
        kind: StageKind,
        samples: Vec<corpus::Sample>,
    ) -> Result<(StageEnvironment, corpus::Corpus), Error> {
        let mut config = self.source.load()?;
        // The plugin takes the place of the pipeline's, which may not read the model's file.
        let overrides = config.overrides.clone();
        config.apply_overrides(Overrides { keeps_model_files: true, ..overrides });
        let app = App::build(&config).await?;
        let pipeline = app.pipeline(name).map_err(Error::inconclusive)?;
        let chip = self.chip.as_deref().unwrap_or(&pipeline.default_chip);
        if pipeline.steps.is_some() {
            let step = self.step(&pipeline, kind)?;
            let of_step = |(of, stage): &(Option<&str>, &Arc<StageCore>)| {
                stage.name.as_str() == step && of.is_none_or(|of| of == chip)
            };
            let found = pipeline.stages().find(of_step);
            let (_, stage) =
                found.ok_or_else(|| Error::Inconclusive(format!("pipeline `{name}` has no chip `{chip}`")))?;
            let environment = stage.environment().clone();
            let corpus = match kind {
                StageKind::Preprocess => corpus::Corpus { samples, skipped: Vec::new() },
                _ => corpus::feed_step(samples, kind, &pipeline, (chip, &step)).await,
            };
            return Ok((environment, corpus));
        }
        let stage = match kind {
            StageKind::Preprocess => pipeline.preprocess.core(),
            StageKind::Infer => pipeline.find_infer(chip).map_err(Error::inconclusive)?.core(),
            StageKind::Postprocess => pipeline.postprocess.core(),
            StageKind::Transform => {
                let reason = format!("pipeline `{name}` has three stages, and none of kind `transform`");
                return Err(Error::Inconclusive(reason));
            }
        };
        let environment = stage.environment().clone();
        Ok((environment, corpus::feed(samples, kind, &pipeline, chip).await))
    }

    /// The step under test: the one that is named, or the only one of its kind.
    fn step(&self, pipeline: &Pipeline, kind: StageKind) -> Result<String, Error> {
        let mut names: Vec<&str> = Vec::new();
        for (_, stage) in pipeline.stages().filter(|(_, stage)| stage.kind == kind) {
            if !names.contains(&stage.name.as_str()) {
                names.push(stage.name.as_str());
            }
        }
        match (&self.step, names.as_slice()) {
            (Some(step), names) if names.contains(&step.as_str()) => Ok(step.clone()),
            (None, [only]) => Ok((*only).to_owned()),
            (step, names) => {
                let given = step.as_ref().map_or_else(String::new, |step| format!("no step `{step}` of this kind; "));
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                Err(Error::Inconclusive(format!(
                    "pipeline `{}`: {given}choose a step of kind `{kind}` with --step; there is {names}",
                    pipeline.name
                )))
            }
        }
    }
}
