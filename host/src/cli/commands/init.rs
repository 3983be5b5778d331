//! `plimsoll init`: from a model to a folder that can be served.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use plimsoll_runtime::nn::describe;

use crate::base::telemetry::{clear_status, show_status};
use crate::cli::error::Error;
use crate::cli::init::image_input::{ImageInput, MAX_SIDE};
use crate::cli::init::labels::{FoundLabels, Labels};
use crate::cli::init::normalisation::Normalisation;
use crate::cli::init::plan::{Plan, Stated};
use crate::cli::init::probe::{ModelFiles, Probe};
use crate::cli::init::questions::Questions;
use crate::cli::init::recognition::recognise;
use crate::cli::init::setting::Setting;
use crate::cli::init::task::Task;
use crate::cli::init::trial::Trial;
use crate::cli::output::{out, shell_word};

/// The size of an image if nothing states it: usual for classifiers, and for all other models.
const CLASSIFIER_SIZE: u64 = 224;
const OTHER_SIZE: u64 = 640;
/// The width of a line of text: that of PaddleOCR's recognisers.
const TEXT_WIDTH: u64 = 320;
/// The characters of the sample's reply that are printed.
const SHOWN: usize = 400;

#[derive(Debug, Args)]
pub(in crate::cli) struct Init {
    /// The ONNX model.
    model: PathBuf,
    /// A file with the names of the classes, one per line.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// The folder to write; default: the name of the model, in the current folder.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The size of images as WIDTHxHEIGHT, for a model that takes any size.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    size: Option<(u64, u64)>,
    /// How pixels become numbers; default: as the family of the model is usually trained.
    #[arg(long, value_enum)]
    normalisation: Option<Normalisation>,
    /// The folder of the state of a server, with the cache of compiled code; default: in the new folder.
    #[arg(long, value_name = "DIR", env = "PLIMSOLL_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

impl Init {
    pub(in crate::cli) async fn run(self) -> Result<ExitCode, Error> {
        let name = pipeline_name(&self.model)?;
        let folder = self.dir.clone().unwrap_or_else(|| PathBuf::from(&name));
        if folder.join("plimsoll.toml").exists() {
            let path = folder.join("plimsoll.toml");
            return Err(Error::Failed(format!(
                "{} is already there; remove it, or name another folder with --dir",
                path.display()
            )));
        }
        let files = ModelFiles::read(&self.model)?;
        let Some(model) = describe(&files.bytes) else {
            return Err(Error::Failed(format!(
                "{} is not an ONNX model; export the model to ONNX first",
                self.model.display()
            )));
        };
        let FoundLabels { labels, unread } = Labels::find(self.labels.as_deref(), &model)?;
        let count = labels.as_ref().map(|labels| labels.names.len() as u64);
        show_status(&format!("loading {} and running it once …", self.model.display()));
        // Loading and running a model blocks.
        let (input, probe, task) = tokio::task::block_in_place(|| {
            let mut input = ImageInput::find(&model, self.size, CLASSIFIER_SIZE)?;
            let mut probe = Probe::run(&files, &model, &input)?;
            let mut task = recognise(&model, &input, &probe.outputs, count)?;
            if input.size_source.is_none()
                && task.plugin != "classify-postprocess"
                && task.plugin != "embed-postprocess"
            {
                let size = if task.plugin == "text-postprocess" { TEXT_WIDTH } else { OTHER_SIZE };
                input = ImageInput::find(&model, self.size, size)?;
                probe = Probe::run(&files, &model, &input)?;
                task = recognise(&model, &input, &probe.outputs, count)?;
            }
            Ok::<_, Error>((input, probe, task))
        })?;
        clear_status();
        // What does not fit is refused before anything is written.
        let is_named = self.labels.is_some();
        fitting_labels(labels.as_ref(), &task, is_named)?;
        let mut questions = Questions::new();
        let stated = match self.normalisation {
            Some(_) if input.is_u8() => {
                return Err(Error::Failed(format!(
                    "input `{}` takes bytes, which are not normalised; leave out --normalisation",
                    input.name
                )));
            }
            Some(chosen) => Some(Stated { normalisation: chosen, reason: "--normalisation" }),
            None if input.is_u8() => None,
            None => questions.normalisation(task.normalisation)?,
        };
        // The order of the colours is a part of some normalisations.
        let is_bgr = stated.map_or(task.normalisation.0, |stated| stated.normalisation).is_bgr();
        let open = task.geometry.iter().filter(|setting| !is_bgr || setting.key != "channels");
        let mut answers: Vec<_> = open.filter(|setting| setting.is_assumed).cloned().collect();
        questions.settings("the image", &mut answers)?;
        answers.retain(|setting| !setting.is_assumed);
        let data_dir = self.data_dir.clone();
        let mut plan = Plan { name, model, files, input, probe, labels: count, stated, answers, data_dir };
        let mut task = plan.decide(task, &folder).await?;
        if let Some(labels) = &labels {
            task.note_first_label(&labels.names);
        }
        questions.settings("the reply", &mut task.settings)?;
        let used = fitting_labels(labels.as_ref(), &task, is_named)?;
        let config = plan.write(&folder, &task, used)?;
        out!("{}", plan.description(&task));
        out!("Backend: {}", plan.probe.backend.as_str());
        for rejection in &plan.probe.rejections {
            out!("  not {rejection}");
        }
        print_assumptions(&task, plan.preprocess(&task).iter().chain(&task.settings));
        let unused = labels.as_ref().filter(|_| used.is_none());
        if let Some(why) = unread.or_else(|| misfit(unused?, &task)) {
            out!("The labels of the model's metadata are not used: {why}");
        }
        out!("\nWritten: {}\n", config.display());
        print_sample(&config, self.data_dir, &plan.name).await?;
        out!("\nServe it, and send an image:\n  plimsoll serve --config {}", shell_word(&config));
        out!("  curl --data-binary @IMAGE.jpg http://127.0.0.1:8080/v1/pipelines/{}/infer", plan.name);
        Ok(ExitCode::SUCCESS)
    }
}

fn print_assumptions<'a>(task: &Task, settings: impl Iterator<Item = &'a Setting>) {
    let assumed: Vec<_> = settings.filter(|setting| setting.is_assumed).collect();
    if assumed.is_empty() && !task.is_assumed {
        return;
    }
    out!("\nThe model does not say the following. Check it in plimsoll.toml:");
    if task.is_assumed {
        out!("  the task is {} (plugin {})", task.title, task.plugin);
    }
    for Setting { key, value, reason, .. } in assumed {
        out!("  {key} = {value}: {reason}");
    }
}

