//! Decides canaries: promotes a candidate with good figures, and rolls back a candidate with bad ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use plimsoll_runtime::identity::Identity;

use super::canary::CanaryVerdict;
use super::catalog::{RejectedVersion, VersionFigures};
use super::deployer::{ChangeError, Deployer, audit, audit_rejection, candidates};
use super::needed::needed;
use super::release::Release;
use super::serving::{Route, Served, Serving};

impl Deployer {
    /// Decides the canaries that have enough requests.
    pub async fn decide_canaries(&mut self, serving: &Serving) {
        for (name, candidate) in candidates(serving) {
            let served = serving.served.load_full();
            let canaries: Vec<_> = served
                .routes
                .values()
                .filter_map(|route| route.canary.clone())
                .filter(|canary| canary.is_of(&candidate.artifact.identity))
                .collect();
            let verdicts: Vec<_> = canaries.iter().map(|canary| canary.verdict()).collect();
            for canary in canaries.iter().filter(|canary| canary.verdict() != CanaryVerdict::Undecided) {
                let figures = serde_json::to_string(&canary.comparison()).unwrap_or_else(|error| error.to_string());
                tracing::info!(target: "plimsoll::audit", plugin = name, %figures, "canary");
            }
            let failed = verdicts.iter().find_map(|verdict| match verdict {
                CanaryVerdict::RollBack(reason) => Some(reason.clone()),
                _ => None,
            });
            if let Some(reason) = failed {
                if let Err(error) = self.end_canary(serving, &name, &reason, "canary") {
                    tracing::error!(plugin = name, "cannot roll back the canary: {error}");
                }
            } else if !verdicts.is_empty() && verdicts.iter().all(|verdict| *verdict == CanaryVerdict::Promote) {
                match self.promote(serving, &name, Arc::clone(&candidate), &mut Vec::new()).await {
                    Ok(()) => {
                        audit("canary", "promote", &candidate.artifact.identity, "serving");
                        serving.records.metrics.record_deployment(&name, "promoted");
                    }
                    Err(error) => tracing::error!(plugin = name, "cannot promote the canary: {error}"),
                }
                self.write_journal(serving);
            }
        }
    }

    /// Continues the canaries of `before`, with their figures, in the routes that are served now. A canary continues
    /// only if its rules and both versions of its pipeline are unchanged. Returns the plugins of these canaries.
    pub(super) async fn continue_canaries(&mut self, serving: &Serving, before: &Served) -> Vec<String> {
        let mut continued = Vec::new();
        for (name, candidate) in candidates(serving) {
            let mut selection = self.selection(serving);
            selection.insert(name.clone(), Arc::clone(&candidate));
            let config = self.config.clone();
            // A candidate that cannot be built is reported when its canary begins again.
            let Ok(pipelines) = self.builder.build(&config, &selection, &mut Vec::new()).await else { continue };
            let served = serving.served.load_full();
            let mut users = needed(&config).remove(name.as_str()).unwrap_or_default();
            users.retain(|user| config.pipelines[user].canary.is_some());
            let was_there = |(user, route): (&String, &Route)| {
                let is_of = route.canary.as_ref().is_some_and(|canary| canary.is_of(&candidate.artifact.identity));
                is_of.then(|| user.clone())
            };
            let is_unchanged = |user: &String| {
                let (old, new) = (before.routes.get(user)?, served.routes.get(user)?);
                let canary = old.canary.as_ref().filter(|canary| canary.is_unchanged_in(&pipelines[user]))?;
                (old.stable.version == new.stable.version).then(|| (user.clone(), Arc::clone(canary)))
            };
            let unchanged: BTreeMap<_, _> = users.iter().filter_map(is_unchanged).collect();
            if unchanged.is_empty() || !before.routes.iter().filter_map(was_there).eq(users.iter().cloned()) {
                continue;
            }
            if unchanged.len() < users.len() {
                continue;
            }
            let route = |(user, route): (&String, &Route)| {
                let continued = unchanged.get(user).map(|canary| canary.continued_in(Arc::clone(&pipelines[user])));
                let canary = continued.map(Arc::new).or_else(|| route.canary.clone());
                (user.clone(), Route { stable: Arc::clone(&route.stable), canary })
            };
            let routes = served.routes.iter().map(route).collect();
            serving.served.store(Arc::new(Served { routes, unloaded: served.unloaded.clone() }));
            continued.push(name);
        }
        continued
    }

    /// Ends the canary of a plugin: the old version continues to serve, and the candidate is rejected. Returns the
    /// version that serves.
    ///
    /// # Errors
    /// If the plugin has no canary.
    pub(super) fn end_canary(
        &self,
        serving: &Serving,
        name: &str,
        reason: &str,
        by: &str,
    ) -> Result<Identity, ChangeError> {
        let no_canary = || ChangeError::Conflict(format!("plugin `{name}` has no canary"));
        let rows = serving.records.memory.rows(None, Instant::now());
        let (candidate, old) = {
            let mut plugins = serving.catalog();
            let plugin = plugins.get_mut(name).ok_or_else(no_canary)?;
            let old = plugin.serving.as_ref().ok_or_else(no_canary)?.artifact.identity.clone();
            let candidate = plugin.candidate.take().ok_or_else(no_canary)?;
            let identity = candidate.artifact.identity.clone();
            if identity.digest != old.digest {
                plugin.withdraw(&identity.digest);
            }
            plugin.reject(RejectedVersion {
                identity: identity.clone(),
                source: candidate.source.to_string(),
                reason: reason.to_owned(),
                at: SystemTime::now(),
                retry: false,
                figures: VersionFigures::of(&identity, &rows),
            });
            (identity, old)
        };
        // The existing routes are filtered and nothing is built, so an unreadable file cannot keep the candidate in
        // service.
        let served = serving.served.load();
        let without = |route: &Route| Route {
            stable: Arc::clone(&route.stable),
            canary: route.canary.clone().filter(|canary| !canary.is_of(&candidate)),
        };
        let routes = served.routes.iter().map(|(name, route)| (name.clone(), without(route))).collect();
        serving.served.store(Arc::new(Served { routes, unloaded: served.unloaded.clone() }));
        audit_rejection(by, "rollback", &candidate, reason);
        serving.records.metrics.record_deployment(name, "rollback");
        self.write_journal(serving);
        Ok(old)
    }

    /// Records a version whose canary ends undecided, because another version takes its place.
    pub(super) fn replace_candidate(&self, serving: &Serving, replaced: &Release, by: &str, with: &Identity) {
        let identity = replaced.artifact.identity.clone();
        if identity.digest == with.digest {
            return;
        }
        let reason = format!("version {} replaced it before its canary was decided", with.version);
        let (source, figures) = (replaced.source.to_string(), VersionFigures::default());
        self.reject(
            serving,
            by,
            RejectedVersion { identity, source, reason, at: SystemTime::now(), retry: false, figures },
        );
    }
}
