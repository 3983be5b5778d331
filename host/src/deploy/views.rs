//! Plugins as the administration routes show them.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use plimsoll_runtime::component::Metadata;
use plimsoll_runtime::identity::Identity;
use plimsoll_runtime::kind::StageName;
use serde::Serialize;

use super::canary_progress::CanaryProgress;
use super::catalog::{CatalogEntry, RejectedVersion, VersionFigures};
use super::release::Release;
use super::serving::{Served, Serving};
use crate::records::memory::report::Row;

/// A plugin as `GET /v1/plugins/{name}` shows it.
#[derive(Debug, Serialize)]
pub struct PluginView {
    /// Its name.
    pub name: String,
    /// The version that serves, or would serve if a pipeline used the plugin.
    pub version: Option<Arc<str>>,
    /// SHA-256 of that version.
    pub digest: Option<Arc<str>>,
    /// Its metadata.
    #[serde(flatten)]
    pub metadata: Option<Metadata>,
    /// Where it came from: `bundled`, `http`, a path or an `oci://` reference.
    pub source: Option<String>,
    /// Its size in bytes.
    pub bytes: Option<usize>,
    /// The stages that run it.
    pub stages: Vec<StageView>,
    /// A note for the administrator, for example that the plugin's file is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The canary, by pipeline.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub canary: Vec<CanaryProgress>,
    /// All known versions, the newest first within each state.
    pub versions: Vec<VersionView>,
}

/// A stage that runs a plugin, with its limits.
#[derive(Debug, Clone, Serialize)]
pub struct StageView {
    /// The pipeline.
    pub pipeline: String,
    /// `preprocess`, `infer` or `postprocess`, or the name of a step.
    pub stage: StageName,
    /// The chip of an infer stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chip: Option<String>,
    /// The cap in bytes.
    pub max_memory: u64,
    /// The deadline in seconds.
    pub deadline_seconds: f64,
}

/// A version of a plugin.
#[derive(Debug, Serialize)]
pub struct VersionView {
    /// `compiling`, `canary`, `serving`, `unused` (it would serve, but no pipeline uses it), `previous` or `refused`.
    pub state: &'static str,
    /// The version, from the file's name or the component's metadata.
    pub version: Arc<str>,
    /// SHA-256 of the component.
    pub digest: Arc<str>,
    /// Where it came from.
    pub source: String,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was submitted or rejected, in seconds since 1970.
    pub at: f64,
    /// Its stage runs.
    #[serde(flatten)]
    pub figures: VersionFigures,
}

impl VersionFigures {
    /// Sums up the rows of the memory report that belong to a version.
    pub(super) fn of(version: &Identity, rows: &[Row]) -> Self {
        let mut figures = Self::default();
        for row in rows.iter().filter(|row| row.key.plugin == version.name && row.key.digest == version.digest) {
            figures.runs += row.figures.count;
            figures.high_water = figures.high_water.max(row.figures.max);
            if row.key.outcome.is_plugin_failure() {
                figures.failures += row.figures.count;
            }
        }
        figures
    }
}

impl CatalogEntry {
    /// Creates the view of this plugin. `rows` are the rows of the memory report, for all plugins.
    pub fn view(&self, name: &str, stages: Vec<StageView>, canary: Vec<CanaryProgress>, rows: &[Row]) -> PluginView {
        let mut versions = Vec::new();
        let mut add = |state, identity: &Identity, source: String, reason: Option<String>, at: SystemTime| {
            versions.push(VersionView {
                state,
                version: Arc::clone(&identity.version),
                digest: Arc::clone(&identity.digest),
                source,
                reason,
                at: at.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()),
                figures: VersionFigures::of(identity, rows),
            });
        };
        if let Some(identity) = &self.compiling {
            add("compiling", identity, String::new(), None, SystemTime::now());
        }
        let mut release = |state, release: &Release| {
            add(state, &release.artifact.identity, release.source.to_string(), None, release.at);
        };
        if let Some(candidate) = &self.candidate {
            release("canary", candidate);
        }
        if let Some(serving) = &self.serving {
            release(if stages.is_empty() { "unused" } else { "serving" }, serving);
        }
        self.previous.iter().for_each(|previous| release("previous", &previous.release));
        for rejected in &self.rejected {
            let RejectedVersion { identity, source, reason, at, .. } = rejected;
            add("refused", identity, source.clone(), Some(reason.clone()), *at);
        }
        // The series of a version that was rolled back are gone. Its last figures are kept.
        for (view, rejected) in versions.iter_mut().rev().zip(self.rejected.iter().rev()) {
            view.figures = rejected.figures;
        }
        let serving = self.serving.as_deref();
        PluginView {
            name: name.to_owned(),
            version: serving.map(|release| Arc::clone(&release.artifact.identity.version)),
            digest: serving.map(|release| Arc::clone(&release.artifact.identity.digest)),
            metadata: serving.map(|release| release.artifact.metadata.clone()),
            source: serving.map(|release| release.source.to_string()),
            bytes: serving.map(|release| release.artifact.size),
            stages,
            note: self
                .not_pulled
                .as_ref()
                .filter(|it| it.revision == self.revision)
                .map(|it| not_pulled(&it.reason))
                .or_else(|| self.note.clone()),
            canary,
            versions,
        }
    }
}

fn not_pulled(reason: &str) -> String {
    format!("the version before continues to serve, and the registry is asked again: {reason}")
}

impl Serving {
    /// The views of all known plugins.
    pub fn plugin_views(&self) -> Vec<PluginView> {
        let rows = self.records.memory.rows(None, Instant::now(), false);
        // A deployment changes both under this lock.
        let catalog = self.catalog();
        let served = self.served.load();
        let known = catalog.iter().filter(|(_, plugin)| plugin.is_known());
        known
            .map(|(name, plugin)| {
                let canaries = served.routes.values().filter_map(|route| route.canary.as_ref());
                let canaries = canaries.filter(|canary| **canary.plugin() == **name);
                let progress = canaries.map(|canary| {
                    let (rules, time) = canary.rules();
                    CanaryProgress::new(canary.comparison(), rules, time, canary.fleet_progress())
                });
                plugin.view(name, stage_views(&served, name), progress.collect(), &rows)
            })
            .collect()
    }
}

/// The stages of a plugin, with their limits.
fn stage_views(served: &Served, plugin: &str) -> Vec<StageView> {
    let mut views = Vec::new();
    for route in served.routes.values() {
        for (chip, stage) in route.stable.stages().filter(|(_, stage)| &*stage.plugin.name == plugin) {
            views.push(StageView {
                pipeline: route.stable.name.clone(),
                stage: stage.name.clone(),
                chip: chip.map(str::to_owned),
                max_memory: stage.limits.max_memory,
                deadline_seconds: stage.limits.deadline.as_secs_f64(),
            });
        }
    }
    views
}
