//! Every plugin with its versions: the one that serves, the one on trial, those before it, and those that were refused.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::canary::Comparison;
use super::journal::{Entry, Page, Seen};
use super::release::Release;
use crate::memory::report::Row;
use crate::plugin::{Identity, Metadata};
use crate::stage::Stage;

/// Refusals of a plugin that are remembered.
const REFUSALS: usize = 5;

/// The plugins by name.
pub type Catalog = BTreeMap<String, Plugin>;

/// What is known of a plugin.
#[derive(Default)]
pub struct Plugin {
    /// The version that answers requests; without a pipeline that uses it, the one that would.
    pub serving: Option<Arc<Release>>,
    /// The version on trial.
    pub candidate: Option<Arc<Release>>,
    /// The one that is being admitted.
    pub compiling: Option<Identity>,
    /// Those that served before, the latest first.
    pub previous: VecDeque<Previous>,
    /// The latest refusals, the latest first.
    pub refused: VecDeque<Refused>,
    /// Files that were handled.
    pub seen: BTreeMap<String, Seen>,
    /// What a person should know, for example that its file is gone.
    pub note: Option<String>,
}

/// A version that served before.
pub struct Previous {
    /// The version.
    pub release: Arc<Release>,
    /// Its stages, kept ready for a rollback.
    pub stages: Vec<Arc<Stage>>,
}

/// A version that was not admitted, or was rolled back by its trial.
#[derive(Clone)]
pub struct Refused {
    /// Which; a file that could not be read has no digest.
    pub identity: Identity,
    /// Where it came from.
    pub source: String,
    /// One sentence.
    pub reason: String,
    /// When.
    pub at: SystemTime,
    /// Whether the next start, or a new configuration, may try it again: a version that a trial or a person rolled
    /// back stays out.
    pub retry: bool,
}

impl Plugin {
    /// Adds a refusal.
    pub fn refuse(&mut self, refused: Refused) {
        self.refused.retain(|other| other.identity.digest != refused.identity.digest);
        self.refused.push_front(refused);
        self.refused.truncate(REFUSALS);
    }

    /// Makes a release the one that serves. The one before it becomes the latest previous version with the stages
    /// that it had; at most `keep` stay. Gives the identities of those that went.
    pub fn serve(&mut self, release: Arc<Release>, stages: Vec<Arc<Stage>>, keep: usize) -> Vec<Identity> {
        let digest = Arc::clone(&release.artifact.identity.digest);
        if let Some(old) = self.serving.replace(release) {
            self.previous.push_front(Previous { release: old, stages });
        }
        // A version is in one place only: what serves now is no previous one, and none is listed twice.
        let mut known = vec![digest];
        self.previous.retain(|previous| {
            let digest = &previous.release.artifact.identity.digest;
            let new = !known.contains(digest);
            known.push(Arc::clone(digest));
            new
        });
        let gone = self.previous.drain(keep.min(self.previous.len())..);
        gone.map(|previous| previous.release.artifact.identity.clone()).collect()
    }

    /// Whether there is anything to show: of a retired plugin only its files are remembered.
    pub fn is_known(&self) -> bool {
        self.serving.is_some() || self.compiling.is_some() || !self.refused.is_empty()
    }

    /// What the journal remembers of it.
    pub fn page(&self) -> Page {
        let again: Vec<_> =
            self.refused.iter().filter(|refused| refused.retry).map(|refused| &*refused.identity.digest).collect();
        let seen = self.seen.iter().filter(|(_, seen)| !again.contains(&&*seen.digest));
        Page {
            serving: self.serving.as_deref().map(Entry::of),
            candidate: self.candidate.as_deref().map(Entry::of),
            previous: self.previous.iter().map(|previous| Entry::of(&previous.release)).collect(),
            seen: seen.map(|(what, seen)| (what.clone(), seen.clone())).collect(),
        }
    }
}

/// A plugin as `GET /v1/plugins/{name}` shows it.
#[derive(Debug, Serialize)]
pub struct PluginView {
    /// Its name.
    pub name: String,
    /// The version that serves, or would if a pipeline used it.
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
    /// What a person should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The trial that goes on, by pipeline.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub canary: Vec<Comparison>,
    /// Every version that is known, the newest first within each state.
    pub versions: Vec<VersionView>,
}

/// Where a plugin works, and within which limits.
#[derive(Debug, Clone, Serialize)]
pub struct StageView {
    /// The pipeline.
    pub pipeline: String,
    /// `preprocess`, `infer` or `postprocess`.
    pub stage: &'static str,
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
    /// From the file's name or the component's metadata.
    pub version: Arc<str>,
    /// SHA-256 of the component.
    pub digest: Arc<str>,
    /// Where it came from.
    pub source: String,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds since 1970 when it was handed in, or refused.
    pub at: f64,
    /// Stage runs since start.
    pub runs: u64,
    /// Those that ended in a trap, a memory limit or a passed deadline.
    pub failures: u64,
    /// Highest high-water mark in bytes since start.
    pub high_water: u64,
}

impl Plugin {
    /// The view of this plugin; `rows` are those of the memory report, of every plugin.
    pub fn view(&self, name: &str, stages: Vec<StageView>, canary: Vec<Comparison>, rows: &[Row]) -> PluginView {
        let mut versions = Vec::new();
        let mut add = |state, identity: &Identity, source: String, reason: Option<String>, at: SystemTime| {
            let of_version =
                rows.iter().filter(|row| row.key.plugin == identity.name && row.key.digest == identity.digest);
            let mut view = VersionView {
                state,
                version: Arc::clone(&identity.version),
                digest: Arc::clone(&identity.digest),
                source,
                reason,
                at: at.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()),
                runs: 0,
                failures: 0,
                high_water: 0,
            };
            for row in of_version {
                view.runs += row.figures.count;
                view.high_water = view.high_water.max(row.figures.max);
                if row.key.outcome.is_plugin_failure() {
                    view.failures += row.figures.count;
                }
            }
            versions.push(view);
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
        for refused in &self.refused {
            add("refused", &refused.identity, refused.source.clone(), Some(refused.reason.clone()), refused.at);
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
            note: self.note.clone(),
            canary,
            versions,
        }
    }
}
