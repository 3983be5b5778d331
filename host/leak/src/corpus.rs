//! The corpus: the inputs of the stage under test. A preprocess stage gets the files themselves. Later stages get the
//! output of the pipeline's earlier stages.

use std::io;
use std::path::{Path, PathBuf};

use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::pipeline::{Pipeline, SelectedChip, StepInput};
use plimsoll_runtime::stage::{Bundle, Request, RunLog, StageError};
use plimsoll_runtime::tensor::Tensor;
use plimsoll_runtime::text::printable;

/// One input.
#[derive(Clone)]
pub struct Sample {
    /// The path relative to the corpus folder.
    pub name: String,
    /// The subfolder of the file. Subfolder and outcome together are the class. Empty if the corpus has no subfolders.
    pub folder: String,
    /// Bytes of the file.
    pub size: usize,
    /// The request's parameters.
    pub parameters: Vec<(String, String)>,
    /// The request's content type.
    pub content_type: Option<String>,
    /// The arguments of the stage.
    pub feed: Feed,
}

impl Sample {
    /// The request of this sample.
    pub fn request(&self, id: String) -> Request {
        Request { id, content_type: self.content_type.clone(), parameters: self.parameters.clone() }
    }
}

/// The arguments of each kind of stage.
#[derive(Clone)]
pub enum Feed {
    /// Preprocessing: the request body.
    Body(Vec<u8>),
    /// Inference: the output tensors of preprocessing.
    Inputs(Vec<(String, Tensor)>),
    /// A transformation: the tensors and the context of earlier steps.
    Bundle(Bundle),
    /// Postprocessing: the output tensors of inference, and the context of preprocessing.
    Outputs(Vec<(String, Tensor)>, Vec<u8>),
}

impl Feed {
    /// Bytes of the body, or of the tensors.
    pub fn bytes(&self) -> usize {
        let tensors = match self {
            Self::Body(body) => return body.len(),
            Self::Inputs(tensors) | Self::Outputs(tensors, _) => tensors,
            Self::Bundle(bundle) => &bundle.tensors,
        };
        tensors.iter().map(|(_, tensor)| tensor.data.len()).sum()
    }
}

/// The samples, and the files that an earlier stage failed on.
pub struct Corpus {
    /// Sorted by name.
    pub samples: Vec<Sample>,
    /// Files that do not reach the stage, each with the error of the earlier stage.
    pub skipped: Vec<(String, String)>,
}

/// Why there is no sample, or why one does not reach the stage under test.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A file or a folder cannot be read.
    #[error("the corpus {} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file or the folder.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// There is no file.
    #[error("the corpus {} has no files; give a folder of inputs with --corpus", .0.display())]
    Empty(PathBuf),
    /// The sample is already the argument of a later stage.
    #[error("the sample is not a file of the corpus")]
    NotAFile,
    /// The pipeline has no such chip.
    #[error("the pipeline has no chip `{0}`")]
    UnknownChip(String),
    /// An earlier stage failed.
    #[error(transparent)]
    EarlierStage(#[from] StageError),
}

impl CorpusError {
    fn unreadable(path: &Path, error: io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), error }
    }
}

/// Reads every file of a folder and its subfolders. If there are subfolders, files next to them are ignored, because
/// they are notes about the corpus. Hidden files are ignored.
///
/// # Errors
/// If the folder or a file cannot be read, or there is no file.
pub fn read(
    folder: &Path,
    parameters: &[(String, String)],
    content_type: Option<&str>,
) -> Result<Vec<Sample>, CorpusError> {
    let mut files = Vec::new();
    let entries = |path: &Path| -> Result<Vec<PathBuf>, CorpusError> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|error| CorpusError::unreadable(path, error))? {
            let path = entry.map_err(|error| CorpusError::unreadable(path, error))?.path();
            if !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    };
    let mut folders: Vec<_> = entries(folder)?;
    if folders.iter().any(|path| path.is_dir()) {
        folders.retain(|path| path.is_dir());
    }
    while let Some(path) = folders.pop() {
        if path.is_dir() {
            folders.extend(entries(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(CorpusError::Empty(folder.to_owned()));
    }
    files
        .iter()
        .map(|path| {
            let body = std::fs::read(path).map_err(|error| CorpusError::unreadable(path, error))?;
            let relative = path.strip_prefix(folder).unwrap_or(path);
            Ok(Sample {
                name: shown(relative),
                folder: relative.parent().map(shown).unwrap_or_default(),
                size: body.len(),
                parameters: parameters.to_vec(),
                content_type: content_type.map(str::to_owned),
                feed: Feed::Body(body),
            })
        })
        .collect()
}

/// A path for reports. Reports are also for terminals and for XML, which have no control characters.
fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy(), usize::MAX)
}

