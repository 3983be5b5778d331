//! Forgets what no longer exists: files that were removed, plugins that have no version left, and the series of their
//! versions. Without this, memory, metrics and journal would grow with every deployment.

use std::collections::BTreeSet;
use std::path::{Path, absolute};
use std::sync::Arc;

use plimsoll_runtime::kind::StageName;

use super::catalog::{Catalog, CatalogEntry};
use super::deployer::Deployer;
use super::folder_look::Look;
use super::journal_state::HandledFile;
use super::needed::{declared, users};
use super::release::{Release, ReleaseSource};
use super::served_pipeline::ServedPipeline;
use super::serving::{Route, Serving};
use crate::config::Config;
use crate::records::memory::series::StageSeries;

/// Maximum number of plugins that were rejected over HTTP and have no other version. The latest stay.
const MAX_REJECTED_PLUGINS: usize = 20;

impl Deployer {
    /// Forgets the files and plugins that a look at the plugin folder no longer finds.
    pub(super) fn forget_gone(&self, serving: &Serving, look: &Look) {
        let references: BTreeSet<_> =
            self.config.plugins.values().filter_map(|plugin| plugin.file.as_deref()?.to_str()).collect();
        let mut is_changed = false;
        {
            let mut plugins = serving.catalog();
            for plugin in plugins.values_mut() {
                is_changed |=
                    plugin.forget_gone(|path| look.is_gone(path), |reference| !references.contains(reference));
            }
            forget_rejected(&mut plugins);
            plugins.retain(|name, plugin| {
                if plugin.is_empty() {
                    serving.records.metrics.remove_plugin(name);
                }
                !plugin.is_empty()
            });
        }
        match is_changed {
            true => self.write_journal(serving),
            // A request that began before a change may have ended now.
            false => self.forget_series(serving),
        }
    }

    /// Retires the plugins whose files are gone, or are not those of the configuration any more. A plugin that a pipeline
    /// still needs continues to serve, with a note. A file that was moved is not gone.
    pub(super) fn note_missing_files(&mut self, serving: &Serving, look: &Look) {
        let mut gone = Vec::new();
        for (name, plugin) in serving.catalog().iter_mut() {
            let Some(release) = &plugin.serving else { continue };
            let ReleaseSource::File(path) = &release.source else { continue };
            if !look.is_gone(path) {
                continue;
            }
            let digest = &release.artifact.identity.digest;
            let is_moved = |(what, handled): &(&String, &HandledFile)| {
                *handled.digest == **digest && !look.is_gone(Path::new(what))
            };
            match plugin.handled.iter().find(is_moved) {
                Some((what, _)) => {
                    let source = ReleaseSource::File(what.into());
                    plugin.serving = Some(Arc::new(Release { source, ..(**release).clone() }));
                }
                None if plugin.note.is_none() => gone.push((name.clone(), missing(&self.config, name, plugin, path))),
                None => {}
            }
        }
        for (name, what) in gone {
            match users(&self.config, &self.unloaded, &name).as_slice() {
                users @ [_, ..] => {
                    let note = format!(
                        "{what}; the plugin continues to serve because pipeline `{}` needs it",
                        users.join("`, `")
                    );
                    tracing::warn!(plugin = name, "{note}");
                    serving.catalog().entry(name).or_default().note = Some(note);
                }
                [] => {
                    if let Err(error) = self.retire(serving, &name, "folder") {
                        tracing::warn!(plugin = name, "{error}");
                    }
                }
            }
        }
    }

