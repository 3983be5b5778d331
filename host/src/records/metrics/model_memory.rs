//! The memory that models hold on their devices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use plimsoll_runtime::nn::{LoadedModel, MemorySource};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;
use serde::Serialize;

use super::families::{family, gauge};
use super::named_registry::Registry;

/// The memory of all models that are loaded. Clones share the same models.
#[derive(Clone)]
pub struct ModelMemory {
    state: Arc<Mutex<State>>,
    now: Family<Labels, Gauge>,
    high_water: Family<Labels, Gauge>,
}

#[derive(Default)]
struct State {
    models: Vec<Weak<LoadedModel>>,
    /// The most bytes that the models of a name held on a device at one time.
    marks: BTreeMap<Key, u64>,
    /// The series that exist.
    series: BTreeSet<Labels>,
}

/// A name, a backend and a target.
type Key = (String, String, String);

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct Labels {
    model: String,
    target: String,
    source: &'static str,
}

/// The memory of the models of one name on one device, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelMemoryRow {
    /// The name in the configuration.
    pub model: String,
    /// The backend.
    pub backend: String,
    /// The device: `cpu`, `cuda:0`, or the name of a chip.
    pub target: String,
    /// How many are loaded: two while a new version replaces an old one that requests still use.
    pub loaded: usize,
    /// What they held when they were admitted.
    pub admitted: u64,
    /// What they hold now.
    pub bytes: u64,
    /// The most that they held at one time.
    pub high_water: u64,
    /// Where the figures come from: `arena`, `resident` or `file`.
    pub source: &'static str,
}

fn key_of(model: &LoadedModel) -> Key {
    [model.name(), model.backend(), model.target()].map(str::to_owned).into()
}

impl ModelMemory {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let now = "Memory that a model holds on its device";
        let high_water = "The most memory that a model held on its device";
        Self {
            state: Arc::default(),
            now: family(registry, "model_device_memory", now, Some(Unit::Bytes)),
            high_water: family(registry, "model_device_memory_high_water", high_water, Some(Unit::Bytes)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a model as long as it is loaded.
    pub fn follow(&self, model: &Arc<LoadedModel>) {
        self.state().models.push(Arc::downgrade(model));
        // The most is held while an old and a new version are loaded.
        self.rows();
    }

    /// The models that are loaded.
    pub(super) fn loaded(&self) -> Vec<Arc<LoadedModel>> {
        let mut state = self.state();
        state.models.retain(|model| model.strong_count() > 0);
        state.models.iter().filter_map(Weak::upgrade).collect()
    }

    /// The memory of the models that are loaded, by name and device.
    pub fn rows(&self) -> Vec<ModelMemoryRow> {
        // A device may answer late, so it is not asked under the lock.
        let models = self.loaded();
        let mut rows: BTreeMap<Key, ModelMemoryRow> = BTreeMap::new();
        for model in models {
            let Some(memory) = model.memory() else { continue };
            let key = key_of(&model);
            let (name, backend, target) = &key;
            let empty = || ModelMemoryRow {
                model: name.clone(),
                backend: backend.clone(),
                target: target.clone(),
                loaded: 0,
                admitted: 0,
                bytes: 0,
                high_water: 0,
                source: memory.source.as_str(),
            };
            let row = rows.entry(key.clone()).or_insert_with(empty);
            row.loaded += 1;
            row.admitted += memory.admitted;
            row.bytes += memory.now;
            row.high_water = row.high_water.max(memory.high_water);
            // The source that says least decides.
            if memory.source == MemorySource::File {
                row.source = memory.source.as_str();
            }
        }
        let mut state = self.state();
        // Also models that were loaded while the devices were asked.
        let loaded: Vec<_> = state.models.iter().filter_map(Weak::upgrade).collect();
        let keys: BTreeSet<_> = loaded.iter().map(|model| key_of(model)).collect();
        state.marks.retain(|key, _| keys.contains(key) || rows.contains_key(key));
        for (key, row) in &mut rows {
            let mark = state.marks.entry(key.clone()).or_default();
            *mark = (*mark).max(row.bytes).max(row.high_water);
            row.high_water = *mark;
        }
        // First the lock: whoever holds a model last frees it, which may take long.
        drop(state);
        rows.into_values().collect()
    }

    /// Sets the metrics to the current figures.
    pub(super) fn update(&self) {
        let rows = self.rows();
        let mut state = self.state();
        let mut series = BTreeSet::new();
        for ModelMemoryRow { model, target, source, bytes, high_water, .. } in rows {
            let labels = Labels { model, target, source };
            self.now.get_or_create(&labels).set(gauge(bytes));
            self.high_water.get_or_create(&labels).set(gauge(high_water));
            series.insert(labels);
        }
        for gone in state.series.difference(&series) {
            self.now.remove(gone);
            self.high_water.remove(gone);
        }
        state.series = series;
    }
}
