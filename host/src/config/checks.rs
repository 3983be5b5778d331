//! Checks settings that parse but are not valid.

use std::path::PathBuf;
use std::time::Duration;

use plimsoll_runtime::identity::check_plugin_name;

use super::canary::CanaryRules;
use super::error::ConfigError;
use super::file::Config;
use super::memory::MAX_CALLERS;
use super::server::Server;
use super::shadow::ShadowRules;

/// Maximum of `max_concurrency`. Each concurrent request reserves address space for the linear memories of a stage.
const MAX_CONCURRENCY: u32 = 10_000;
/// Maximum of `max_shadow_runs`, for the same reason.
const MAX_SHADOW_RUNS: u32 = 100;
/// The longest time that can be configured. A longer time is a mistake, and could overflow the arithmetic of the clock.
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

impl Config {
    /// Checks every number of the file.
    ///
    /// # Errors
    /// If a number is not valid. The error is the first one, with its key.
    pub(super) fn check_numbers(&self) -> Result<(), ConfigError> {
        let refused = |key: &str, reason: &str| Err(ConfigError::new(&self.path, key, reason));
        let Server { max_concurrency, body_budget, max_body, body_timeout, drain, grace_period, .. } = &self.server;
        if !(1..=MAX_CONCURRENCY).contains(max_concurrency) {
            return refused("server.max_concurrency", "must be a number from 1 to 10000");
        }
        if body_budget < max_body {
            return refused(
                "server.body_budget",
                "must be at least `server.max_body`; otherwise the largest body never fits",
            );
        }
        if let Some((key, reason)) = self.admission_mistake() {
            return refused(&key, reason);
        }
        if let Some((key, reason)) = self.memory_mistake() {
            return refused(&key, &reason);
        }
        if let Some((key, reason)) = self.telemetry.mistake() {
            return refused(key, &reason);
        }
        if let Some((key, reason)) = self.fleet.mistake() {
            return refused(key, &reason);
        }
        if let Some((key, reason)) = self.plugin_name_mistake() {
            return refused(&key, &reason);
        }
        if self.deploy.poll.is_zero() {
            return refused("deploy.poll", "must be greater than 0, for example \"1s\"");
        }
        let mut times = vec![("server.body_timeout".to_owned(), Some(*body_timeout))];
        times.push(("server.drain".to_owned(), Some(*drain)));
        times.push(("server.budget_wait".to_owned(), Some(self.server.budget_wait)));
        times.push(("server.reply_timeout".to_owned(), Some(self.server.reply_timeout)));
        times.push(("deploy.upload_timeout".to_owned(), Some(self.deploy.upload_timeout)));
        times.push(("server.grace_period".to_owned(), Some(*grace_period)));
        times.push(("deploy.poll".to_owned(), Some(self.deploy.poll)));
        times.push(("fleet.timeout".to_owned(), Some(self.fleet.timeout)));
        for (name, chip) in &self.chips {
            match chip.mistake(name) {
                Some((key, reason)) if key.is_empty() => return refused(&format!("chips.{name}"), &reason),
                Some((key, reason)) => return refused(&format!("chips.{name}.{key}"), &reason),
                None => {}
            }
        }
        for (name, model) in &self.models {
            if let Some((key, reason)) = model.mistake() {
                return refused(&format!("models.{name}.{key}"), &reason);
            }
            times.push((format!("models.{name}.max_delay"), model.max_delay));
            times.push((format!("models.{name}.device_retry"), model.device_retry));
            times.push((format!("models.{name}.hang_after"), model.hang_after));
            times.push((format!("models.{name}.load_deadline"), model.load_deadline));
        }
        for (name, plugin) in &self.plugins {
            times.push((format!("plugins.{name}.deadline"), plugin.deadline));
            times.push((format!("plugins.{name}.init_deadline"), plugin.init_deadline));
        }
        for (name, pipeline) in &self.pipelines {
            if let Some(reason) = pipeline.canary.as_ref().and_then(CanaryRules::mistake) {
                return refused(&format!("pipelines.{name}.canary"), reason);
            }
            if let Some((key, reason)) = pipeline.shadow.as_ref().and_then(ShadowRules::mistake) {
                return refused(&format!("pipelines.{name}.shadow.{key}"), reason);
            }
            for step in &pipeline.steps {
                if let Some((key, reason)) = step.shadow.as_ref().and_then(ShadowRules::mistake) {
                    return refused(&format!("pipelines.{name}.steps.{}.shadow.{key}", step.name), reason);
                }
            }
            if let Some(taken) = pipeline
                .models()
                .into_iter()
                .map(|model| format!("{name}.{model}"))
                .find(|model| self.pipelines.contains_key(model))
            {
                let reason =
                    format!("this is also the model of pipeline `{name}` for tensors; rename one of the pipelines");
                return refused(&format!("pipelines.\"{taken}\""), &reason);
            }
            if let Err((key, reason)) = pipeline.inputs() {
                let key = if key.is_empty() { format!("pipelines.{name}") } else { format!("pipelines.{name}.{key}") };
                return refused(&key, &reason);
            }
            times.push((format!("pipelines.{name}.deadline"), pipeline.deadline));
            let stages = pipeline.stages().into_iter();
            times.extend(stages.map(|(key, stage)| (format!("pipelines.{name}.{key}.deadline"), stage.deadline)));
        }
        for (name, settings) in &self.backends.0 {
            if let Err(error) = name.check(settings) {
                return refused(&format!("backends.{}", name.as_str()), &error.to_string());
            }
        }
        match times.iter().find(|(_, time)| time.is_some_and(|time| time > MAX_TIME)) {
            Some((key, _)) => refused(key, "must not be longer than a day"),
            None => Ok(()),
        }
    }

