//! The stage under test: one long-lived instance, which no request ever gets, and the handles through which its
//! memory is read between calls.
//!
//! The component runs unmodified. The engine's debugging interface (`Config::guest_debug`) gives handles to memories
//! and globals that are not exported. A core dump after a trap would give them too, but in wasmtime 48 a trap closes
//! the whole store to further calls (`components.trapped`), so it can only be the last word.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Global, Memory, Module, Store, UpdateDeadline};

use super::corpus::{Feed, Sample};
use super::module::CoreModule;
use crate::engine::Engines;
use crate::plugin::prepare::{call_init, exports};
use crate::plugin::{Artifact, Kind, Preparer};
use crate::stage::bindings::Request;
use crate::stage::cap::Meter;
use crate::stage::outcome::DeadlinePassed;
use crate::stage::run::{Export, LIFECYCLE};
use crate::stage::state::{Deployment, State};
use crate::stage::{Limits, Outcome, StageError};

/// A plugin compiled for the laboratory: any number of subjects are made of it.
pub struct Plugin {
    /// Which plugin.
    pub artifact: Artifact,
    /// What its core module says of itself.
    pub module: CoreModule,
    /// The kind of stage.
    pub kind: Kind,
    engines: Engines,
    pre: InstancePre<State>,
    export: Export,
    deployment: Deployment,
    limits: Limits,
    has_init: bool,
}

impl Plugin {
    /// Compiles a plugin as a stage of one kind, with the deployment and the limits that its subjects get.
    ///
    /// # Errors
    /// When it is no plugin of that kind; the message names what is missing.
    pub fn new(artifact: Artifact, kind: Kind, deployment: Deployment, limits: Limits) -> Result<Self, String> {
        let engines = Engines::laboratory().map_err(|error| format!("the engine does not start: {error:#}"))?;
        let preparer = Preparer::new(&engines.engine, None).map_err(|error| format!("{error:#}"))?;
        let bytes = artifact.component()?;
        let module = CoreModule::of_component(&bytes)?;
        let component =
            tokio::task::block_in_place(|| preparer.compile(&artifact)).map_err(|error| error.to_string())?;
        let (pre, export) = preparer.fit(&component, kind)?;
        let has_init = exports(&bytes, LIFECYCLE);
        Ok(Self { artifact, module, kind, engines, pre, export, deployment, limits, has_init })
    }

    /// The kinds of stage that a component can be.
    ///
    /// # Errors
    /// When it cannot be compiled.
    pub fn kinds(artifact: &Artifact) -> Result<Vec<Kind>, String> {
        let bytes = artifact.component()?;
        Ok(Kind::ALL.into_iter().filter(|kind| exports(&bytes, &kind.interface())).collect())
    }

    /// A fresh instance, with `init` run in it.
    ///
    /// # Errors
    /// When it does not start, or `init` fails.
    pub async fn subject(&self) -> Result<Subject<'_>, String> {
        let meter = Arc::new(Meter::default());
        let state = State::new(&self.deployment, self.limits, Arc::clone(&meter), "leak");
        let mut store = Store::new(&self.engines.engine, state);
        store.limiter(|state| &mut state.cap);
        store.set_hostcall_fuel(usize::MAX);
        let clock = Clock::default();
        clock.allow(self.limits.init_deadline.max(self.limits.deadline));
        let watch = clock.clone();
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            if watch.has_passed() { Err(DeadlinePassed.into()) } else { Ok(UpdateDeadline::Yield(1)) }
        });
        let told = |error: wasmtime::Error| StageError::from_wasmtime(&error).to_string();
        let instance = self.pre.instantiate_async(&mut store).await.map_err(told)?;
        meter.mark_initial();
        if self.has_init {
            call_init(&mut store, &instance)
                .await
                .map_err(told)?
                .map_err(|reason| format!("`init` failed: {reason}"))?;
        }
        let (module, memory, stack_pointer) = self.handles(&mut store)?;
        Ok(Subject { plugin: self, store, instance, meter, clock, module, memory, stack_pointer, calls: 0 })
    }

    /// The core instance whose module is [`Plugin::module`], and its memory and stack pointer.
    fn handles(&self, store: &mut Store<State>) -> Result<(Module, Memory, Option<Global>), String> {
        for instance in store.debug_all_instances() {
            let module = instance.module(&*store).clone();
            let exports: Vec<_> = module
                .exports()
                .filter(|export| export.ty().func().is_some())
                .map(|export| export.name().to_owned())
                .collect();
            if exports != self.module.exports {
                continue;
            }
            let Some(memory) = instance.debug_memory(&mut *store, 0) else { continue };
            let global = self.module.stack_pointer.and_then(|(index, _)| instance.debug_global(&mut *store, index));
            return Ok((module, memory, global));
        }
        Err("the instance has no linear memory that could be looked at".into())
    }
}

