//! The assets in the folders that manifests name. They are read once for each release and configuration, so that a rollback
//! reads no files. They stay in memory only while a stage has them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use plimsoll_runtime::stage::Asset;

use super::manifest::ManifestError;
use super::release::Release;

/// The assets of releases.
#[derive(Clone, Default)]
pub(super) struct ManifestAssets(HashMap<Key, KnownAssets>);

/// The release whose assets they are.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    digest: Arc<str>,
    manifest: PathBuf,
    text: String,
}

#[derive(Clone)]
struct KnownAssets {
    /// True if they were read after the current configuration was loaded.
    is_checked: bool,
    assets: Vec<WeakAsset>,
}

#[derive(Clone)]
struct WeakAsset {
    name: String,
    digest: String,
    bytes: Weak<Vec<u8>>,
}

impl KnownAssets {
    /// `None` if no stage has one of them any more.
    fn upgrade(&self) -> Option<BTreeMap<String, Asset>> {
        let asset =
            |asset: &WeakAsset| Some((asset.name.clone(), Asset::with_digest(asset.bytes.upgrade()?, &asset.digest)));
        self.assets.iter().map(asset).collect()
    }
}

impl ManifestAssets {
    /// Makes the next build read them again.
    pub(super) fn invalidate(&mut self) {
        self.0.values_mut().for_each(|known| known.is_checked = false);
    }

    /// Forgets the assets that no stage has any more.
    pub(super) fn retain_used(&mut self) {
        let is_used = |asset: &WeakAsset| asset.bytes.strong_count() > 0;
        self.0.retain(|_, known| !known.assets.is_empty() && known.assets.iter().all(is_used));
    }

    /// The assets of a release, which are read if no stage has them.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn get(&mut self, release: &Release) -> Result<BTreeMap<String, Asset>, ManifestError> {
        let manifest = &release.manifest;
        if manifest.assets.is_none() {
            return Ok(BTreeMap::new());
        }
        let key = Key {
            digest: Arc::clone(&release.artifact.identity.digest),
            manifest: manifest.file().map(PathBuf::from).unwrap_or_default(),
            text: manifest.text.clone(),
        };
        let known = self.0.get(&key);
        let before = known.and_then(KnownAssets::upgrade);
        if let (Some(assets), true) = (&before, known.is_some_and(|known| known.is_checked)) {
            return Ok(assets.clone());
        }
        let before = before.unwrap_or_default();
        let mut assets = BTreeMap::new();
        for (name, bytes) in manifest.read_assets()? {
            let new = Asset::new(Arc::new(bytes));
            // Stages keep the bytes that they were built with. If those are equal, the new copy is dropped.
            let old = before.get(&name).filter(|old| old.digest() == new.digest());
            assets.insert(name, old.cloned().unwrap_or(new));
        }
        let weak = |(name, asset): (&String, &Asset)| WeakAsset {
            name: name.clone(),
            digest: asset.digest().to_owned(),
            bytes: Arc::downgrade(asset.shared()),
        };
        self.0.insert(key, KnownAssets { is_checked: true, assets: assets.iter().map(weak).collect() });
        Ok(assets)
    }
}
