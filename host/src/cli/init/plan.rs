//! What is written for a model, and the decisions that need its outputs for an image.

use std::path::{Path, PathBuf};

use plimsoll_runtime::nn::{BackendName, Description};

use super::folder::Contents;
use super::image_input::ImageInput;
use super::labels::Labels;
use super::normalisation::Normalisation;
use super::probe::{ModelFiles, Output, Probe, with_values};
use super::recognition::recognise;
use super::setting::Setting;
use super::task::Task;
use super::trial::Trial;
use super::values::Values;
use crate::base::telemetry::{clear_status, show_status};
use crate::cli::error::Error;

/// How often the sample is run: what it shows may change the preprocessing, and with it what the model returns.
const TRIALS: usize = 2;

/// A normalisation that the user chose.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Stated {
    /// The normalisation.
    pub(in crate::cli) normalisation: Normalisation,
    /// Why it is used.
    pub(in crate::cli) reason: &'static str,
}

/// What is known about a model.
pub(in crate::cli) struct Plan {
    /// The name of the pipeline and of the model.
    pub(in crate::cli) name: String,
    /// The model's description of itself.
    pub(in crate::cli) model: Description,
    /// Its files.
    pub(in crate::cli) files: ModelFiles,
    /// Its input.
    pub(in crate::cli) input: ImageInput,
    /// The backend, and the outputs.
    pub(in crate::cli) probe: Probe,
    /// The number of labels that the user or the model gives.
    pub(in crate::cli) labels: Option<u64>,
    /// The normalisation, if the user chose one.
    pub(in crate::cli) stated: Option<Stated>,
    /// The settings of `image-preprocess` that the user chose.
    pub(in crate::cli) answers: Vec<Setting>,
    /// The data folder; `None` for that in the new folder.
    pub(in crate::cli) data_dir: Option<PathBuf>,
}

impl Plan {
    /// The settings of `image-preprocess` for a task.
    pub(in crate::cli) fn preprocess(&self, task: &Task) -> Vec<Setting> {
        let (normalisation, reason, is_assumed) = match self.stated {
            Some(Stated { normalisation, reason }) => (normalisation, reason, false),
            None => (task.normalisation.0, task.normalisation.1, true),
        };
        let mut settings = self.input.settings();
        settings.extend(self.geometry(task).into_iter().map(|setting| match setting.key {
            "channels" if normalisation.is_bgr() => Setting {
                is_assumed,
                ..Setting::known("channels", "bgr", format!("{}: {reason}", normalisation.meaning()))
            },
            _ => setting,
        }));
        let is_bgr = settings.iter().any(|setting| setting.key == "channels" && setting.value == "\"bgr\"");
        settings.extend(normalisation.settings(&self.input, is_bgr, reason, is_assumed));
        settings
    }

    /// The settings of `image-preprocess` for a task, except normalisation, with the user's answers in their place.
    fn geometry(&self, task: &Task) -> Vec<Setting> {
        let answer = |key: &str| self.answers.iter().find(|answer| answer.key == key);
        let resize = answer("resize").map(|answer| &*answer.value);
        // Another way of resizing has its own defaults.
        let is_kept = |setting: &&Setting| match setting.key {
            "pad" => resize.is_none_or(|resize| resize == "\"letterbox\""),
            "resize_shorter" => resize.is_none_or(|resize| resize == "\"crop\""),
            _ => true,
        };
        let kept = task.geometry.iter().filter(is_kept);
        kept.map(|setting| answer(setting.key).unwrap_or(setting).clone()).collect()
    }

    /// A sentence about the model.
    pub(in crate::cli) fn description(&self, task: &Task) -> String {
        let Self { input, probe, .. } = self;
        let outputs = probe.outputs.iter().map(|output| format!("`{}` {} {:?}", output.name, output.ty, output.shape));
        format!(
            "Input `{}` {} x {} pixels, outputs {}. Task: {}.",
            input.name,
            input.width,
            input.height,
            outputs.collect::<Vec<_>>().join(", "),
            task.title
        )
    }

    /// Decides what depends on the numbers that the model returns, by the bundled sample in a pipeline with the settings that
    /// are written. `task` is what is known without them. If the sample cannot be run, it stays.
    pub(in crate::cli) async fn decide(&mut self, task: Task, folder: &Path) -> Result<Task, Error> {
        let recognised = |outputs: &[Output]| recognise(&self.model, &self.input, outputs, self.labels);
        let mut depends = false;
        for values in Values::SHOWN {
            depends |= recognised(&with_values(&self.probe.outputs, values))? != task;
        }
        if !depends {
            return Ok(task);
        }
        let mut task = task;
        for _ in 0..TRIALS {
            let preprocess = self.preprocess(&task);
            let contents = Contents {
                postprocess: "tensors-postprocess",
                // JSON has no NaN.
                settings: &[Setting::known("format", "safetensors", "")],
                labels: None,
                ..self.contents(&task, &preprocess, None)
            };
            let file = contents.write_trial(folder, &self.files)?;
            show_status("running the bundled sample, to see what the model returns …");
            let trial = Trial::run(file.path(), self.data_dir.clone(), &self.name).await;
            clear_status();
            // The run of the written pipeline reports the reason.
            let Ok(trial) = trial else { break };
            trial.note_values(&mut self.probe.outputs);
            task = recognise(&self.model, &self.input, &self.probe.outputs, self.labels)?;
            if self.preprocess(&task) == preprocess {
                break;
            }
        }
        Ok(task)
    }

    /// Writes the folder. Returns the path of the configuration file.
    pub(in crate::cli) fn write(&self, folder: &Path, task: &Task, labels: Option<&Labels>) -> Result<PathBuf, Error> {
        self.contents(task, &self.preprocess(task), labels).write(folder, &self.files)
    }

    fn contents<'a>(&'a self, task: &'a Task, preprocess: &'a [Setting], labels: Option<&'a Labels>) -> Contents<'a> {
        let needs_library = self.probe.backend != BackendName::default();
        let library = needs_library.then(|| std::env::var_os("ORT_DYLIB_PATH")).flatten();
        Contents {
            name: &self.name,
            description: self.description(task),
            backend: self.probe.backend.as_str(),
            rejections: &self.probe.rejections,
            library: library.map(PathBuf::from),
            preprocess,
            postprocess: task.plugin,
            settings: &task.settings,
            labels: labels.zip(task.labels.map(|(key, _)| key)),
            has_batch_axis: self.input.has_batch_axis,
        }
    }
}
