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

use plimsoll_runtime::cap::Meter;
use plimsoll_runtime::component::exports::Interface;
use plimsoll_runtime::component::{Artifact, Preparer};
use plimsoll_runtime::engine::Runtime;
use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::call::StageExport;
use plimsoll_runtime::stage::error::DeadlinePassed;
use plimsoll_runtime::stage::lifecycle::{LIFECYCLE, call_init};
use plimsoll_runtime::stage::{Failure, Limits, Request, StageEnvironment, StageError, StoreState};

use super::corpus::{Feed, Sample};
use super::module::CoreModule;

/// A plugin compiled for the laboratory: any number of subjects are made of it.
pub struct PluginUnderTest {
    /// Which plugin.
    pub artifact: Artifact,
    /// What its core module says of itself.
    pub module: CoreModule,
    /// The kind of stage.
    pub kind: StageKind,
    runtime: Runtime,
    pre: InstancePre<StoreState>,
    export: StageExport,
    environment: StageEnvironment,
    limits: Limits,
    has_init: bool,
}

impl PluginUnderTest {
    /// Compiles a plugin as a stage of one kind, with the deployment and the limits that its subjects get.
    ///
    /// # Errors
    /// When it is no plugin of that kind; the message names what is missing.
    pub fn new(
        artifact: Artifact,
        kind: StageKind,
        environment: StageEnvironment,
        limits: Limits,
    ) -> Result<Self, String> {
        let runtime = Runtime::with_guest_debug().map_err(|error| format!("the engine does not start: {error:#}"))?;
        let preparer = Preparer::new(&runtime, None).map_err(|error| format!("{error:#}"))?;
        let bytes = artifact.component().map_err(|error| error.to_string())?;
        let module = CoreModule::of_component(&bytes)?;
        let component =
            tokio::task::block_in_place(|| preparer.compile(&artifact)).map_err(|error| error.to_string())?;
        let pre = preparer.link(&component, kind).map_err(|error| error.to_string())?;
        let export = StageExport::new(&pre, kind).map_err(|error| format!("does not fit its world: {error:#}"))?;
        let has_init = interface(&bytes).has_export(LIFECYCLE);
        Ok(Self { artifact, module, kind, runtime, pre, export, environment, limits, has_init })
    }

    /// The kinds of stage that a component can be.
    ///
    /// # Errors
    /// If the bytes are not a component.
    pub fn kinds(artifact: &Artifact) -> Result<Vec<StageKind>, String> {
        let bytes = artifact.component().map_err(|error| error.to_string())?;
        Ok(interface(&bytes).kinds())
    }

    /// A fresh instance, with `init` run in it.
    ///
    /// # Errors
    /// When it does not start, or `init` fails.
    pub async fn subject(&self) -> Result<Subject<'_>, String> {
        let meter = Arc::new(Meter::default());
        let state =
            StoreState::new(&self.environment, self.limits, Arc::clone(&meter), &self.runtime.scheduler, "leak");
        let mut store = Store::new(&self.runtime.engine, state);
        store.limiter(|state| state.cap());
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

    /// The core instance whose module is [`PluginUnderTest::module`], and its memory and stack pointer.
    fn handles(&self, store: &mut Store<StoreState>) -> Result<(Module, Memory, Option<Global>), String> {
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
    plugin: &'a PluginUnderTest,
    pub(super) store: Store<StoreState>,
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

    async fn run(&mut self, request: &Request, feed: &Feed) -> wasmtime::Result<Result<(), Failure>> {
        let (store, instance) = (&mut self.store, &self.instance);
        Ok(match (&self.plugin.export, feed) {
            (StageExport::Preprocess(export), Feed::Body(body)) => {
                export.call(store, instance, request, body).await?.map(drop)
            }
            (StageExport::Infer(export), Feed::Inputs(inputs)) => {
                export.call(store, instance, request, inputs.clone()).await?.map(drop)
            }
            (StageExport::Postprocess(export), Feed::Outputs(outputs, context)) => {
                export.call(store, instance, request, outputs.clone(), context).await?.map(drop)
            }
            _ => return Err(wasmtime::Error::msg("the sample is not an input of this kind of stage")),
        })
    }

    /// The linear memory as it is now.
    pub fn memory(&self) -> &[u8] {
        self.memory.data(&self.store)
    }

    /// Bytes of tensors that the host holds for the instance: those whose handles the guest has let go are not among
    /// them.
    pub fn host_bytes(&self) -> u64 {
        self.store.data().tensor_bytes()
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

/// The interface of a component; empty if it cannot be read.
fn interface(component: &[u8]) -> Interface {
    Interface::read(component).unwrap_or_default()
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
