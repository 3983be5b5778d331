//! The inputs and outputs that the pipeline's model declares, so that [`Init::init`](crate::Init::init) can reject a
//! model that does not suit the plugin. Needs the feature `model`.
//!
//! The host provides them as the asset [`ASSET`] if the pipeline's infer stage runs the configured model unchanged. A step of
//! kind `transform` gets the inputs of the step after it, and the outputs of the step before it, if these run models.
//! Otherwise nothing is known before the first request.

use serde::Deserialize;

use crate::assets;

/// The name of the asset. It contains a slash, so it cannot be the name of a configured asset.
pub const ASSET: &str = "plimsoll/model.json";

/// An input or output of the model, as the model declares it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Declared {
    /// The name.
    pub name: String,
    /// The element type with the name that `wasi:nn` gives it, such as `fp32`; `None` if not declared.
    #[serde(rename = "type")]
    pub element_type: Option<String>,
    /// The sizes of the dimensions, `None` for a dynamic one; `None` as a whole if not declared.
    pub shape: Option<Vec<Option<u32>>>,
}

#[derive(Deserialize)]
struct Model {
    inputs: Option<Vec<Declared>>,
    outputs: Option<Vec<Declared>>,
}

/// The declared inputs, or `None` if the host does not provide them.
///
/// # Errors
/// If the asset has another format. The message contains the name of the asset.
pub fn inputs() -> Result<Option<Vec<Declared>>, String> {
    Ok(read()?.and_then(|model| model.inputs))
}

/// The declared outputs, or `None` if the host does not provide them.
///
/// # Errors
/// If the asset has another format. The message contains the name of the asset.
pub fn outputs() -> Result<Option<Vec<Declared>>, String> {
    Ok(read()?.and_then(|model| model.outputs))
}

fn read() -> Result<Option<Model>, String> {
    let Ok(json) = assets::read(ASSET) else { return Ok(None) };
    serde_json::from_slice(&json).map(Some).map_err(|error| format!("asset `{ASSET}`: {error}"))
}

/// The input or output with this name, or the only one if `name` is empty; like [`tensor::find`](crate::tensor::find).
pub fn find<'a>(declared: &'a [Declared], name: &str) -> Option<&'a Declared> {
    match declared {
        [only] if name.is_empty() => Some(only),
        _ => declared.iter().find(|other| other.name == name),
    }
}

/// The names as text for a message: `` `scores`, `boxes` ``.
pub fn names(declared: &[Declared]) -> String {
    let names: Vec<_> = declared.iter().map(|one| format!("`{}`", one.name)).collect();
    names.join(", ")
}

/// A shape as text for a message: `[1, any, 4]`. A dynamic size is `any`.
pub fn shape_text(shape: &[Option<u32>]) -> String {
    let sizes: Vec<_> = shape.iter().map(|size| size.map_or("any".to_owned(), |size| size.to_string())).collect();
    format!("[{}]", sizes.join(", "))
}
