//! The manifest and config of a WebAssembly component as an artifact:
//! [Wasm OCI Artifact layout](https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/).

use std::collections::BTreeMap;

use plimsoll_runtime::component::exports::Interface;
use plimsoll_runtime::component::nesting;
use plimsoll_runtime::identity::digest;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use wasmparser::Parser;

use super::error::bounded;
use super::reference::is_sha256;

/// The media type of an artifact's manifest.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The media type of the config. It marks an artifact as WebAssembly.
pub(super) const CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// The media type of the component itself.
const LAYER: &str = "application/wasm";

/// The creation time in the config. It is constant, so that pushing the same component twice creates the same manifest
/// and the same digest.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// Why an artifact, or the bytes to push, are not a component.
#[derive(Debug, thiserror::Error)]
pub(super) enum LayoutError {
    #[error("its manifest cannot be read: {0}")]
    Manifest(serde_json::Error),
    #[error("it is an index of several artifacts; name one of them by its digest")]
    Index,
    #[error("its config is `{0}`, expected `{CONFIG}`")]
    ConfigType(String),
    #[error("it has {0} layers, expected exactly one")]
    Layers(usize),
    #[error("its layer is `{0}`, expected `{LAYER}`")]
    LayerType(String),
    #[error("the digest of its layer is not a valid SHA-256; push it again with `plimsoll push`")]
    LayerDigest,
    #[error("it cannot be read: {0}")]
    Component(wasmparser::BinaryReaderError),
    #[error("it does not start with a WebAssembly header")]
    NotWasm,
}

/// A file in a manifest.
#[derive(Debug)]
pub(super) struct Layer {
    /// `sha256:` and 64 hexadecimal digits.
    pub(super) digest: String,
    /// Its size in bytes, as the manifest declares it.
    pub(super) size: u64,
}

#[derive(Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    manifests: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

/// Finds the component in a manifest.
///
/// # Errors
/// If the manifest does not describe a single component.
pub(super) fn layer(manifest: &[u8]) -> Result<Layer, LayoutError> {
    let manifest: Manifest = serde_json::from_slice(manifest).map_err(LayoutError::Manifest)?;
    if manifest.manifests.is_some() {
        return Err(LayoutError::Index);
    }
    let config = manifest.config.map(|config| config.media_type).unwrap_or_default();
    if config != CONFIG {
        return Err(LayoutError::ConfigType(bounded(&config)));
    }
    // The layout specification says that a consumer should reject several layers.
    let [layer] = manifest.layers.as_slice() else {
        return Err(LayoutError::Layers(manifest.layers.len()));
    };
    if layer.media_type != LAYER {
        return Err(LayoutError::LayerType(bounded(&layer.media_type)));
    }
    if !is_sha256(&layer.digest) {
        return Err(LayoutError::LayerDigest);
    }
    Ok(Layer { digest: layer.digest.clone(), size: layer.size })
}

/// Creates the config of a component, or of a core module that can be made into a component.
///
/// # Errors
/// If the bytes are not WebAssembly.
pub(super) fn config(bytes: &[u8]) -> Result<Vec<u8>, LayoutError> {
    let mut config = json!({
        "created": CREATED,
        "architecture": "wasm",
        "layerDigests": [format!("sha256:{}", digest(bytes))],
    });
    if Parser::is_component(bytes) {
        let Interface { imports, exports } = Interface::read(bytes).map_err(LayoutError::Component)?;
        config["os"] = "wasip2".into();
        config["component"] = json!({ "imports": imports, "exports": exports });
    } else if Parser::is_core_wasm(bytes) {
        config["os"] = "wasip1".into();
    } else {
        return Err(LayoutError::NotWasm);
    }
    Ok(config.to_string().into_bytes())
}

/// Creates the manifest of a component and its config.
pub(super) fn manifest(config: &[u8], component: &[u8], annotations: &BTreeMap<String, String>) -> Vec<u8> {
    let descriptor = |media_type: &str, bytes: &[u8]| json!({ "mediaType": media_type, "digest": format!("sha256:{}", digest(bytes)), "size": bytes.len() });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": [descriptor(LAYER, component)],
        "annotations": annotations,
    });
    manifest.to_string().into_bytes()
}

