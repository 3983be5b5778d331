//! `plimsoll init`: from a model to a folder that can be served.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use plimsoll_runtime::nn::{BackendName, describe};
use plimsoll_runtime::stage::{Request, RunLog};

use crate::base::telemetry::{clear_status, show_status};
use crate::cli::error::Error;
use crate::cli::init::folder::Contents;
use crate::cli::init::image_input::ImageInput;
use crate::cli::init::labels::Labels;
use crate::cli::init::normalisation::Normalisation;
use crate::cli::init::probe::{ModelFiles, Probe};
use crate::cli::init::recognition::recognise;
use crate::cli::init::setting::Setting;
use crate::cli::init::task::Task;
use crate::cli::output::out;
use crate::cli::source::ConfigSource;
use crate::deploy::sample;
use crate::serve::App;

/// The size of an image if nothing states it: usual for classifiers, and for all other models.
const CLASSIFIER_SIZE: u64 = 224;
const OTHER_SIZE: u64 = 640;
/// Why a setting has its value if the user was asked.
const ANSWERED: &str = "as you answered";
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
        let labels = Labels::find(self.labels.as_deref(), &model)?;
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
                input = ImageInput::find(&model, self.size, OTHER_SIZE)?;
                probe = Probe::run(&files, &model, &input)?;
                task = recognise(&model, &input, &probe.outputs, count)?;
            }
            Ok::<_, Error>((input, probe, task))
        })?;
        clear_status();
        let unused = labels.as_ref().filter(|_| self.labels.is_none()).and_then(|labels| misfit(labels, &task));
        let labels = fitting_labels(labels, &task, self.labels.is_some())?;
        let (normalisation, reason) = match self.normalisation {
            Some(chosen) => (chosen, "--normalisation"),
            None if input.is_u8() => task.normalisation,
            None => ask(task.normalisation)?,
        };
        let is_assumed = self.normalisation.is_none() && reason != ANSWERED;
        let mut preprocess = input.settings();
        preprocess.extend(task.geometry.iter().map(|setting| match setting.key {
            "channels" if normalisation.is_bgr() => Setting {
                is_assumed,
                ..Setting::known("channels", "bgr", format!("{}: {reason}", normalisation.meaning()))
            },
            _ => setting.clone(),
        }));
        preprocess.extend(normalisation.settings(&input, reason, is_assumed));
        let shape = |shape: &[u64]| format!("{shape:?}");
        let outputs =
            probe.outputs.iter().map(|output| format!("`{}` {} {}", output.name, output.ty, shape(&output.shape)));
        let description = format!(
            "Input `{}` {} x {} pixels, outputs {}. Task: {}.",
            input.name,
            input.width,
            input.height,
            outputs.collect::<Vec<_>>().join(", "),
            task.title
        );
        let library = (probe.backend != BackendName::default()).then(|| std::env::var_os("ORT_DYLIB_PATH")).flatten();
        let library = library.map(PathBuf::from);
        let contents = Contents {
            name: &name,
            description: &description,
            backend: probe.backend.as_str(),
            rejections: &probe.rejections,
            library: library.as_deref(),
            preprocess: &preprocess,
            postprocess: task.plugin,
            settings: &task.settings,
            labels: labels.as_ref().zip(task.labels.map(|(key, _)| key)),
            has_batch_axis: input.has_batch_axis,
        };
        let config = contents.write(&folder, &files)?;
        out!("{description}");
        out!("Backend: {}", probe.backend.as_str());
        for rejection in &probe.rejections {
            out!("  not {rejection}");
        }
        print_assumptions(&task, preprocess.iter().chain(&task.settings));
        if let Some(why) = unused {
            out!("The labels of the model's metadata are not used: {why}");
        }
        out!("\nWritten: {}\n", config.display());
        try_sample(&config, self.data_dir, &name).await?;
        out!("\nServe it, and send an image:\n  plimsoll serve --config {}", config.display());
        out!("  curl --data-binary @IMAGE.jpg http://127.0.0.1:8080/v1/pipelines/{name}/infer");
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

/// Serves the folder without a port, and runs the bundled sample.
async fn try_sample(config: &Path, data_dir: Option<PathBuf>, name: &str) -> Result<(), Error> {
    let written = |error: &dyn std::fmt::Display| {
        Error::Failed(format!(
            "the folder was written, but the bundled sample cannot be answered: {error}\nChange {} and run `plimsoll check \
             --config {}`",
            config.display(),
            config.display()
        ))
    };
    let source = ConfigSource::at(Some(config.to_owned()), data_dir);
    let app = App::build(&source.load()?).await.map_err(|error| written(&error))?;
    show_status("running the bundled sample …");
    let pipeline = app.pipeline(name).map_err(|error| written(&error.to_string()))?;
    let infer = pipeline.find_chip(&pipeline.default_chip).map_err(|error| written(&error.to_string()))?;
    let request = Request { id: "init".into(), content_type: Some("image/jpeg".into()), parameters: Vec::new() };
    let mut log = RunLog::new(pipeline.deadline);
    let reply = pipeline.run(infer, &mut log, &request, sample::BUNDLED).await;
    clear_status();
    let reply = reply.map_err(|failed| written(&format!("plugin {}: {}", failed.stage.plugin.name, failed.error)))?;
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

/// The labels, if the plugin has labels. Labels that the user named must fit.
fn fitting_labels(labels: Option<Labels>, task: &Task, is_named: bool) -> Result<Option<Labels>, Error> {
    let Some(labels) = labels else { return Ok(None) };
    match misfit(&labels, task) {
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

/// Asks for the normalisation on a terminal; elsewhere it is the usual one.
fn ask(usual: (Normalisation, &'static str)) -> Result<(Normalisation, &'static str), Error> {
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    if !stdin.is_terminal() || !stderr.is_terminal() {
        return Ok(usual);
    }
    let mut text =
        "How were the pixels normalised when the model was trained? An ONNX file does not say it.\n".to_owned();
    for (index, choice) in Normalisation::value_variants().iter().enumerate() {
        let mark = if *choice == usual.0 { format!(" (default: {})", usual.1) } else { String::new() };
        text += &format!("  {} {}: {}{mark}\n", index + 1, choice.as_str(), choice.meaning());
    }
    for _ in 0..3 {
        let failed =
            |error| Error::Failed(format!("the terminal cannot be used: {error}; set --normalisation instead"));
        write!(stderr, "{text}Number, or Enter for the default: ").map_err(failed)?;
        let mut line = String::new();
        stdin.lock().read_line(&mut line).map_err(failed)?;
        match line.trim() {
            "" => return Ok(usual),
            line => match line
                .parse::<usize>()
                .ok()
                .and_then(|index| Normalisation::value_variants().get(index.wrapping_sub(1)))
            {
                Some(chosen) => return Ok((*chosen, ANSWERED)),
                None => text.clear(),
            },
        }
    }
    Ok(usual)
}

fn parse_size(text: &str) -> Result<(u64, u64), String> {
    let size = text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    size.filter(|size| (1..=16_384).contains(&size.0) && (1..=16_384).contains(&size.1))
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