/// Turns files into the arguments of a step, which is of `kind`: runs the steps before it, each in a fresh instance. A file
/// becomes one sample for each of its items.
pub async fn feed_step(
    samples: Vec<Sample>,
    kind: StageKind,
    pipeline: &Pipeline,
    (chip, step): (&str, &str),
) -> Corpus {
    let mut corpus = Corpus { samples: Vec::new(), skipped: Vec::new() };
    for sample in samples {
        match step_feeds(&sample, kind, pipeline, (chip, step)).await {
            Ok(feeds) => {
                let count = feeds.len();
                for (item, feed) in feeds {
                    let item = item.filter(|_| count > 1).map_or_else(String::new, |item| format!(" item {item}"));
                    let name = sample.name.clone() + &item;
                    corpus.samples.push(Sample { name, feed, ..sample.clone() });
                }
            }
            Err(error) => corpus.skipped.push((sample.name, error.to_string())),
        }
    }
    corpus
}

async fn step_feeds(
    sample: &Sample,
    kind: StageKind,
    pipeline: &Pipeline,
    (chip, step): (&str, &str),
) -> Result<Vec<(Option<usize>, Feed)>, CorpusError> {
    let Feed::Body(body) = &sample.feed else { return Err(CorpusError::NotAFile) };
    let Some(SelectedChip::Steps(graph, chip)) = pipeline.select(chip) else {
        return Err(CorpusError::UnknownChip(chip.to_owned()));
    };
    let request = sample.request("leak".into());
    let mut log = RunLog::new(pipeline.deadline);
    let inputs = pipeline.step_inputs(graph, (chip, step), &mut log, &request, body).await;
    let inputs = inputs.map_err(|failed| CorpusError::EarlierStage(failed.error))?;
    let feed = |bundle: Bundle| match kind {
        StageKind::Preprocess => Feed::Body(body.clone()),
        StageKind::Infer => Feed::Inputs(bundle.tensors),
        StageKind::Transform => Feed::Bundle(bundle),
        StageKind::Postprocess => Feed::Outputs(bundle.tensors, bundle.context.to_vec()),
    };
    Ok(inputs.into_iter().map(|StepInput { item, input }| (item, feed(input))).collect())
}

/// Turns files into the arguments of a stage of `kind`: runs the pipeline's earlier stages, each in a fresh instance.
pub async fn feed(samples: Vec<Sample>, kind: StageKind, pipeline: &Pipeline, chip: &str) -> Corpus {
    let mut corpus = Corpus { samples: Vec::new(), skipped: Vec::new() };
    for sample in samples {
        match run_earlier_stages(&sample, kind, pipeline, chip).await {
            Ok(feed) => corpus.samples.push(Sample { feed, ..sample }),
            Err(error) => corpus.skipped.push((sample.name, error.to_string())),
        }
    }
    corpus
}

async fn run_earlier_stages(
    sample: &Sample,
    kind: StageKind,
    pipeline: &Pipeline,
    chip: &str,
) -> Result<Feed, CorpusError> {
    let Feed::Body(body) = &sample.feed else { return Err(CorpusError::NotAFile) };
    if kind == StageKind::Preprocess {
        return Ok(Feed::Body(body.clone()));
    }
    let request = sample.request("leak".into());
    let mut log = RunLog::new(pipeline.deadline);
    let (inputs, context) = pipeline.preprocess.run(&mut log, &request, body).await?;
    if kind == StageKind::Infer {
        return Ok(Feed::Inputs(inputs));
    }
    let infer = pipeline.chip(chip).ok_or_else(|| CorpusError::UnknownChip(chip.to_owned()))?;
    let outputs = infer.run(&mut log, &request, inputs).await?;
    Ok(Feed::Outputs(outputs, context))
}
