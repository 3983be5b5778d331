//! Finds the backend that can run a model, and what the model returns for an image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytesize::ByteSize;
use plimsoll_runtime::nn::{BackendName, Description, Device, LoadedModel, ModelSource, external_files};
use plimsoll_runtime::scheduling::Scheduling;
use plimsoll_runtime::tensor::{Tensor, TensorType, Tensors};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::image_input::ImageInput;
use super::values::Values;
use crate::base::defaults::{MAX_MEMORY, REQUEST_DEADLINE};
use crate::base::files::is_outside;
use crate::cli::error::Error;

/// An output, as one run returned it.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Output {
    /// The name.
    pub(in crate::cli) name: String,
    /// The sizes of its dimensions.
    pub(in crate::cli) shape: Vec<u64>,
    /// The element type.
    pub(in crate::cli) ty: TensorType,
    /// The operator that computes it, if the file shows it.
    pub(in crate::cli) operator: Option<String>,
    /// What its numbers look like, once an image went through the pipeline.
    pub(in crate::cli) values: Values,
}

impl Output {
    /// True if its name says that its numbers are logits.
    pub(in crate::cli) fn is_named_logits(&self) -> bool {
        self.name.to_lowercase().contains("logit")
    }

    /// True if one of the words of its name is among these, also in the plural: `predicted_depth`, `faceLandmarks`.
    pub(in crate::cli) fn is_named(&self, wanted: &[&str]) -> bool {
        let mut words = String::new();
        for c in self.name.chars() {
            // A capital letter begins a word.
            if c.is_uppercase() && words.ends_with(char::is_lowercase) {
                words.push(' ');
            }
            words.extend(c.to_lowercase());
        }
        let is_wanted = |word: &str| {
            let singular = [word, word.strip_suffix('s').unwrap_or(word), word.strip_suffix("es").unwrap_or(word)];
            singular.iter().any(|word| wanted.contains(word))
        };
        words.split(|c: char| !c.is_alphabetic()).any(is_wanted)
    }
}

/// What one run showed.
#[derive(Debug)]
pub(in crate::cli) struct Probe {
    /// The backend that ran the model.
    pub(in crate::cli) backend: BackendName,
    /// Why other backends are not used, one sentence each.
    pub(in crate::cli) rejections: Vec<String>,
    /// The outputs, in order.
    pub(in crate::cli) outputs: Vec<Output>,
}

/// The outputs, if all their numbers look so.
pub(in crate::cli) fn with_values(outputs: &[Output], values: Values) -> Vec<Output> {
    outputs.iter().map(|output| Output { values, ..output.clone() }).collect()
}

/// A model file, and the files with its weights: the paths as the model names them, and their bytes.
pub(in crate::cli) struct ModelFiles {
    /// The path of the model.
    pub(in crate::cli) path: PathBuf,
    /// Its bytes.
    pub(in crate::cli) bytes: Arc<Vec<u8>>,
    /// The files next to it.
    pub(in crate::cli) external: Vec<(String, Arc<Vec<u8>>)>,
}

impl ModelFiles {
    /// Reads the model and the files with its weights.
    pub(in crate::cli) fn read(path: &Path) -> Result<Self, Error> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map(Arc::new)
                .map_err(|error| Error::Failed(format!("{} cannot be read: {error}", path.display())))
        };
        let bytes = read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let external = external_files(&bytes).map_err(Error::failed)?;
        let external = external.into_iter().map(|name| {
            let weights = folder.join(&name);
            // The server refuses such a model, too.
            if is_outside(folder, &weights) {
                return Err(Error::Failed(format!(
                    "{} stores weights in another file: {} is a link to a file outside of the model's folder; store the \
                     file itself there",
                    path.display(),
                    weights.display()
                )));
            }
            Ok((name, read(&weights)?))
        });
        Ok(Self { path: path.to_owned(), bytes, external: external.collect::<Result<_, Error>>()? })
    }

    /// The model's file name.
    pub(in crate::cli) fn file_name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