/// Converts a component's metadata to
/// [annotations](https://github.com/opencontainers/image-spec/blob/main/annotations.md). `name` is the title if the
/// metadata has none.
pub(super) fn annotations(name: &str, bytes: &[u8]) -> BTreeMap<String, String> {
    let is_flat = nesting::check(bytes).is_ok();
    let payload = if is_flat { wasm_metadata::Payload::from_binary(bytes).ok() } else { None };
    let metadata = payload.as_ref().map(wasm_metadata::Payload::metadata);
    let mut annotations = BTreeMap::new();
    let mut add = |key: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            annotations.insert(format!("org.opencontainers.image.{key}"), value);
        }
    };
    add("title", Some(name.to_owned()));
    if let Some(metadata) = metadata {
        add("title", metadata.name.clone());
        add("version", metadata.version.as_ref().map(ToString::to_string));
        add("description", metadata.description.as_ref().map(ToString::to_string));
        add("licenses", metadata.licenses.as_ref().map(ToString::to_string));
        add("source", metadata.source.as_ref().map(ToString::to_string));
        add("authors", metadata.authors.as_ref().map(ToString::to_string));
        add("url", metadata.homepage.as_ref().map(ToString::to_string));
        add("revision", metadata.revision.as_ref().map(ToString::to_string));
    }
    annotations
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty component and an empty core module.
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    fn read(bytes: &[u8]) -> serde_json::Value {
        serde_json::from_slice(bytes).expect("JSON")
    }

    #[test]
    fn a_created_manifest_can_be_read() {
        let config = config(COMPONENT).expect("a component");
        let manifest = manifest(&config, COMPONENT, &annotations("empty", COMPONENT));
        let found = layer(&manifest).expect("a layer");
        assert_eq!((found.size, found.digest), (8, format!("sha256:{}", digest(COMPONENT))));
        assert_eq!(read(&manifest)["annotations"]["org.opencontainers.image.title"], "empty");
        assert_eq!(read(&manifest)["config"]["size"], config.len());
    }

    #[test]
    fn metadata_is_converted_to_annotations() {
        use wasm_metadata::AddMetadataField::Set;
        let mut metadata = wasm_metadata::AddMetadata::default();
        metadata.name = Set("Resize".into());
        metadata.version = Set("1.2.3".parse().expect("a version"));
        metadata.description = Set("Makes images smaller.".parse().expect("a description"));
        metadata.licenses = Set("Apache-2.0 OR MIT".parse().expect("licences"));
        metadata.source = Set("https://example.org/resize".parse().expect("a URL"));
        let found = annotations("resize", &metadata.to_wasm(COMPONENT).expect("added"));
        let expected = [
            ("description", "Makes images smaller."),
            ("licenses", "Apache-2.0 OR MIT"),
            ("source", "https://example.org/resize"),
            ("title", "Resize"),
            ("version", "1.2.3"),
        ];
        let expected = expected.map(|(key, value)| (format!("org.opencontainers.image.{key}"), value.to_owned()));
        assert_eq!(found, expected.into());
    }

    #[test]
    fn components_modules_and_other_bytes_are_distinguished() {
        let component = read(&config(COMPONENT).expect("a component"));
        assert_eq!((&component["os"], &component["component"]["imports"]), (&json!("wasip2"), &json!([])));
        let module = read(&config(MODULE).expect("a module"));
        assert_eq!((&module["os"], &module["component"]), (&json!("wasip1"), &json!(null)));
        assert!(config(b"text").is_err() && config(&COMPONENT[..5]).is_err());
    }

    #[test]
    fn unsupported_manifests_are_rejected_with_the_reason() {
        let digest = format!("sha256:{}", digest(COMPONENT));
        let wasm = json!({ "mediaType": LAYER, "digest": digest, "size": 8 });
        let of = |config: &str, layers: serde_json::Value| {
            json!({ "config": { "mediaType": config, "digest": digest, "size": 2 }, "layers": layers }).to_string()
        };
        let other = json!({ "mediaType": "text/plain", "digest": digest, "size": 8 });
        let md5 = json!({ "mediaType": LAYER, "digest": "md5:../..", "size": 8 });
        let negative = json!({ "mediaType": LAYER, "digest": digest, "size": -1 });
        for (manifest, part) in [
            ("<html>".to_owned(), "cannot be read"),
            (json!({ "manifests": [] }).to_string(), "an index"),
            (json!({}).to_string(), "its config is ``"),
            (of("application/vnd.oci.image.config.v1+json", json!([wasm])), "its config is `application/vnd.oci"),
            (of(CONFIG, json!([])), "0 layers"),
            (of(CONFIG, json!([wasm, wasm])), "2 layers"),
            (of(CONFIG, json!([other])), "its layer is `text/plain`"),
            (of(CONFIG, json!([md5])), "not a valid SHA-256"),
            (of(CONFIG, json!([negative])), "cannot be read"),
        ] {
            let error = layer(manifest.as_bytes()).expect_err(&manifest).to_string();
            assert!(error.contains(part), "{manifest}: {error}");
        }
    }
}
