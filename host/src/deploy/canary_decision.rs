//! Decides canaries: promotes a candidate with good figures, and rolls back a candidate with bad ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use plimsoll_runtime::identity::Identity;
use plimsoll_runtime::panics::fault_point;

use super::canary::CanaryVerdict;
use super::catalog::{RejectedVersion, VersionFigures};
use super::deployer::{ChangeError, Deployer, audit, audit_rejection, candidates};
use super::hold_back::replaced_by;
use super::needed::users_of;
use super::release::Release;
use super::sample::Tried;
use super::serving::{Route, Served, Serving};

impl Deployer {
    /// Decides the canaries that have enough requests.
    pub async fn decide_canaries(&mut self, serving: &Serving) {
        fault_point("canaries");
        for (name, candidate) in candidates(serving) {
            let served = serving.served.load_full();
            let of_route = |route: &Route| Some((route.clone(), route.canary.clone()?));
            let canaries: Vec<_> = served
                .routes
                .values()
                .filter_map(of_route)
                .filter(|(_, canary)| canary.is_of(&candidate.artifact.identity))
                .collect();
            let verdicts: Vec<_> = canaries.iter().map(|(_, canary)| canary.verdict()).collect();
            let is_decided = |verdict: &CanaryVerdict| *verdict != CanaryVerdict::Undecided;
            for ((_, canary), _) in canaries.iter().zip(&verdicts).filter(|(_, verdict)| is_decided(verdict)) {
                let figures = serde_json::to_string(&canary.comparison()).unwrap_or_else(|error| error.to_string());
                tracing::info!(target: "plimsoll::audit", plugin = name, %figures, "canary");
            }
            let failed = verdicts.iter().find_map(|verdict| match verdict {
                CanaryVerdict::RollBack(reason) => Some(reason.clone()),
                _ => None,
            });
            if let Some(reason) = failed {
                match self.end_canary(serving, &name, &reason, "canary") {
                    Ok(_) => serving.remember_decision(&canaries, &CanaryVerdict::RollBack(reason)),
                    Err(error) => tracing::error!(plugin = name, "cannot roll back the canary: {error}"),
                }
            } else if !verdicts.is_empty() && verdicts.iter().all(|verdict| *verdict == CanaryVerdict::Promote) {
                match self.promote(serving, &name, Arc::clone(&candidate), &mut Vec::new()).await {
                    Ok(()) => {
                        audit("canary", "promote", &candidate.artifact.identity, "serving");
                        serving.records.metrics.record_deployment(&name, "promoted");
                        serving.remember_decision(&canaries, &CanaryVerdict::Promote);
                    }
                    Err(error) => tracing::error!(plugin = name, "cannot promote the canary: {error}"),
                }
                self.write_journal(serving);
            }
        }
    }

    /// Continues the canaries of `before`, with their figures, in the routes that are served now. In a pipeline that was
    /// added, or whose rules or versions have changed, the canary begins again; in the others it continues. Returns the
    /// plugins with a canary that continues.
    pub(super) async fn continue_canaries(&mut self, serving: &Serving, before: &Served) -> Vec<String> {
        let mut continued = Vec::new();
        for (name, candidate) in candidates(serving) {
            let identity = &candidate.artifact.identity;
            let mut selection = self.selection(serving);
            selection.insert(name.clone(), Arc::clone(&candidate));
            let config = self.config.clone();
            let mut held = Vec::new();
            // A candidate that cannot be built is reported when its canary begins again.
            let Ok(pipelines) = self.try_selection(&config, &selection, Tried::Admitted(&name), &mut held).await else {
                continue;
            };
            let served = serving.served.load_full();
            let unchanged = |user: &String| {
                let (old, new) = (before.routes.get(user)?, served.routes.get(user)?);
                let canary =
                    old.canary.as_ref().filter(|it| it.is_of(identity) && it.is_unchanged_in(&pipelines[user]))?;
                (old.stable.version == new.stable.version).then_some(canary)
            };
            let users = users_of(&config, &name);
            let mut canaries = BTreeMap::new();
            let mut is_continued = false;
            for user in users {
                let pipeline = &pipelines[&user];
                let Some(rules) = pipeline.canary.clone() else { continue };
                let known = unchanged(&user);
                is_continued |= known.is_some();
                let canary = match known {
                    Some(canary) => canary.continued_in(Arc::clone(pipeline)),
                    None => serving.new_canary(Arc::clone(pipeline), identity, rules),
                };
                canaries.insert(user, Arc::new(canary));
            }
            // A pipeline has one canary at a time. The one that is in the way is reported when this one begins again.
            let has_other = |user: &String| served.routes.get(user).is_some_and(|route| route.canary.is_some());
            if !is_continued || canaries.keys().any(has_other) {
                continue;
            }
            let route = |(user, route): (&String, &Route)| {
                let canary = canaries.get(user).cloned().or_else(|| route.canary.clone());
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
        let rows = serving.records.memory.rows(None, Instant::now(), false);
        let mut plugins = serving.catalog();
        let plugin = plugins.get_mut(name).ok_or_else(no_canary)?;
        let old = plugin.serving.as_ref().ok_or_else(no_canary)?.artifact.identity.clone();
        let ended = plugin.candidate.take().ok_or_else(no_canary)?;
        let candidate = ended.artifact.identity.clone();
        // The existing routes are filtered and nothing is built, so an unreadable file cannot keep the candidate in
        // service. Under the lock of the catalog: who reads there that the version is rejected gets no more answers of it.
        let served = serving.served.load();
        let without = |route: &Route| Route {
            stable: Arc::clone(&route.stable),
            canary: route.canary.clone().filter(|canary| !canary.is_of(&candidate)),
        };
        let routes = served.routes.iter().map(|(name, route)| (name.clone(), without(route))).collect();
        let before = serving.served.swap(Arc::new(Served { routes, unloaded: served.unloaded.clone() }));
        if candidate.digest != old.digest {
            plugin.withdraw(&candidate.digest);
        }
        plugin.reject(RejectedVersion {
            identity: candidate.clone(),
            source: ended.source.to_string(),
            reason: reason.to_owned(),
            at: SystemTime::now(),
            retry: false,
            figures: VersionFigures::of(&candidate, &rows),
        });
        drop(plugins);
        // What only it used is freed after the lock.
        drop((served, before));
        audit_rejection(by, "rollback", &candidate, reason);
        serving.records.metrics.record_deployment(name, "rollback");
        self.write_journal(serving);
        Ok(old)
    }

    /// Records a version whose canary ends undecided, because another version takes its place.
    pub(super) fn replace_candidate(&self, serving: &Serving, replaced: &Release, by: &str, with: &Identity) {
        if replaced.artifact.identity.digest != with.digest {
            self.reject_candidate(serving, replaced, &replaced_by(&with.version), by);
        }
    }

    /// Records a version whose canary ended undecided.
    pub(super) fn reject_candidate(&self, serving: &Serving, candidate: &Release, reason: &str, by: &str) {
        let identity = candidate.artifact.identity.clone();
        let (source, figures) = (candidate.source.to_string(), VersionFigures::default());
        let (reason, at) = (reason.to_owned(), SystemTime::now());
        self.reject(serving, by, RejectedVersion { identity, source, reason, at, retry: false, figures });
    }
}
