//! Runs that no request makes: reused instances, which show what fresh ones hide, and bare calls for benchmarks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::records::{RequestRecord, RequestStart};
use plimsoll::serve::App;
use plimsoll_runtime::cap::{Meter, Usage};
use plimsoll_runtime::scheduling::Scheduler;
use plimsoll_runtime::stage::call::Prepared;
use plimsoll_runtime::stage::core::{Limits, StageCore};
use plimsoll_runtime::stage::store::{set_cap, set_deadline};
use plimsoll_runtime::stage::{
    InferStage, PostprocessStage, PreprocessStage, Reply, Request, StageEnvironment, StoreState,
};
use plimsoll_runtime::tensor::Tensors;
use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Engine, Store};

/// Long enough for every call of a test or a benchmark on one instance.
const ONE_DAY: Duration = Duration::from_secs(86_400);

/// So many epoch ticks that the guest never reaches its deadline.
const NEVER: u64 = u64::MAX / 2;

/// Runs preprocessing on each body in **one** instance, as no request does, and returns the memory held after each.
///
/// # Errors
/// The first trap or limit. A failure that the plugin returns ends nothing.
pub async fn preprocess_in_one_instance(stage: &PreprocessStage, bodies: &[&[u8]]) -> wasmtime::Result<Vec<Usage>> {
    let meter = Arc::new(Meter::default());
    let mut store = stage.new_store(Arc::clone(&meter), "", Instant::now() + stage.limits.deadline);
    let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
    let instance = stage.instantiate(&mut store).await?;
    let mut usages = Vec::with_capacity(bodies.len());
    for body in bodies {
        let _ = stage.export().call(&mut store, &instance, &request, body).await?;
        usages.push(meter.usage());
    }
    Ok(usages)
}

/// The data of a store for [`preprocess_bare`].
pub fn bare_state(stage: &StageCore) -> StoreState {
    StoreState::new(stage.environment(), stage.limits, Arc::default(), &stage.scheduler, "")
}

/// The bare wasmtime calls of one preprocess run: store, instantiate, call, drop. There is no cap, no deadline and no
/// report, so the difference to a real run is the cost of the host.
///
/// # Errors
/// Why a call failed.
pub async fn preprocess_bare(
    stage: &PreprocessStage,
    state: StoreState,
    request: &Request,
    body: &[u8],
) -> wasmtime::Result<()> {
    let mut store = Store::new(stage.instance_pre.engine(), state);
    // Without a deadline far in the future, the guest would end at the first epoch tick.
    store.set_epoch_deadline(NEVER);
    let instance = stage.instance_pre.instantiate_async(&mut store).await?;
    stage.export().call(&mut store, &instance, request, body).await.map(drop)
}

/// A part of a store that can be left out, to measure its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// Nothing is left out.
    Nothing,
    /// The cap on linear memories and tables.
    Cap,
    /// The deadline: what a guest does at an epoch tick.
    Deadline,
}

/// The store of a run of a plugin without settings and model.
pub fn store_without(
    engine: &Engine,
    scheduler: &Arc<Scheduler>,
    limits: Limits,
    without: Without,
) -> Store<StoreState> {
    let state = StoreState::new(&StageEnvironment::default(), limits, Arc::default(), scheduler, "");
    let mut store = Store::new(engine, state);
    if without != Without::Cap {
        set_cap(&mut store);
    }
    match without {
        Without::Deadline => store.set_epoch_deadline(NEVER),
        _ => set_deadline(&mut store, Instant::now() + limits.deadline),
    }
    store
}

/// Instantiates a linked component in a store, and drops both.
///
/// # Errors
/// Why the instance could not be created.
pub async fn instantiate_in(mut store: Store<StoreState>, pre: &InstancePre<StoreState>) -> wasmtime::Result<()> {
    pre.instantiate_async(&mut store).await.map(drop)
}

/// A store and an instance that serve one call after another, as no request has them: the difference to a real run is
/// the cost of fresh instances.
pub struct ReusedInstance<'a, S> {
    stage: &'a S,
    store: Store<StoreState>,
    instance: Instance,
}

impl<'a, S: std::ops::Deref<Target = StageCore>> ReusedInstance<'a, S> {
    /// Instantiates a stage for calls within one day.
    ///
    /// # Errors
    /// Why the instance could not be created.
    pub async fn new(stage: &'a S) -> wasmtime::Result<Self> {
        let mut store = stage.new_store(Arc::default(), "", Instant::now() + ONE_DAY);
        let instance = stage.instantiate(&mut store).await?;
        Ok(Self { stage, store, instance })
    }
}

/// The answer of a call, or an error for a failure that the plugin returned.
fn answered<T>(answer: Result<T, plimsoll_runtime::stage::Failure>) -> wasmtime::Result<T> {
    answer.map_err(|failure| wasmtime::format_err!("{failure:?}"))
}

impl ReusedInstance<'_, PreprocessStage> {
    /// As [`PreprocessStage::run`].
    ///
    /// # Errors
    /// A trap, or a failure that the plugin returned.
    pub async fn preprocess(&mut self, request: &Request, body: &[u8]) -> wasmtime::Result<Prepared> {
        let schedule = Arc::clone(self.store.data().schedule());
        let call = self.stage.export().call(&mut self.store, &self.instance, request, body);
        answered(schedule.run_guest(call).await?)
    }
}

impl ReusedInstance<'_, InferStage> {
    /// As [`InferStage::run`].
    ///
    /// # Errors
    /// A trap, or a failure that the plugin returned.
    pub async fn infer(&mut self, request: &Request, inputs: Tensors) -> wasmtime::Result<Tensors> {
        let schedule = Arc::clone(self.store.data().schedule());
        let call = self.stage.export().call(&mut self.store, &self.instance, request, inputs);
        answered(schedule.run_guest(call).await?)
    }
}

impl ReusedInstance<'_, PostprocessStage> {
    /// As [`PostprocessStage::run`].
    ///
    /// # Errors
    /// A trap, or a failure that the plugin returned.
    pub async fn postprocess(
        &mut self,
        request: &Request,
        outputs: Tensors,
        context: &[u8],
    ) -> wasmtime::Result<Reply> {
        let schedule = Arc::clone(self.store.data().schedule());
        let call = self.stage.export().call(&mut self.store, &self.instance, request, outputs, context);
        answered(schedule.run_guest(call).await?)
    }
}

/// The record of a request, as a route starts it.
pub fn request_record(
    app: &App,
    pipeline: &str,
    chip: &str,
    deadline: Duration,
    caller: Option<&[u8]>,
) -> RequestRecord {
    let start = RequestStart { id: String::new(), pipeline, chip, deadline, model: None, canary_side: None, caller };
    RequestRecord::start(start, &app.records)
}
