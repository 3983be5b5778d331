//! `plimsoll leak`.

use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Error, Source};
use crate::app::App;
use crate::defaults::{DEADLINE, INIT_DEADLINE, MAX_OUTPUT};
use crate::leak::corpus;
use crate::leak::finding::Study;
use crate::leak::report;
use crate::leak::study::Options;
use crate::leak::subject::Plugin;
use crate::leak::verdict::MIN_ROUNDS;
use crate::plugin::{Artifact, Kind};
use crate::stage::Limits;
use crate::stage::state::Deployment;

#[derive(Debug, Args)]
pub(super) struct Leak {
    /// The component under test, a `.wasm` file.
    plugin: PathBuf,
    /// The folder of inputs; subfolders are classes of them.
    #[arg(long, value_name = "DIR")]
    corpus: PathBuf,
    /// The pipeline that gives the plugin its configuration, assets and model, and, where it is no preprocess plugin,
    /// makes its inputs of the corpus.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// The chip of that pipeline; default the pipeline's.
    #[arg(long, value_name = "NAME")]
    chip: Option<String>,
    /// The kind of stage, where the component can be several.
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Rounds over the corpus; powers of two compare best.
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// A request parameter, as in the query of a URL; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    parameter: Vec<String>,
    /// The memory limit of the one instance, which has to hold all that leaks.
    #[arg(long, value_name = "BYTES", default_value = "2GiB")]
    max_memory: bytesize::ByteSize,
    /// Where the report is written.
    #[arg(long, value_name = "DIR", default_value = "leak-report")]
    out: PathBuf,
    /// Do not trace allocations: no call stacks, but sooner done.
    #[arg(long)]
    no_trace: bool,
    #[command(flatten)]
    source: Source,
}

impl Leak {
    pub(super) async fn run(self) -> Result<bool, Error> {
        let failed = |text: String| Error::Untold(text);
        if self.rounds < MIN_ROUNDS {
            return Err(failed(format!("--rounds must be at least {MIN_ROUNDS}: growth is compared between rounds")));
        }
        let bytes = std::fs::read(&self.plugin)
            .map_err(|error| failed(format!("{} cannot be read: {error}", self.plugin.display())))?;
        let name = self.plugin.file_stem().and_then(|name| name.to_str()).unwrap_or("plugin").to_owned();
        let artifact = Artifact::new(&name, None, bytes.into());
        let kind = self.kind(&artifact)?;
        let samples = corpus::read(&self.corpus, &self.parameters()?).map_err(failed)?;

        let (deployment, corpus) = match (&self.pipeline, kind) {
            (None, Kind::Preprocess) => (Deployment::default(), corpus::Corpus { samples, skipped: Vec::new() }),
            (None, _) => {
                return Err(failed(format!(
                    "`{name}` is a {} plugin, and its inputs are what a pipeline's earlier stages make of the corpus; \
                     name one with --pipeline (and its file with --config)",
                    kind.as_str()
                )));
            }
            (Some(pipeline), _) => self.of_pipeline(pipeline, kind, samples).await?,
        };
        if let Some((file, reason)) = corpus.skipped.first() {
            eprintln!(
                "{} of the corpus's files do not reach the stage; the first, {file}, ends in {reason}",
                corpus.skipped.len()
            );
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
        let at_plugin = |error: String| failed(format!("{}: {error}", self.plugin.display()));
        let plugin = Plugin::new(artifact, kind, deployment, limits).map_err(at_plugin)?;
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta} {msg}").expect("a valid template");
        let progress = ProgressBar::new(0).with_style(style);
        let options = Options { rounds: self.rounds, trace: !self.no_trace };
        let study = Study::new(&plugin, &corpus.samples, options, &progress).await.map_err(at_plugin)?;
        progress.finish_and_clear();
        print!("{}", report::summary(&study));
        report::write(&study, &corpus.samples, &self.out).map_err(failed)?;
        println!("\nwritten to {}: open report.html", self.out.display());
        Ok(study.leaks())
    }

    fn kind(&self, artifact: &Artifact) -> Result<Kind, Error> {
        let kinds =
            Plugin::kinds(artifact).map_err(|error| Error::Untold(format!("{}: {error}", self.plugin.display())))?;
        let known: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
        let what = if known.is_empty() { "none of the three".to_owned() } else { known.join(", ") };
        match (self.kind, kinds.as_slice()) {
            (Some(kind), _) if kinds.contains(&kind) => Ok(kind),
            (None, [only]) => Ok(*only),
            (Some(kind), _) => {
                let name = kind.as_str();
                Err(Error::Untold(format!(
                    "{} is no {name} plugin; of the stages it exports {what}",
                    self.plugin.display()
                )))
            }
            (None, _) => Err(Error::Untold(format!(
                "{} exports {what} of the stages; say with --kind which one is meant",
                self.plugin.display()
            ))),
        }
    }

    fn parameters(&self) -> Result<Vec<(String, String)>, Error> {
        let pair = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let pairs = self.parameter.iter().map(|text| {
            pair(text).ok_or_else(|| Error::Untold(format!("`{text}` is no parameter; write it as NAME=VALUE")))
        });
        pairs.collect()
    }

    /// What a pipeline gives a stage of this kind, and the corpus as it reaches that stage.
    async fn of_pipeline(
        &self,
        name: &str,
        kind: Kind,
        samples: Vec<corpus::Sample>,
    ) -> Result<(Deployment, corpus::Corpus), Error> {
        let app = App::build(&self.source.load()?).await?;
        let pipeline = app.pipeline(name).ok_or_else(|| {
            let known = app.pipeline_names().join(", ");
            Error::Untold(format!("there is no pipeline `{name}`; the configuration has {known}"))
        })?;
        let chip = self.chip.as_deref().unwrap_or(&pipeline.default_chip);
        let infer = pipeline.chip(chip).ok_or_else(|| {
            let known: Vec<_> = pipeline.chips.keys().map(String::as_str).collect();
            Error::Untold(format!("pipeline `{name}` has no chip `{chip}`; it has {}", known.join(", ")))
        })?;
        let stage = match kind {
            Kind::Preprocess => &*pipeline.preprocess,
            Kind::Infer => infer,
            Kind::Postprocess => &*pipeline.postprocess,
        };
        let deployment = stage.deployment().clone();
        Ok((deployment, corpus::feed(samples, kind, &pipeline, chip).await))
    }
}
