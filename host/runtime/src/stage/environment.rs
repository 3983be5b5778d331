//! The environment of a stage: the settings, assets and model that the host gives its plugin.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime_wasi_config::WasiConfigVariables;

use crate::identity::digest;
use crate::nn::LoadedModel;

/// Settings, assets and model of a stage.
#[derive(Clone, Default)]
pub struct StageEnvironment {
    /// The plugin's name, for log events.
    pub plugin: Arc<str>,
    settings: BTreeMap<String, String>,
    pub(crate) config: Arc<WasiConfigVariables>,
    pub(crate) assets: Arc<BTreeMap<String, Asset>>,
    pub(crate) model: Option<(String, Arc<LoadedModel>)>,
}

/// A file that a plugin may read.
#[derive(Debug, Clone)]
pub struct Asset {
    pub(crate) bytes: Arc<Vec<u8>>,
    digest: String,
}

impl Asset {
    /// A file with these bytes.
    pub fn new(bytes: Arc<Vec<u8>>) -> Self {
        Self { digest: digest(&bytes), bytes }
    }

    /// A file with these bytes, whose SHA-256 is already known.
    pub fn with_digest(bytes: Arc<Vec<u8>>, digest: &str) -> Self {
        Self { bytes, digest: digest.to_owned() }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, to share them.
    pub fn shared(&self) -> &Arc<Vec<u8>> {
        &self.bytes
    }

    /// Their SHA-256, hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl StageEnvironment {
    /// `settings` are what `wasi:config/store` returns, `assets` are files by name, and `model` is the model that the stage
    /// may load, with its name.
    pub fn new(
        plugin: Arc<str>,
        settings: BTreeMap<String, String>,
        assets: BTreeMap<String, Asset>,
        model: Option<(String, Arc<LoadedModel>)>,
    ) -> Self {
        let config = Arc::new(settings.clone().into_iter().collect());
        Self { plugin, settings, config, assets: Arc::new(assets), model }
    }

    /// Returns true if a stage that was built with `other` can be used for `self`: equal settings and assets, and the same
    /// loaded model.
    pub fn matches(&self, other: &Self) -> bool {
        let models = match (&self.model, &other.model) {
            (None, None) => true,
            (Some((name, model)), Some((other_name, other))) => name == other_name && Arc::ptr_eq(model, other),
            _ => false,
        };
        models
            && self.plugin == other.plugin
            && self.settings == other.settings
            && self.asset_digests().eq(other.asset_digests())
    }

    /// The settings by key.
    pub fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }

    /// The SHA-256 of each asset by name, hexadecimal.
    pub fn asset_digests(&self) -> impl Iterator<Item = (&str, &str)> {
        self.assets.iter().map(|(name, asset)| (name.as_str(), asset.digest.as_str()))
    }

    /// Name and SHA-256 of the model.
    pub fn model_digest(&self) -> Option<(&str, &str)> {
        self.model.as_ref().map(|(name, model)| (name.as_str(), model.digest()))
    }

    /// All of it as text: settings with their values, assets and model with their digests.
    pub fn fingerprint(&self) -> String {
        let assets: Vec<_> = self.asset_digests().collect();
        format!("{:?} {assets:?} {:?}", self.settings, self.model_digest())
    }

    /// The model that the stage may load.
    pub fn model(&self) -> Option<&LoadedModel> {
        self.model.as_ref().map(|(_, model)| &**model)
    }
}
