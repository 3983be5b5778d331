//! Postprocess stage for embedding models: returns the vector of one image.
//!
//! Configuration:
//! - `output`: the name of the tensor with the vector. Optional if the model has one output.
//! - `pooling`: how one vector is made of several tokens, for outputs of shape `[1, T, D]`: `first` takes the first token
//!   (CLS), `mean` the mean of all tokens. `none` (default) expects one vector: `[D]`, `[1, D]`, `[1, D, 1, 1]` or
//!   `[1, 1, D]`.
//! - `norm`: `l2` (default) divides the vector by its Euclidean length, so that a dot product of two vectors is their
//!   cosine similarity; `none` leaves it.
//! - `format`: `json` (default), `base64` or `npy`.
//! - `items`: `true` in a step that gathers items (`gather = true`), with the formats `json` and `base64`: the reply is
//!   `{"width":W,"height":H,"items":[…]}`, and an item has `dimensions` and `embedding`, as `predictions` of
//!   `classify-postprocess`, which describes the other members (default `false`).
//!
//! | format | reply | media type |
//! | --- | --- | --- |
//! | `json` | `{"dimensions":2,"embedding":[0.6,0.8]}` | `application/json` |
//! | `base64` | the same with the elements as base64 of little-endian f32, as OpenAI's `encoding_format` | `application/json` |
//! | `npy` | an array of numpy, f32, of shape `[D]` | `application/octet-stream` |
//!
//! `l2` is `torch.nn.functional.normalize` without its least length of 1e-12: a shorter vector gets the length 1, too.
//!
//! The output must be f32, f16, bf16 or f64; it is computed in f64. An element that is NaN or infinite in f32 is an error
//! (500), and so is a vector of zeros that is to be normalised, because it has no direction. If the model declares its
//! outputs, type and shape are checked at deployment.

mod vector;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use plimsoll_sdk::{
    Configured, Failure, Init, NamedTensor, Postprocess, Reply, Request, config, export_postprocess, model,
};
use postprocess_core::{items, npy, outputs};
use serde::Serialize;

use vector::Pooling;

struct Embed;

export_postprocess!(Embed with init);

/// The configuration, read once by `init` and used by every request.
struct Settings {
    output: String,
    pooling: Pooling,
    /// True if the vector is divided by its length.
    normalise: bool,
    format: Format,
    /// True if the step gathers items.
    items: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Json,
    Base64,
    Npy,
}

static SETTINGS: Configured<Settings> = Configured::new();

#[derive(Serialize)]
struct Answer {
    dimensions: usize,
    embedding: Embedding,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Embedding {
    Numbers(Vec<f32>),
    Base64(String),
}

impl Init for Embed {
    fn init() -> Result<(), String> {
        config::only(&["output", "pooling", "norm", "format", "items"])?;
        let poolings = [("none", Pooling::None), ("first", Pooling::First), ("mean", Pooling::Mean)];
        let formats = [("json", Format::Json), ("base64", Format::Base64), ("npy", Format::Npy)];
        let settings = Settings {
            output: config::get("output").unwrap_or_default(),
            pooling: config::choice("pooling", &poolings)?,
            normalise: config::choice("norm", &[("l2", true), ("none", false)])?,
            format: config::choice("format", &formats)?,
            items: config::parse("items", false)?,
        };
        if settings.items && settings.format == Format::Npy {
            return Err(
                "configuration key `format`: `npy` has one vector; use `json` or `base64` with `items = true`".into()
            );
        }
        if let Some(declared) = model::outputs()? {
            let output = outputs::declared(&declared, "output", &settings.output, outputs::FLOATS)?;
            if let Some(shape) = &output.shape {
                vector::tokens(&output.name, shape, settings.pooling)?;
            }
        }
        SETTINGS.set(settings)
    }
}

impl Postprocess for Embed {
    fn run(_request: Request, outputs: Vec<NamedTensor>, context: Vec<u8>) -> Result<Reply, Failure> {
        let settings = SETTINGS.get()?;
        if settings.items {
            return items::reply(outputs, &context, |outputs| Ok(answer(settings.format, vector(settings, outputs)?)));
        }
        reply(settings.format, vector(settings, &outputs).map_err(Failure::Internal)?)
    }
}

/// The vector of one image.
fn vector(settings: &Settings, tensors: &[NamedTensor]) -> Result<Vec<f32>, String> {
    let (name, tensor) = outputs::find(tensors, &settings.output)?;
    let tokens = vector::tokens(name, &outputs::shape(tensor), settings.pooling)?;
    let mut vector = vector::pool(&outputs::wide_numbers(name, tensor)?, tokens.unwrap_or(1), settings.pooling);
    if settings.normalise {
        vector::normalise(name, &mut vector)?;
    }
    Ok(vector.into_iter().map(|number| number as f32).collect())
}

fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn answer(format: Format, vector: Vec<f32>) -> Answer {
    let dimensions = vector.len();
    let embedding = match format {
        Format::Base64 => Embedding::Base64(BASE64_STANDARD.encode(bytes(&vector))),
        Format::Json | Format::Npy => Embedding::Numbers(vector),
    };
    Answer { dimensions, embedding }
}

fn reply(format: Format, vector: Vec<f32>) -> Result<Reply, Failure> {
    if format == Format::Npy {
        let body = npy::file("<f4", &[vector.len() as u32], &bytes(&vector));
        return Ok(Reply { content_type: "application/octet-stream".into(), body });
    }
    let body = serde_json::to_vec(&answer(format, vector))
        .map_err(|error| Failure::Internal(format!("the reply cannot be written: {error}")))?;
    Ok(Reply { content_type: "application/json".into(), body })
}
