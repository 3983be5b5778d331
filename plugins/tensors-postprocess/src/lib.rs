//! Postprocess stage for any model: returns its outputs as they are.
//!
//! Configuration:
//! - `format`: `json` (default), `npz` or `safetensors`.
//! - `outputs`: the names of the outputs to return (default: all, in the order of the model).
//!
//! | format | reply | media type |
//! | --- | --- | --- |
//! | `json` | `{"outputs":[{"name":"scores","datatype":"FP32","shape":[1,2],"data":[0.5,-3.25]}]}`, the members of the Open Inference Protocol; `data` is flat and row-major. Every number has the digits that give the same element when they are read as its type | `application/json` |
//! | `npz` | an archive of numpy with one array `NAME.npy` for each output, not compressed (`numpy.load`). numpy has no bf16, so these elements become f32, which is exact | `application/zip` |
//! | `safetensors` | the format of Hugging Face (`safetensors.numpy.load`); its elements are copied | `application/octet-stream` |
//!
//! All element types of `wasi:nn` are supported: FP16, BF16, FP32, FP64, U8, I32, I64. JSON has no NaN and no infinity: an
//! output with such an element is an error in this format (500). The other formats return it. If the model declares its
//! outputs, the configured names are checked at deployment.

mod json;

use half::bf16;
use plimsoll_sdk::{
    Configured, Failure, Init, NamedTensor, Postprocess, Reply, Request, TensorType, config, export_postprocess, model,
};
use postprocess_core::npy;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;

struct Tensors;

export_postprocess!(Tensors with init);

/// The configuration, read once by `init` and used by every request.
struct Settings {
    format: Format,
    /// The names of the outputs to return; all if `None`.
    outputs: Option<Vec<String>>,
}

#[derive(Clone, Copy)]
enum Format {
    Json,
    Npz,
    Safetensors,
}

static SETTINGS: Configured<Settings> = Configured::new();

/// An output with its elements.
struct Output<'a> {
    name: &'a str,
    element_type: TensorType,
    shape: Vec<u32>,
    /// The elements, row-major and little-endian.
    data: Vec<u8>,
}

impl Init for Tensors {
    fn init() -> Result<(), String> {
        config::only(&["format", "outputs"])?;
        let formats = [("json", Format::Json), ("npz", Format::Npz), ("safetensors", Format::Safetensors)];
        let settings = Settings { format: config::choice("format", &formats)?, outputs: config::list("outputs")? };
        let names = settings.outputs.as_deref().unwrap_or_default();
        if let Some((index, name)) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
            return Err(format!("configuration key `outputs`: item {index} repeats {name:?}"));
        }
        if let Some(declared) = model::outputs()? {
            for name in names {
                if !declared.iter().any(|output| output.name == *name) {
                    return Err(format!(
                        "configuration key `outputs`: the model has no output `{name}`; its outputs are: {}",
                        model::names(&declared)
                    ));
                }
            }
        }
        SETTINGS.set(settings)
    }
}

impl Postprocess for Tensors {
    fn run(_request: Request, outputs: Vec<NamedTensor>, _context: Vec<u8>) -> Result<Reply, Failure> {
        let settings = SETTINGS.get()?;
        reply(settings, outputs).map_err(Failure::Internal)
    }
}

fn reply(settings: &Settings, tensors: Vec<NamedTensor>) -> Result<Reply, String> {
    let selected: Vec<_> = match &settings.outputs {
        None => tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect(),
        Some(names) => {
            let find = |name| plimsoll_sdk::tensor::find(&tensors, name);
            names.iter().map(|name| Ok((name.as_str(), find(name)?))).collect::<Result<_, String>>()?
        }
    };
    let outputs = selected.into_iter().map(|(name, tensor)| Output {
        name,
        element_type: tensor.ty(),
        shape: tensor.dimensions(),
        data: tensor.data(),
    });
    let (content_type, body) = match settings.format {
        Format::Json => ("application/json", json::text(outputs)?),
        Format::Npz => ("application/zip", npz(outputs)?),
        Format::Safetensors => ("application/octet-stream", safetensors(outputs.collect())?),
    };
    Ok(Reply { content_type: content_type.into(), body })
}

/// An archive of numpy.
fn npz<'a>(outputs: impl Iterator<Item = Output<'a>>) -> Result<Vec<u8>, String> {
    let failed = |error: zip::result::ZipError| format!("the archive cannot be written: {error}");
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    // The time of numpy's own archives: the earliest that the format has, so that equal outputs give equal bytes.
    let options = SimpleFileOptions::default().last_modified_time(zip::DateTime::default());
    for output in outputs {
        archive.start_file(format!("{}.npy", output.name), options).map_err(failed)?;
        let (element, data) = match output.element_type {
            TensorType::Bf16 => {
                let exact = |bytes: &[u8; 2]| bf16::from_le_bytes(*bytes).to_f32().to_le_bytes();
                ("<f4", output.data.as_chunks().0.iter().flat_map(exact).collect())
            }
            TensorType::Fp16 => ("<f2", output.data),
            TensorType::Fp32 => ("<f4", output.data),
            TensorType::Fp64 => ("<f8", output.data),
            TensorType::U8 => ("|u1", output.data),
            TensorType::I32 => ("<i4", output.data),
            TensorType::I64 => ("<i8", output.data),
        };
        archive.write_all(&npy::file(element, &output.shape, &data)).map_err(|error| failed(error.into()))?;
    }
    Ok(archive.finish().map_err(failed)?.into_inner())
}

/// A file of safetensors.
fn safetensors(outputs: Vec<Output>) -> Result<Vec<u8>, String> {
    let failed = |error: safetensors::SafeTensorError| format!("the file of safetensors cannot be written: {error}");
    let mut views = Vec::with_capacity(outputs.len());
    for output in &outputs {
        let element = match output.element_type {
            TensorType::Fp16 => Dtype::F16,
            TensorType::Fp32 => Dtype::F32,
            TensorType::Fp64 => Dtype::F64,
            TensorType::Bf16 => Dtype::BF16,
            TensorType::U8 => Dtype::U8,
            TensorType::I32 => Dtype::I32,
            TensorType::I64 => Dtype::I64,
        };
        let shape = output.shape.iter().map(|size| *size as usize).collect();
        views.push((output.name, TensorView::new(element, shape, &output.data).map_err(failed)?));
    }
    safetensors::serialize(views, None).map_err(failed)
}
