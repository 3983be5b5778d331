//! One run of a stage: a fresh store, instantiate, call, drop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Store, UpdateDeadline};

use super::bindings::inferencer::InferencerIndices;
use super::bindings::postprocessor::PostprocessorIndices;
use super::bindings::preprocessor::PreprocessorIndices;
use super::bindings::{Failure, Reply, Request};
use super::cap::Meter;
use super::foresight::Foresight;
use super::outcome::{DeadlinePassed, OutputLimit, StageError};
use super::state::{Deployment, State};
use crate::nn::Tensor;
use crate::nn::model::Signature;
use crate::stage::bindings::imports::wasi::nn::errors::ErrorCode;
use crate::trace::Trace;

/// The name of the optional export.
pub const LIFECYCLE: &str = "plimsoll:stage/lifecycle@0.1.0";

/// What a stage run may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The cap over the sum of all linear memories, in bytes; it bounds the tensors that the stage makes too.
    pub max_memory: u64,
    /// The time of one run, waiting for the backend included.
    pub deadline: Duration,
    /// The time of `init`, which runs once at deployment.
    pub init_deadline: Duration,
    /// Bytes of a reply, and of a context.
    pub max_output: u64,
}

/// Named tensors on their way from one stage to the next.
pub type Tensors = Vec<(String, Tensor)>;

/// A plugin with its deployment, ready to be instantiated for every request.
pub struct Stage {
    /// The plugin, for labels and replies.
    pub plugin: crate::plugin::Identity,
    /// `preprocess`, `infer` or `postprocess`.
    pub name: &'static str,
    /// What one run may use.
    pub limits: Limits,
    pub(super) instance_pre: InstancePre<State>,
    pub(super) export: Export,
    pub(super) deployment: Deployment,
    /// True where `init` could not be snapshotted and runs in every instance.
    init_each: bool,
    foresight: Foresight,
}

/// The export of each kind of stage, looked up and type-checked once.
pub enum Export {
    /// World `preprocessor`.
    Preprocess(PreprocessorIndices),
    /// World `inferencer`.
    Infer(InferencerIndices),
    /// World `postprocessor`.
    Postprocess(PostprocessorIndices),
}

impl Stage {
    /// Puts a stage together; `export` must be that of a world of the kind `name`.
    pub fn new(
        plugin: crate::plugin::Identity,
        name: &'static str,
        limits: Limits,
        (instance_pre, export): (InstancePre<State>, Export),
        deployment: Deployment,
        init_each: bool,
    ) -> Self {
        let foresight = Foresight::default();
        Self { plugin, name, limits, instance_pre, export, deployment, init_each, foresight }
    }

    /// What its plugin is given.
    pub(crate) fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// All that decides what it answers, as text.
    pub fn fingerprint(&self) -> String {
        format!("{} {} {:?} {}", self.name, self.plugin.digest, self.limits, self.deployment.fingerprint())
    }

    /// Inputs and outputs of its model, where it has one.
    pub fn signatures(&self) -> Option<(&[Signature], &[Signature])> {
        self.deployment.model().map(|model| (model.inputs(), model.outputs()))
    }

    /// Holds tensors against its model, where it has one.
    ///
    /// # Errors
    /// The model, the input, and what was expected and given.
    pub fn check_inputs(&self, inputs: &Tensors) -> Result<(), String> {
        self.deployment.model().map_or(Ok(()), |model| model.check(inputs))
    }

    /// Whether this stage is what would be built of the same plugin with this deployment and these limits.
    pub fn is(&self, plugin: &crate::plugin::Identity, name: &str, limits: &Limits, deployment: &Deployment) -> bool {
        self.plugin == *plugin && self.name == name && self.limits == *limits && self.deployment.same(deployment)
    }

    /// Runs preprocessing on a body; gives the model's inputs and the context.
    ///
    /// # Errors
    /// How the stage ended instead.
    pub async fn preprocess(
        &self,
        trace: &mut Trace,
        request: &Request,
        body: &[u8],
    ) -> Result<(Tensors, Vec<u8>), StageError> {
        let Export::Preprocess(export) = &self.export else { unreachable!("built for its kind") };
        self.run(trace, request, Some(body.len()), async |store, limits| {
            let instance = self.instantiate(store).await?;
            let plugin = export.load(&mut *store, &instance)?;
            let answer = plugin.plimsoll_stage_preprocess().call_run(&mut *store, request, body).await?;
            answer
                .map(|prepared| {
                    check_output(prepared.context.len(), limits)?;
                    Ok((store.data_mut().take_tensors(prepared.tensors)?, prepared.context))
                })
                .transpose_failure()
        })
        .await
    }

    /// Runs inference on the model's inputs; gives its outputs.
    ///
    /// # Errors
    /// How the stage ended instead.
    pub async fn infer(&self, trace: &mut Trace, request: &Request, inputs: Tensors) -> Result<Tensors, StageError> {
        let Export::Infer(export) = &self.export else { unreachable!("built for its kind") };
        self.run(trace, request, None, async move |store, _| {
            let instance = self.instantiate(store).await?;
            let plugin = export.load(&mut *store, &instance)?;
            let inputs = store.data_mut().push_tensors(inputs)?;
            let answer = plugin.plimsoll_stage_infer().call_run(&mut *store, request, &inputs).await?;
            answer.map(|outputs| store.data_mut().take_tensors(outputs)).transpose_failure()
        })
        .await
    }