/// Serves the folder without a port, and prints the reply to the bundled sample.
async fn print_sample(config: &Path, data_dir: Option<PathBuf>, name: &str) -> Result<(), Error> {
    show_status("running the bundled sample …");
    let trial = Trial::run(config, data_dir, name).await;
    clear_status();
    let Trial { reply, .. } = trial.map_err(|error| {
        let command = format!("plimsoll check --config {}", shell_word(config));
        Error::Failed(format!(
            "the folder was written, but the bundled sample cannot be answered: {error}\nChange {} and run `{command}`",
            config.display()
        ))
    })?;
    match std::str::from_utf8(&reply.body) {
        Ok(text) if text.chars().count() > SHOWN => {
            let text: String = text.chars().take(SHOWN).collect();
            out!("Reply to the bundled sample ({} bytes): {text}…", reply.body.len());
        }
        Ok(text) => out!("Reply to the bundled sample: {text}"),
        Err(_) => out!("Reply to the bundled sample: {} bytes of {}", reply.body.len(), reply.content_type),
    }
    Ok(())
}

/// The labels, if they fit. Labels that the user named must fit.
fn fitting_labels<'a>(labels: Option<&'a Labels>, task: &Task, is_named: bool) -> Result<Option<&'a Labels>, Error> {
    let Some(labels) = labels else { return Ok(None) };
    match misfit(labels, task) {
        None => Ok(Some(labels)),
        Some(why) if is_named => Err(Error::Failed(format!(
            "{} does not fit the model: {why}; leave out --labels, or correct it",
            labels.source
        ))),
        Some(_) => Ok(None),
    }
}

/// Why labels cannot be used; `None` if they fit.
fn misfit(labels: &Labels, task: &Task) -> Option<String> {
    let count = labels.names.len() as u64;
    match task.labels {
        Some((_, None)) => None,
        Some((_, Some(classes))) if classes == count => None,
        Some((_, Some(classes))) => Some(format!("it has {count} labels, and the model has {classes} classes")),
        None => Some(format!("the task is {}, which has no labels", task.title)),
    }
}

fn parse_size(text: &str) -> Result<(u64, u64), String> {
    let size = text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    size.filter(|size| (1..=MAX_SIDE).contains(&size.0) && (1..=MAX_SIDE).contains(&size.1))
        .ok_or_else(|| "write it as WIDTHxHEIGHT, for example 640x640".to_owned())
}

/// The file's name without its ending, in the characters of a name in the configuration.
fn pipeline_name(model: &Path) -> Result<String, Error> {
    let stem = model.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_lowercase();
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.trim_matches('-').to_owned();
    if name.is_empty() {
        return Err(Error::Failed(format!(
            "{}: a pipeline is named after its model, and this file name has no letters or digits; rename the file",
            model.display()
        )));
    }
    Ok(name)
}
