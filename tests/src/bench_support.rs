//! Stage runs outside of the request path: reused instances, which show leaks that fresh instances hide, and bare calls
//! for benchmarks.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::records::{RequestRecord, RequestStart};
use plimsoll::serve::App;
use plimsoll_runtime::cap::{Meter, Usage};
use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::scheduling::Scheduler;
use plimsoll_runtime::stage::call::Prepared;
use plimsoll_runtime::stage::code::Code;
use plimsoll_runtime::stage::linker::linker;
use plimsoll_runtime::stage::store::{set_cap, set_deadline};
use plimsoll_runtime::stage::{
    InferStage, Limits, PostprocessStage, PreprocessStage, Reply, Request, StageCore, StageEnvironment, StoreState,
};
use plimsoll_runtime::tensor::Tensors;
use wasmtime::component::{Component, Instance, InstancePre};
use wasmtime::{Engine, Store};

/// Long enough for every call of a test or a benchmark on one instance.
const ONE_DAY: Duration = Duration::from_secs(86_400);

/// A number of epoch ticks so large that the guest never reaches its deadline.
const NEVER: u64 = u64::MAX / 2;

/// Runs preprocessing on every body in **one** instance, which no request does. Returns the memory usage after each
/// body.
///
/// # Errors
/// The first trap or exceeded limit. A failure that the plugin returns does not end the sequence.
pub async fn preprocess_in_one_instance(stage: &PreprocessStage, bodies: &[&[u8]]) -> wasmtime::Result<Vec<Usage>> {
    let meter = Arc::new(Meter::default());
    let code = stage.code();
    let mut store = stage.new_store(&code, Arc::clone(&meter), "", Instant::now() + stage.limits.deadline);
    let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
    let instance = stage.instantiate(&code, &mut store).await?;
    let export = PreprocessStage::export(&code)?;
    let mut usages = Vec::with_capacity(bodies.len());
    for body in bodies {
        let _ = export.call(&mut store, &instance, &request, body).await?;
        usages.push(meter.usage());
    }
    Ok(usages)
}

/// The data of a store for [`preprocess_bare`].
pub fn bare_state(stage: &StageCore) -> StoreState {
    StoreState::new(stage.environment(), stage.limits, Arc::default(), &stage.scheduler, "")
}

/// Only the wasmtime calls of one preprocess run: store, instantiate, call, drop. There is no cap, no deadline and no
/// report, so the difference to a real run is the cost of the host.
///
/// # Errors
/// If a call fails.
pub async fn preprocess_bare(
    stage: &PreprocessStage,
    state: StoreState,
    request: &Request,
    body: &[u8],
) -> wasmtime::Result<()> {
    let code = stage.code();
    let mut store = Store::new(code.instance_pre.engine(), state);
    // Without a deadline far in the future, the guest would end at the first epoch tick.
    store.set_epoch_deadline(NEVER);
    let instance = code.instance_pre.instantiate_async(&mut store).await?;
    PreprocessStage::export(&code)?.call(&mut store, &instance, request, body).await.map(drop)
}

/// The part of a store that is left out, to measure its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// Nothing is left out.
    Nothing,
    /// The cap on linear memories and tables.
    Cap,
    /// The deadline: the check that a guest makes at every epoch tick.
    Deadline,
}

/// The store for one run of a plugin that has no settings and no model.
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
/// If the instance cannot be created.
pub async fn instantiate_in(mut store: Store<StoreState>, pre: &InstancePre<StoreState>) -> wasmtime::Result<()> {
    pre.instantiate_async(&mut store).await.map(drop)
}

/// A store and an instance that serve one call after another, which no request does. The difference to a real run is
/// the cost of fresh instances.
pub struct ReusedInstance<'a, S> {
    stage: PhantomData<&'a S>,
    code: Arc<Code>,
    store: Store<StoreState>,
    instance: Instance,
}

impl<'a, S: std::ops::Deref<Target = StageCore>> ReusedInstance<'a, S> {
    /// Instantiates a stage with a deadline of one day.
    ///
    /// # Errors
    /// If the instance cannot be created.
    pub async fn new(stage: &'a S) -> wasmtime::Result<Self> {
        Self::of_code(stage, stage.code()).await
    }

    /// Instantiates a component with the settings of a stage, in an engine of its own. `init` runs first.
    ///
    /// # Errors
    /// If the component cannot be compiled, or the instance cannot be created.
    pub async fn in_engine(
        stage: &'a S,
        kind: StageKind,
        component: &[u8],
        config: &wasmtime::Config,
    ) -> wasmtime::Result<Self> {
        let engine = Engine::new(config)?;
        let pre = linker(&engine)?.instantiate_pre(&Component::new(&engine, component)?)?;
        let code = Code::new(pre, kind, Some("there is no snapshot of it".into()))?;
        Self::of_code(stage, Arc::new(code)).await
    }

    async fn of_code(stage: &'a S, code: Arc<Code>) -> wasmtime::Result<Self> {
        let mut store = stage.new_store(&code, Arc::default(), "", Instant::now() + ONE_DAY);
        let instance = stage.instantiate(&code, &mut store).await?;
        Ok(Self { stage: PhantomData, code, store, instance })
    }
}

/// Turns a failure that the plugin returned into an error.
fn answered<T>(answer: Result<T, plimsoll_runtime::stage::Failure>) -> wasmtime::Result<T> {
    answer.map_err(|failure| wasmtime::format_err!("{failure:?}"))
}

impl ReusedInstance<'_, PreprocessStage> {
    /// Like [`PreprocessStage::run`].
    ///
    /// # Errors
    /// A trap, or a failure that the plugin returned.
    pub async fn preprocess(&mut self, request: &Request, body: &[u8]) -> wasmtime::Result<Prepared> {
        let schedule = Arc::clone(self.store.data().schedule());
        let call = PreprocessStage::export(&self.code)?.call(&mut self.store, &self.instance, request, body);
        answered(schedule.run_guest(call).await?)
    }
}

impl ReusedInstance<'_, InferStage> {
    /// Like [`InferStage::run`].
    ///
    /// # Errors
    /// A trap, or a failure that the plugin returned.
    pub async fn infer(&mut self, request: &Request, inputs: Tensors) -> wasmtime::Result<Tensors> {
        let schedule = Arc::clone(self.store.data().schedule());
        let call = InferStage::export(&self.code)?.call(&mut self.store, &self.instance, request, inputs);
        answered(schedule.run_guest(call).await?)
    }
}

impl ReusedInstance<'_, PostprocessStage> {
    /// Like [`PostprocessStage::run`].
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
        let call =
            PostprocessStage::export(&self.code)?.call(&mut self.store, &self.instance, request, outputs, context);
        answered(schedule.run_guest(call).await?)
    }
}

/// A request record like the one that a route creates.
pub fn request_record(
    app: &App,
    pipeline: &str,
    chip: &str,
    deadline: Duration,
    caller: Option<&[u8]>,
) -> RequestRecord {
    let start = RequestStart {
        id: String::new(),
        pipeline,
        chip,
        deadline,
        model: None,
        canary_side: None,
        caller,
        origin: None,
        headers: None,
    };
    RequestRecord::start(start, &app.records)
}