impl Probe {
    /// Runs the model once with an image of a few different numbers, on the first backend that can, within the limits of a server. Must be
    /// called inside of a runtime, on a thread that may block.
    pub(in crate::cli) fn run(files: &ModelFiles, model: &Description, input: &ImageInput) -> Result<Self, Error> {
        let mut rejections = Vec::new();
        for backend in BackendName::all() {
            match run_on(backend, files, input) {
                Ok(outputs) => {
                    let operator = |name: &str| {
                        model
                            .outputs
                            .iter()
                            .find(|output| output.name == name)
                            .and_then(|output| output.operator.clone())
                    };
                    let outputs = outputs.into_iter().map(|(name, tensor)| Output {
                        operator: operator(&name),
                        values: Values::Unknown,
                        name,
                        shape: tensor.dimensions.into_iter().map(u64::from).collect(),
                        ty: tensor.ty,
                    });
                    return Ok(Self { backend, rejections, outputs: outputs.collect() });
                }
                Err(why) => rejections.push(format!("`{}`: {why}", backend.as_str())),
            }
        }
        Err(Error::Failed(format!("no backend can run {}:\n  {}", files.path.display(), rejections.join("\n  "))))
    }
}

fn run_on(backend: BackendName, files: &ModelFiles, input: &ImageInput) -> Result<Tensors, Box<dyn std::error::Error>> {
    let source = ModelSource {
        name: "model".to_owned(),
        path: files.path.clone(),
        bytes: Arc::clone(&files.bytes),
        external: files.external.clone(),
        device: Device::default(),
        options: BTreeMap::new(),
    };
    let opened = backend.open(&Value::Null, Path::new("."))?;
    let model = opened.load(&source)?;
    let one = Arc::new(Semaphore::new(1));
    let model =
        LoadedModel::new("model".to_owned(), String::new(), &files.bytes, model, one, None, Scheduling::default())?;
    let model = Arc::new(model);
    let shape = input.shape().ok_or("its input is too large")?;
    let bytes =
        shape.iter().try_fold(input.ty.size().unwrap_or(1) as u64, |bytes, &size| bytes.checked_mul(u64::from(size)));
    let bytes = bytes.filter(|bytes| *bytes <= MAX_MEMORY).ok_or_else(|| {
        format!("its input has more bytes than a stage may have by default ({})", ByteSize(MAX_MEMORY).display().iec())
    })?;
    let image = Tensor::new(shape, input.ty, image(input.ty, usize::try_from(bytes)?));
    let run = model.run(vec![(input.name.clone(), image)]);
    let run = async { tokio::time::timeout(REQUEST_DEADLINE, run).await };
    let outputs = Handle::current().block_on(run);
    let seconds = REQUEST_DEADLINE.as_secs();
    let outputs =
        outputs.map_err(|_| format!("a run takes longer than {seconds} s, the default deadline of a request"))?;
    Ok(outputs.map_err(|error| error.message)?)
}

/// The bytes of an image whose numbers are from 0 to 1, or bytes from 0 to 255. For zeros, a model may return
/// nothing, and so no shape.
fn image(ty: TensorType, bytes: usize) -> Vec<u8> {
    let numbers: [&[u8]; 5] = match ty {
        TensorType::U8 => [&[0], &[64], &[128], &[191], &[255]],
        // 0, 0.25, 0.5, 0.75 and 1.
        TensorType::Fp16 => [&[0, 0], &[0, 0x34], &[0, 0x38], &[0, 0x3A], &[0, 0x3C]],
        TensorType::Bf16 => [&[0, 0], &[0x80, 0x3E], &[0, 0x3F], &[0x40, 0x3F], &[0x80, 0x3F]],
        _ => [&[0; 4], &[0, 0, 0x80, 0x3E], &[0, 0, 0, 0x3F], &[0, 0, 0x40, 0x3F], &[0, 0, 0x80, 0x3F]],
    };
    let places = (0..bytes / numbers[0].len()).map(|at| (at * 3 + at / 7 + at / 64) % 5);
    places.flat_map(|place| numbers[place].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_has_five_numbers_in_each_type() {
        for ty in [TensorType::Fp16, TensorType::Bf16, TensorType::Fp32] {
            let image = Tensor::new(vec![100], ty, image(ty, 100 * ty.size().expect("a fixed size")));
            let mut numbers: Vec<_> = image.elements().map(|element| element.as_f64()).collect();
            numbers.sort_by(f64::total_cmp);
            numbers.dedup();
            assert_eq!(numbers, [0.0, 0.25, 0.5, 0.75, 1.0], "{ty:?}");
        }
    }
}
