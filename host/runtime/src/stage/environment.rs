//! The environment of a stage: the settings, assets and model that the host gives its plugin.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime_wasi_config::WasiConfigVariables;

use crate::identity::digest;
use crate::nn::LoadedModel;

/// Settings, assets and model of a stage. A clone shares them.
#[derive(Clone, Default)]
pub struct StageEnvironment(Arc<Parts>);

/// Each run counts a reference, so nothing else is in the same line of the cache.
#[derive(Clone, Default)]
#[repr(align(128))]
struct Parts {
    plugin: Arc<str>,
    settings: BTreeMap<String, String>,
    config: Arc<WasiConfigVariables>,
    assets: Arc<BTreeMap<String, Asset>>,
    model: Option<(String, Arc<LoadedModel>)>,
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
        Self(Arc::new(Parts { plugin, settings, config, assets: Arc::new(assets), model }))
    }

    /// The same for the runs of one core. Its references are counted on their own.
    #[must_use]
    pub(super) fn for_core(&self) -> Self {
        Self(Arc::new(Parts::clone(&self.0)))
    }

    /// The plugin's name, for log events.
    pub fn plugin(&self) -> &str {
        &self.0.plugin
    }

    /// What `wasi:config/store` returns.
    pub(super) fn config(&self) -> &WasiConfigVariables {
        &self.0.config
    }

    /// A file by its name.
    pub(super) fn asset(&self, name: &str) -> Option<&Asset> {
        self.0.assets.get(name)
    }

    /// The model that the stage may load, with its name.
    pub(super) fn named_model(&self) -> Option<&(String, Arc<LoadedModel>)> {
        self.0.model.as_ref()
    }

    /// Returns true if a stage that was built with `other` can be used for `self`: equal settings and assets, and the same
    /// loaded model.
    pub fn matches(&self, other: &Self) -> bool {
        let models = match (&self.0.model, &other.0.model) {
            (None, None) => true,
            (Some((name, model)), Some((other_name, other))) => name == other_name && Arc::ptr_eq(model, other),
            _ => false,
        };
        models
            && self.0.plugin == other.0.plugin
            && self.0.settings == other.0.settings
            && self.asset_digests().eq(other.asset_digests())
    }

    /// The settings by key.
    pub fn settings(&self) -> &BTreeMap<String, String> {
        &self.0.settings
    }

    /// The SHA-256 of each asset by name, hexadecimal.
    pub fn asset_digests(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.assets.iter().map(|(name, asset)| (name.as_str(), asset.digest.as_str()))
    }

    /// Name and SHA-256 of the model.
    pub fn model_digest(&self) -> Option<(&str, &str)> {
        self.0.model.as_ref().map(|(name, model)| (name.as_str(), model.digest()))
    }

    /// All of it as text: settings with their values, assets and model with their digests.
    pub fn fingerprint(&self) -> String {
        let assets: Vec<_> = self.asset_digests().collect();
        format!("{:?} {assets:?} {:?}", self.0.settings, self.model_digest())
    }

    /// The model that the stage may load.
    pub fn model(&self) -> Option<&LoadedModel> {
        self.0.model.as_ref().map(|(_, model)| &**model)
    }
}
