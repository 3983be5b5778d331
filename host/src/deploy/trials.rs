//! The end of trials: a candidate that did well serves alone, one that did not goes.

use std::sync::Arc;
use std::time::SystemTime;

use super::canary::Verdict;
use super::catalog::Refused;
use super::deployer::{Deployer, audit, audit_refusal, candidates, catalog};
use crate::app::{App, Route, Served};
use crate::plugin::Identity;

impl Deployer {
    /// Decides the trials that have enough figures.
    pub async fn decide(&mut self, app: &App) {
        for (name, candidate) in candidates(app) {
            let served = app.served.load_full();
            let trials: Vec<_> = served
                .routes
                .values()
                .filter_map(|route| route.trial.clone())
                .filter(|trial| trial.is_of(&candidate.artifact.identity))
                .collect();
            let verdicts: Vec<_> = trials.iter().map(|trial| trial.verdict()).collect();
            for trial in trials.iter().filter(|trial| trial.verdict() != Verdict::Undecided) {
                let figures = serde_json::to_string(&trial.comparison()).expect("numbers");
                tracing::info!(target: "plimsoll::audit", plugin = name, %figures, "canary");
            }
            let failed = verdicts.iter().find_map(|verdict| match verdict {
                Verdict::RollBack(reason) => Some(reason.clone()),
                _ => None,
            });
            if let Some(reason) = failed {
                self.end_trial(app, &name, &reason, "canary");
            } else if !verdicts.is_empty() && verdicts.iter().all(|verdict| *verdict == Verdict::Promote) {
                match self.promote(app, &name, Arc::clone(&candidate), &mut Vec::new()).await {
                    Ok(()) => {
                        audit("canary", "promote", &candidate.artifact.identity, "serving");
                        app.recorder.metrics.deployment(&name, "promoted");
                    }
                    Err(error) => tracing::error!(plugin = name, "the canary cannot be promoted: {error}"),
                }
                self.remember(app);
            }
        }
    }

    /// Ends the trial of a plugin: what served before serves on, and the candidate is refused. Gives what serves.
    pub(super) fn end_trial(&self, app: &App, name: &str, reason: &str, by: &str) -> Identity {
        let (candidate, serving) = {
            let mut plugins = catalog(app);
            let plugin = plugins.get_mut(name).expect("it has a candidate");
            let candidate = plugin.candidate.take().expect("it has a candidate");
            let identity = candidate.artifact.identity.clone();
            let source = candidate.source.to_string();
            plugin.refuse(Refused {
                identity: identity.clone(),
                source,
                reason: reason.to_owned(),
                at: SystemTime::now(),
                retry: false,
            });
            (identity, plugin.serving.as_ref().expect("a trial is held against it").artifact.identity.clone())
        };
        // Nothing is built for it, so nothing that cannot be read just now keeps the candidate in service.
        let served = app.served.load();
        let without = |route: &Route| Route {
            stable: Arc::clone(&route.stable),
            trial: route.trial.clone().filter(|trial| !trial.is_of(&candidate)),
        };
        let routes = served.routes.iter().map(|(name, route)| (name.clone(), without(route))).collect();
        app.served.store(Arc::new(Served { routes, unloaded: served.unloaded.clone() }));
        audit_refusal(by, "rollback", &candidate, reason);
        app.recorder.metrics.deployment(name, "rollback");
        self.remember(app);
        serving
    }
}
