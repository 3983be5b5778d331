//! Files that the binary contains: the shipped plugins, which the build script builds from `plugins/`, and the demo's
//! files.

macro_rules! component {
    ($file:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $file))
    };
}

const PLUGINS: [(&str, &[u8]); 13] = [
    ("classify-postprocess", component!("classify_postprocess.wasm")),
    ("crop-transform", component!("crop_transform.wasm")),
    ("detect-postprocess", component!("detect_postprocess.wasm")),
    ("embed-postprocess", component!("embed_postprocess.wasm")),
    ("image-postprocess", component!("image_postprocess.wasm")),
    ("image-preprocess", component!("image_preprocess.wasm")),
    ("infer-native", component!("infer_native.wasm")),
    ("infer-wasm", component!("infer_wasm.wasm")),
    ("pose-postprocess", component!("pose_postprocess.wasm")),
    ("route-transform", component!("route_transform.wasm")),
    ("segment-postprocess", component!("segment_postprocess.wasm")),
    ("tensors-postprocess", component!("tensors_postprocess.wasm")),
    ("text-postprocess", component!("text_postprocess.wasm")),
];

const FILES: [(&str, &[u8]); 2] = [
    ("digits.onnx", include_bytes!("../../demo/digits.onnx")),
    ("digits-labels.txt", include_bytes!("../../demo/digits-labels.txt")),
];

/// The component of a shipped plugin; `None` if there is no shipped plugin with this name.
pub fn plugin(name: &str) -> Option<&'static [u8]> {
    PLUGINS.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
}

/// The names of the shipped plugins.
pub fn names() -> impl Iterator<Item = &'static str> {
    PLUGINS.iter().map(|(name, _)| *name)
}

/// The version of the shipped plugins.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The content of a file that a configuration refers to as `bundled:NAME`; `None` if there is no such file.
pub fn file(name: &str) -> Option<&'static [u8]> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
}