    /// Runs postprocessing on the model's outputs and the context of preprocessing; gives the reply.
    ///
    /// # Errors
    /// How the stage ended instead.
    pub async fn postprocess(
        &self,
        trace: &mut Trace,
        request: &Request,
        outputs: Tensors,
        context: &[u8],
    ) -> Result<Reply, StageError> {
        let Export::Postprocess(export) = &self.export else { unreachable!("built for its kind") };
        self.run(trace, request, None, async move |store, limits| {
            let instance = self.instantiate(store).await?;
            let plugin = export.load(&mut *store, &instance)?;
            let outputs = store.data_mut().push_tensors(outputs)?;
            let answer = plugin.plimsoll_stage_postprocess().call_run(&mut *store, request, &outputs, context).await?;
            answer.map(|reply| check_output(reply.body.len(), limits).map(|()| reply)).transpose_failure()
        })
        .await
    }

    /// What every run has in common: the store, the deadlines, and the report of how it ended. `body` is how many bytes it
    /// is given, where that decides how long it computes.
    async fn run<R>(
        &self,
        trace: &mut Trace,
        request: &Request,
        body: Option<usize>,
        call: impl AsyncFnOnce(&mut Store<State>, &Limits) -> wasmtime::Result<Result<R, Failure>>,
    ) -> Result<R, StageError> {
        let meter = Arc::new(Meter::default());
        let started = Instant::now();
        let deadline = trace.deadline().min(started + self.limits.deadline);
        // Dropped on every way out of here; while `finish` has not been called that way is a disconnect.
        let guard = trace.enter(self, Arc::clone(&meter), started);

        if started >= deadline {
            let error = StageError::deadline();
            guard.finish(Some(&error));
            return Err(error);
        }
        let mut store = self.store(meter, &request.id, deadline);
        let turn = Arc::clone(&store.data().turn);
        let call = async {
            if body.is_some_and(|body| self.foresight.is_long(body)) {
                turn.take().await;
            }
            turn.over(call(&mut store, &self.limits)).await
        };
        let answer = match tokio::time::timeout_at(deadline.into(), call).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(failure))) => Err(self.failure(failure, &store)),
            Ok(Err(error)) => Err(StageError::from_wasmtime(&error)),
            Err(_elapsed) => Err(StageError::deadline()),
        };
        if let (Some(body), Ok(_)) = (body, &answer) {
            self.foresight.learn(body, turn.computed());
        }
        let resources = store.data_mut().table.iter_mut().count() as u64;
        store.data().meter.resources_left(resources);
        // The instance goes before the next stage's comes.
        drop(store);
        guard.finish(answer.as_ref().err());
        answer
    }

    /// A failure of a plugin that only passes on what `wasi:nn` said of its tensors is told in the host's words.
    fn failure(&self, failure: Failure, store: &Store<State>) -> StageError {
        match (&failure, &store.data().last_nn_error) {
            (Failure::Internal(_), Some(error)) if error.code == ErrorCode::InvalidArgument => {
                StageError::tensor_mismatch(error.message.clone())
            }
            _ => StageError::from_failure(failure),
        }
    }

    pub(super) fn store(&self, meter: Arc<Meter>, request: &str, deadline: Instant) -> Store<State> {
        let state = State::new(&self.deployment, self.limits, meter, request);
        store(self.instance_pre.engine(), state, deadline)
    }

    /// A fresh instance, with `init` run where no snapshot holds what it leaves.
    pub(super) async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Instance> {
        let instance = self.instance_pre.instantiate_async(&mut *store).await?;
        store.data().meter.mark_initial();
        if self.init_each {
            crate::plugin::call_init(store, &instance).await?.map_err(wasmtime::Error::msg)?;
        }
        Ok(instance)
    }
}

/// A store with its cap and its deadline armed, whose guest takes turns where it computes for long.
pub(crate) fn store(engine: &wasmtime::Engine, state: State, deadline: Instant) -> Store<State> {
    let mut store = Store::new(engine, state);
    arm_cap(&mut store);
    arm_deadline(&mut store, deadline);
    store
}

pub(super) fn arm_cap(store: &mut Store<State>) {
    let hostcall_bytes = usize::try_from(store.data().limits.max_memory).unwrap_or(usize::MAX);
    store.limiter(|state| &mut state.cap);
    // The cap bounds what the guest can hold, so it bounds what one call can hand over.
    store.set_hostcall_fuel(hostcall_bytes.saturating_add(1 << 20));
}

pub(super) fn arm_deadline(store: &mut Store<State>, deadline: Instant) {
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |store| {
        if Instant::now() >= deadline {
            return Err(DeadlinePassed.into());
        }
        Ok(match store.data().turn.tick() {
            None => UpdateDeadline::Continue(1),
            Some(wait) => UpdateDeadline::YieldCustom(1, wait),
        })
    });
}

fn check_output(given: usize, limits: &Limits) -> wasmtime::Result<()> {
    let (given, limit) = (given as u64, limits.max_output);
    if given > limit { Err(OutputLimit { given, limit }.into()) } else { Ok(()) }
}

/// `Result<wasmtime::Result<T>, Failure>` with the host's own error outermost.
trait TransposeFailure<T> {
    fn transpose_failure(self) -> wasmtime::Result<Result<T, Failure>>;
}

impl<T> TransposeFailure<T> for Result<wasmtime::Result<T>, Failure> {
    fn transpose_failure(self) -> wasmtime::Result<Result<T, Failure>> {
        match self {
            Ok(answer) => answer.map(Ok),
            Err(failure) => Ok(Err(failure)),
        }
    }
}
