//! The manifest of a model as an artifact: one layer for each file, with its name. `oras push` and the CNCF's
//! [model format](https://github.com/modelpack/model-spec) write such artifacts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::error::bounded;
use super::layout::{CONFIG, Layer};
use super::reference::is_sha256;

/// The annotations that name the file of a layer.
const NAMES: [&str; 2] = ["org.opencontainers.image.title", "org.cncf.model.filepath"];
/// The name of the only file if nothing names it.
const ONLY: &str = "model.onnx";
/// The most files of a model, and characters of a name.
const MAX_FILES: usize = 1_000;
const MAX_NAME: usize = 255;

/// Why an artifact is not a model.
#[derive(Debug, thiserror::Error)]
pub(super) enum ModelLayoutError {
    /// The manifest is not one.
    #[error("its manifest cannot be read: {0}")]
    Manifest(serde_json::Error),
    /// An index.
    #[error("it is an index of several artifacts; name one of them by its digest")]
    Index,
    /// A component.
    #[error("it is a plugin, and not a model")]
    Plugin,
    /// Too many layers, or none.
    #[error("it has {0} files, and may have 1 to {MAX_FILES}")]
    Files(usize),
    /// A file without a name, beside others.
    #[error("it has several files, and one of them has no name (`org.opencontainers.image.title`)")]
    NoName,
    /// A name that could lead out of the folder.
    #[error("the name of its file `{0}` is not a plain relative path")]
    Name(String),
    /// A name that is there twice.
    #[error("it has two files `{0}`")]
    Twice(String),
    /// The digest of a file.
    #[error("the digest of its file `{0}` is not a valid SHA-256")]
    Digest(String),
    /// No file is the model, or several.
    #[error("it has {0} files that end with `.onnx`, and exactly one of them must be the model")]
    Models(usize),
}

/// The files of a model.
#[derive(Debug)]
pub(super) struct ModelLayout {
    /// The files by their relative paths.
    pub(super) files: BTreeMap<String, Layer>,
    /// The path of the model itself; the others have its weights.
    pub(super) main: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Option<Config>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    manifests: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: String,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl ModelLayout {
    /// Reads a manifest.
    pub(super) fn read(manifest: &[u8]) -> Result<Self, ModelLayoutError> {
        let manifest: Manifest = serde_json::from_slice(manifest).map_err(ModelLayoutError::Manifest)?;
        if manifest.manifests.is_some() {
            return Err(ModelLayoutError::Index);
        }
        if manifest.config.is_some_and(|config| config.media_type == CONFIG) {
            return Err(ModelLayoutError::Plugin);
        }
        let count = manifest.layers.len();
        if !(1..=MAX_FILES).contains(&count) {
            return Err(ModelLayoutError::Files(count));
        }
        let mut files = BTreeMap::new();
        for Descriptor { digest, size, annotations } in manifest.layers {
            let given = NAMES.iter().find_map(|name| annotations.get(*name));
            let name = match given {
                Some(name) => name.clone(),
                None if count == 1 => ONLY.to_owned(),
                None => return Err(ModelLayoutError::NoName),
            };
            if !is_plain(&name) {
                return Err(ModelLayoutError::Name(bounded(&name)));
            }
            if !is_sha256(&digest) {
                return Err(ModelLayoutError::Digest(bounded(&name)));
            }
            if files.insert(name.clone(), Layer { digest, size }).is_some() {
                return Err(ModelLayoutError::Twice(bounded(&name)));
            }
        }
        let main = main(&files)?;
        Ok(Self { files, main })
    }
}

/// The only file, or the only one that looks like a model.
fn main(files: &BTreeMap<String, Layer>) -> Result<String, ModelLayoutError> {
    let names: Vec<_> = match files.len() {
        1 => files.keys().collect(),
        _ => files.keys().filter(|name| name.ends_with(".onnx")).collect(),
    };
    match names.as_slice() {
        [main] => Ok((*main).clone()),
        names => Err(ModelLayoutError::Models(names.len())),
    }
}

/// Returns true for a relative path that stays in its folder.
fn is_plain(name: &str) -> bool {
    let is_printable = !name.is_empty() && name.len() <= MAX_NAME && !name.contains(['\\', '\0']);
    let written: BTreeSet<_> = name.split('/').collect();
    is_printable
        && !written.contains("")
        && !written.contains(".")
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn layer(name: Option<&str>, annotation: &str) -> Value {
        let digest = format!("sha256:{}", "0".repeat(64));
        let annotations = name.map_or_else(|| json!({}), |name| json!({ annotation: name }));
        json!({ "mediaType": "application/octet-stream", "digest": digest, "size": 3, "annotations": annotations })
    }

    fn read(layers: &[Value]) -> Result<ModelLayout, ModelLayoutError> {
        ModelLayout::read(json!({ "layers": layers }).to_string().as_bytes())
    }

    #[test]
    fn the_files_of_a_model_are_found_by_their_names() {
        let titled = |name| layer(Some(name), NAMES[0]);
        assert_eq!(read(&[layer(None, "")]).expect("one file").main, ONLY);
        assert_eq!(read(&[titled("weights.bin")]).expect("one file").main, "weights.bin");
        let several = read(&[titled("a/net.onnx"), layer(Some("a/net.onnx.data"), NAMES[1]), titled("README.md")]);
        let several = several.expect("several files");
        assert_eq!((several.main.as_str(), several.files.len()), ("a/net.onnx", 3));
    }

    #[test]
    fn what_is_no_model_is_rejected_with_the_reason() {
        let titled = |name| layer(Some(name), NAMES[0]);
        for name in ["../m.onnx", "/m.onnx", "a/../m.onnx", "./m.onnx", "a//m.onnx", "a\\m.onnx", "", ".", "a/"] {
            let error = read(&[titled(name)]).expect_err(name).to_string();
            assert!(error.contains("not a plain relative path"), "{name}: {error}");
        }
        for (layers, part) in [
            (vec![], "0 files"),
            (vec![titled("a.onnx"), layer(None, "")], "no name"),
            (vec![titled("a.onnx"), titled("a.onnx")], "two files"),
            (vec![titled("a.onnx"), titled("b.onnx")], "2 files that end"),
            (vec![titled("a.bin"), titled("b.bin")], "0 files that end"),
            (vec![json!({ "digest": "md5:0", "size": 1 })], "not a valid SHA-256"),
        ] {
            let error = read(&layers).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
        let index = json!({ "manifests": [] }).to_string();
        assert!(matches!(ModelLayout::read(index.as_bytes()), Err(ModelLayoutError::Index)));
        let plugin = json!({ "config": { "mediaType": CONFIG }, "layers": [] }).to_string();
        assert!(matches!(ModelLayout::read(plugin.as_bytes()), Err(ModelLayoutError::Plugin)));
    }
}
