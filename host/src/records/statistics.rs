//! Counts and times by model and version, as Triton's statistics extension defines them. Requests on every route are
//! counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::StageReport;
use serde::Serialize;
use utoipa::ToSchema;

/// Maximum number of rows (one for each model and version). The limit is needed because every deployment can add a
/// version while the process runs, and a version may come back. At the limit, the row with the oldest last request is removed.
const MAX_ROWS: usize = 4_096;

/// Model and version.
type Key = (Arc<str>, Arc<str>);

/// The counts and times since start.
#[derive(Debug, Default)]
pub struct ModelStatisticsStore {
    rows: Mutex<BTreeMap<Key, Row>>,
}

/// A count of events and their total time.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub struct Counted {
    /// The number of events.
    pub count: u64,
    /// Their total time in nanoseconds.
    pub ns: u64,
}

/// The times of a version of a model.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub struct Times {
    /// Requests that were answered.
    pub success: Counted,
    /// Requests that failed.
    pub fail: Counted,
    /// The time of successful requests in the queue.
    pub queue: Counted,
    /// The preprocessing of successful requests.
    pub compute_input: Counted,
    /// The inference of successful requests.
    pub compute_infer: Counted,
    /// The postprocessing of successful requests.
    pub compute_output: Counted,
    /// Always 0: there is no response cache.
    pub cache_hit: Counted,
    /// Always 0: there is no response cache.
    pub cache_miss: Counted,
}

/// A request that has ended.
#[derive(Debug)]
pub(super) struct ModelRequest<'a> {
    /// The pipeline of the model.
    pub(super) pipeline: &'a str,
    pub(super) outcome: Outcome,
    /// From its start to its end.
    pub(super) duration: Duration,
    /// The time in the queue.
    pub(super) queue_time: Duration,
    /// The stages that ran.
    pub(super) stages: &'a [StageReport],
}

#[derive(Debug, Default)]
struct Row {
    pipeline: String,
    last_inference: u64,
    times: Times,
}

/// The statistics of a version of a model.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ModelStatistics {
    /// The model.
    pub name: String,
    /// The version.
    pub version: String,
    /// When the latest request ended, in milliseconds since the Unix epoch.
    pub last_inference: u64,
    /// The number of images, or of calls with tensors, that were answered.
    pub inference_count: u64,
    /// Equal to `inference_count`: each image or call runs in its own instances.
    pub execution_count: u64,
    /// The time spent in each part.
    pub inference_stats: Times,
    /// Always empty: requests are batched by the backend, not by the model.
    #[schema(value_type = Vec<Object>)]
    pub batch_stats: [(); 0],
    /// Always empty: see `GET /v1/memory`.
    #[schema(value_type = Vec<Object>)]
    pub memory_usage: [(); 0],
    /// Always empty: each request has one response.
    #[schema(value_type = Object)]
    pub response_stats: BTreeMap<(), ()>,
}

impl Counted {
    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.ns = self.ns.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl ModelStatisticsStore {
    /// Counts a request that has ended.
    pub(super) fn record(&self, model: &Arc<str>, version: &Arc<str>, request: &ModelRequest<'_>) {
        let &ModelRequest { pipeline, outcome, duration, queue_time, stages } = request;
        let mut rows = self.rows();
        let key = (Arc::clone(model), Arc::clone(version));
        if rows.len() >= MAX_ROWS && !rows.contains_key(&key) {
            let oldest = rows.iter().min_by_key(|(_, row)| row.last_inference).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                rows.remove(&oldest);
            }
        }
        let row = rows.entry(key).or_insert_with(|| Row { pipeline: pipeline.to_owned(), ..Row::default() });
        row.last_inference =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(0));
        let times = &mut row.times;
        if outcome != Outcome::Ok {
            times.fail.add(duration);
            return;
        }
        // As in Triton, only successful requests count towards the parts.
        times.success.add(duration);
        times.queue.add(queue_time);
        // A request counts once for each part, however many steps and items it has: clients divide the times by the counts.
        let add = |counted: &mut Counted, kinds: &[StageKind]| {
            let mut durations =
                stages.iter().filter(|it| kinds.contains(&it.stage.kind())).map(|it| it.duration).peekable();
            if durations.peek().is_some() {
                counted.add(durations.sum());
            }
        };
        add(&mut times.compute_input, &[StageKind::Preprocess, StageKind::Transform]);
        add(&mut times.compute_infer, &[StageKind::Infer]);
        add(&mut times.compute_output, &[StageKind::Postprocess]);
    }

    /// Forgets the models of the pipelines that are gone. Call it again later: a request that began before its pipeline was
    /// removed may end after it.
    pub fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.rows().retain(|_, row| is_there(&row.pipeline));
    }

    /// The statistics of a version of a model. All values are 0 if it had no request.
    pub fn of(&self, name: &str, version: &str) -> ModelStatistics {
        let rows = self.rows();
        let row = rows.get(&(name.into(), version.into()));
        let (last_inference, times) = row.map(|row| (row.last_inference, row.times)).unwrap_or_default();
        ModelStatistics {
            name: name.to_owned(),
            version: version.to_owned(),
            last_inference,
            inference_count: times.success.count,
            execution_count: times.success.count,
            inference_stats: times,
            batch_stats: [],
            memory_usage: [],
            response_stats: BTreeMap::new(),
        }
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<Key, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