    /// Returns key and reason of the first limit on requests that is not valid.
    fn admission_mistake(&self) -> Option<(String, &'static str)> {
        let Server { max_connections, max_caller_concurrency, max_caller_rate, reply_timeout, .. } = &self.server;
        let counts = [
            ("max_connections", *max_connections),
            ("max_streams", Some(self.server.max_streams)),
            ("max_caller_concurrency", *max_caller_concurrency),
        ];
        if let Some((key, _)) = counts.iter().find(|(_, count)| *count == Some(0)) {
            return Some((format!("server.{key}"), "must be at least 1; remove it for the default"));
        }
        if max_caller_rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return Some(("server.max_caller_rate".into(), "must be greater than 0; remove it for no limit"));
        }
        if !(1..=MAX_SHADOW_RUNS).contains(&self.server.max_shadow_runs) {
            return Some(("server.max_shadow_runs".into(), "must be a number from 1 to 100"));
        }
        let times = [("reply_timeout", reply_timeout), ("body_timeout", &self.server.body_timeout)];
        if let Some((key, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            return Some((format!("server.{key}"), "must be greater than 0, for example \"30s\""));
        }
        if self.server.max_body.as_u64() == 0 {
            return Some(("server.max_body".into(), "must be greater than 0, for example \"32MiB\""));
        }
        let blocked = self.pipelines.iter().find(|(_, pipeline)| pipeline.max_concurrency == Some(0));
        blocked.map(|(name, _)| (format!("pipelines.{name}.max_concurrency"), "must be at least 1"))
    }

    /// Returns key and reason of the first name of a plugin that is not valid. Names are parts of paths and log lines.
    fn plugin_name_mistake(&self) -> Option<(String, String)> {
        let mut names: Vec<_> = self.plugins.keys().map(|name| ("plugins".to_owned(), name)).collect();
        for (name, pipeline) in &self.pipelines {
            let stages = pipeline.stages().into_iter();
            names.extend(stages.map(|(key, stage)| (format!("pipelines.{name}.{key}.plugin"), &stage.plugin)));
        }
        names.into_iter().find_map(|(key, name)| Some((key, check_plugin_name(name).err()?.to_string())))
    }

    /// Returns key and reason of the first setting of `[memory]`, `record` or `capture` that is not valid.
    pub(super) fn memory_mistake(&self) -> Option<(String, String)> {
        if !(1..=MAX_CALLERS).contains(&self.memory.top_callers) {
            return Some(("memory.top_callers".into(), format!("must be a number from 1 to {MAX_CALLERS}")));
        }
        let mut folders: Vec<(PathBuf, String)> = Vec::new();
        for (name, pipeline) in &self.pipelines {
            let share = pipeline.capture.as_ref().map(|capture| capture.share);
            if share.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
                let reason = "must be more than 0% and at most 100%; remove the table to keep nothing";
                return Some((format!("pipelines.{name}.capture.share"), reason.into()));
            }
            let record = pipeline.record.as_ref().map(|it| ("record", it.max_bytes, it.max_age, it.dir.is_none()));
            let capture = pipeline.capture.as_ref().map(|it| ("capture", it.max_bytes, it.max_age, it.dir.is_none()));
            for (table, max_bytes, max_age, has_default) in record.into_iter().chain(capture) {
                let at = format!("pipelines.{name}.{table}");
                let mistake_at = |key: &str, reason: String| Some((format!("{at}.{key}"), reason));
                if max_bytes.as_u64() == 0 {
                    return mistake_at("max_bytes", "must be greater than 0; remove the table to keep nothing".into());
                }
                if max_age.is_zero() {
                    return mistake_at("max_age", "must be greater than 0; remove the table to keep nothing".into());
                }
                if has_default && check_plugin_name(name).is_err() {
                    let reason = "must be set, because the pipeline's name is not a valid folder name";
                    return mistake_at("dir", reason.into());
                }
                let dir = if table == "record" { self.record_dir(name)? } else { self.capture_dir(name)? };
                if let Some((_, other)) = folders.iter().find(|(known, _)| *known == dir) {
                    return mistake_at("dir", format!("`{other}` has the same folder; set different folders"));
                }
                folders.push((dir, at));
            }
        }
        None
    }
}