    /// Forgets the series of versions that can no longer run, and those of pipelines, chips and models that are gone.
    pub(super) fn forget_series(&self, serving: &Serving) {
        let known: BTreeSet<_> = {
            let plugins = serving.catalog();
            let identities = plugins.values().flat_map(CatalogEntry::identities);
            identities.map(|identity| (identity.name.clone(), identity.digest.clone())).collect()
        };
        let served = serving.served.load();
        let is_served = |pipeline: &str, chip: &str| {
            let has_chip = |route: &Route| {
                let canary = route.canary.as_ref().map(|canary| &canary.pipeline);
                [Some(&route.stable), canary].into_iter().flatten().any(|pipeline| pipeline.select(chip).is_some())
            };
            served.unloaded.contains_key(pipeline) || served.routes.get(pipeline).is_some_and(has_chip)
        };
        let is_pipeline = |name: &str| served.unloaded.contains_key(name) || served.routes.contains_key(name);
        serving.records.statistics.retain(is_pipeline);
        let has_stage = |pipeline: &str, stage: &StageName| {
            let of = |route: &Route| {
                let canary = route.canary.as_ref().map(|canary| &canary.pipeline);
                let mut pipelines = [Some(&route.stable), canary].into_iter().flatten();
                pipelines.any(|pipeline| pipeline.stages().any(|(_, it)| it.name == *stage))
            };
            served.unloaded.contains_key(pipeline) || served.routes.get(pipeline).is_some_and(of)
        };
        let is_known = |pipeline: &str, series: &StageSeries| {
            let it = &series.plugin;
            known.contains(&(it.name.clone(), it.digest.clone())) && has_stage(pipeline, &series.stage)
        };
        serving.records.memory.retain(is_known, is_served);
        serving.records.shadows.retain(|pair| {
            let is_of = |pipeline: &ServedPipeline| {
                pipeline.version == pair.version
                    && pipeline.select(&pair.chip).is_some()
                    && pipeline.shadow_of(&pair.stage).is_some_and(|shadow| shadow.chip == pair.shadow)
            };
            served.routes.get(&pair.pipeline).is_some_and(|route| {
                let canary = route.canary.as_ref().map(|canary| &canary.pipeline);
                [Some(&route.stable), canary].into_iter().flatten().any(|pipeline| is_of(pipeline))
            })
        });
        serving.records.metrics.batches().retain(|model| self.config.models.contains_key(model));
    }
}

/// Why a look does not find the file of the version that serves. It may be there, and the configuration names another one.
fn missing(config: &Config, name: &str, plugin: &CatalogEntry, path: &Path) -> String {
    let is_at = |other: &Path| absolute(other).is_ok_and(|other| other == path);
    let shown = path.display();
    match declared(config, name) {
        Some(named) if !is_at(&config.resolve(named)) => {
            let named = named.display().to_string();
            let is_rolled_back = plugin.handled.get(&named).is_some_and(|handled| plugin.is_withdrawn(&handled.digest));
            let why = if is_rolled_back { ", whose version was rolled back" } else { "" };
            format!("its version comes from {shown}, and the configuration names {named}{why}")
        }
        None if !path.parent().is_some_and(|folder| is_at_folder(config, folder)) => {
            format!(
                "its version comes from {shown}, which is not in the plugin folder, and the configuration names no file"
            )
        }
        _ => format!("its file {shown} is gone"),
    }
}

fn is_at_folder(config: &Config, folder: &Path) -> bool {
    absolute(config.plugin_dir()).is_ok_and(|plugins| plugins == folder)
}

/// Limits the plugins that have only versions that were rejected over HTTP.
fn forget_rejected(plugins: &mut Catalog) {
    let is_only_rejected = |plugin: &CatalogEntry| {
        let is_http = |source: &str| ReleaseSource::parse(source) == ReleaseSource::Http;
        plugin.identities().next().is_none() && plugin.rejected.iter().all(|rejected| is_http(&rejected.source))
    };
    let rejected = plugins.iter().filter(|(_, plugin)| is_only_rejected(plugin));
    let mut rejected: Vec<_> =
        rejected.filter_map(|(name, plugin)| Some((plugin.rejected.front()?.at, name.clone()))).collect();
    rejected.sort();
    let many = rejected.len().saturating_sub(MAX_REJECTED_PLUGINS);
    for (_, name) in &rejected[..many] {
        if let Some(plugin) = plugins.get_mut(name) {
            plugin.rejected.clear();
        }
    }
}