/// The end of the call that goes on, in milliseconds since the clock was made.
#[derive(Clone)]
struct Clock {
    made: Instant,
    end: Arc<AtomicU64>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { made: Instant::now(), end: Arc::default() }
    }
}

impl Clock {
    fn allow(&self, time: Duration) {
        self.end.store((self.made.elapsed() + time).as_millis() as u64, Relaxed);
    }

    fn has_passed(&self) -> bool {
        self.made.elapsed().as_millis() as u64 >= self.end.load(Relaxed)
    }
}

/// One long-lived instance.
pub struct Subject<'a> {
    plugin: &'a Plugin,
    pub(super) store: Store<State>,
    instance: Instance,
    meter: Arc<Meter>,
    clock: Clock,
    /// The compiled core module, for breakpoints.
    pub(super) module: Module,
    memory: Memory,
    stack_pointer: Option<Global>,
    calls: u64,
}

impl Subject<'_> {
    /// Runs the stage on a sample. A subject that trapped, or met a limit, answers no further call.
    pub async fn call(&mut self, sample: &Sample) -> Result<(), StageError> {
        self.calls += 1;
        let request = Request {
            id: format!("leak-{:08}", self.calls),
            content_type: None,
            parameters: sample.parameters.clone(),
        };
        self.clock.allow(self.plugin.limits.deadline);
        let answer = self.run(&request, &sample.feed).await;
        match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => Err(StageError::from_failure(failure)),
            Err(error) => Err(StageError::from_wasmtime(&error)),
        }
    }

    async fn run(
        &mut self,
        request: &Request,
        feed: &Feed,
    ) -> wasmtime::Result<Result<(), crate::stage::bindings::Failure>> {
        let store = &mut self.store;
        match (&self.plugin.export, feed) {
            (Export::Preprocess(export), Feed::Body(body)) => {
                let plugin = export.load(&mut *store, &self.instance)?;
                let answer = plugin.plimsoll_stage_preprocess().call_run(&mut *store, request, body).await?;
                let Ok(prepared) = answer else { return Ok(answer.map(drop)) };
                store.data_mut().take_tensors(prepared.tensors)?;
            }
            (Export::Infer(export), Feed::Inputs(inputs)) => {
                let plugin = export.load(&mut *store, &self.instance)?;
                let inputs = store.data_mut().push_tensors(inputs.clone())?;
                let answer = plugin.plimsoll_stage_infer().call_run(&mut *store, request, &inputs).await?;
                let Ok(outputs) = answer else { return Ok(answer.map(drop)) };
                store.data_mut().take_tensors(outputs)?;
            }
            (Export::Postprocess(export), Feed::Outputs(outputs, context)) => {
                let plugin = export.load(&mut *store, &self.instance)?;
                let outputs = store.data_mut().push_tensors(outputs.clone())?;
                let run = plugin.plimsoll_stage_postprocess().call_run(&mut *store, request, &outputs, context);
                return Ok(run.await?.map(drop));
            }
            _ => unreachable!("samples are made for the plugin's kind"),
        }
        Ok(Ok(()))
    }

    /// The linear memory as it is now.
    pub fn memory(&self) -> &[u8] {
        self.memory.data(&self.store)
    }

    /// Bytes of tensors that the host holds for the instance: those whose handles the guest has let go are not among
    /// them.
    pub fn host_bytes(&self) -> u64 {
        self.store.data().tensor_bytes
    }

    /// Bytes of all linear memories.
    pub fn linear_bytes(&self) -> u64 {
        self.meter.usage().high_water
    }

    /// Where the live part of the stack begins; it ends at the stack pointer's value at rest.
    pub fn stack_pointer(&mut self) -> Option<u32> {
        let global = self.stack_pointer?;
        global.get(&mut self.store).i32().map(i32::cast_unsigned)
    }
}

/// The word for how a call ended.
pub fn outcome(result: &Result<(), StageError>) -> Outcome {
    result.as_ref().map_or_else(|error| error.outcome, |()| Outcome::Ok)
}

/// Whether an instance may be called again after a call that ended so.
pub fn survives(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Ok
            | Outcome::UnsupportedMediaType
            | Outcome::InvalidInput
            | Outcome::TooLarge
            | Outcome::Internal
            | Outcome::TensorMismatch
    )
}
