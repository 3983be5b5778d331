//! The stage under test: one long-lived instance, which never serves requests, and the handles that read its memory
//! between calls.
//!
//! The component runs unmodified. The engine's debugging interface (`Config::guest_debug`) gives handles to memories
//! and globals that are not exported. A core dump after a trap has the same contents, but in wasmtime 48 a trap closes
//! the whole store to further calls (`components.trapped`), so a dump is only possible at the end.

mod clock;
mod error;
mod outcomes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Global, Memory, Module, Store, UpdateDeadline};

use plimsoll_runtime::cap::Meter;
use plimsoll_runtime::component::exports::Interface;
use plimsoll_runtime::component::{Artifact, ArtifactError, CompiledCache, Preparer};
use plimsoll_runtime::engine::Runtime;
use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::stage::call::StageExport;
use plimsoll_runtime::stage::error::DeadlinePassed;
use plimsoll_runtime::stage::guest_clock::GuestClock;
use plimsoll_runtime::stage::lifecycle::{LIFECYCLE, call_init};
use plimsoll_runtime::stage::store::allow_many_calls;
use plimsoll_runtime::stage::{Failure, Limits, Request, StageEnvironment, StageError, StoreState};

use self::clock::Clock;
use super::corpus::{Feed, Sample};
use super::javascript::Engine;
use super::language::collected_language;
use super::module::CoreModule;
use super::python::collector::Collector;
use super::python::interpreter::Python;
pub use error::SubjectError;
pub use outcomes::{outcome, survives};

/// A plugin compiled for the laboratory. Any number of subjects can be created from it.
pub struct PluginUnderTest {
    /// The plugin.
    pub artifact: Artifact,
    /// The plugin's core module.
    pub module: CoreModule,
    /// The component's other core modules: libraries and adapters.
    pub libraries: Vec<CoreModule>,
    /// The kind of stage.
    pub kind: StageKind,
    /// The language, if its memory is freed by a collector and it is not Python.
    pub language: Option<&'static str>,
    runtime: Runtime,
    pre: InstancePre<StoreState>,
    export: StageExport,
    environment: StageEnvironment,
    limits: Limits,
    has_init: bool,
}

impl PluginUnderTest {
    /// Compiles a plugin as a stage of one kind, or takes it from `cache`. Its subjects get `environment` and `limits`.
    ///
    /// # Errors
    /// If the component is not a plugin of that kind; the message names what is missing.
    pub fn new(
        artifact: Artifact,
        kind: StageKind,
        environment: StageEnvironment,
        limits: Limits,
        cache: Option<CompiledCache>,
    ) -> Result<Self, SubjectError> {
        let runtime = Runtime::with_guest_debug().map_err(SubjectError::Engine)?;
        let preparer = Preparer::new(&runtime, cache.map(Arc::new)).map_err(SubjectError::Compiler)?;
        let bytes = artifact.component()?;
        let module = CoreModule::of_component(&bytes)?;
        let libraries = CoreModule::libraries(&bytes)?;
        let component = tokio::task::block_in_place(|| preparer.compile_or_load(&artifact))?;
        let pre = preparer.link(&component, kind)?;
        let export = StageExport::new(&pre, kind).map_err(SubjectError::World)?;
        let has_init = interface(&bytes).has_export(LIFECYCLE);
        let language = collected_language(&bytes, &module);
        Ok(Self { artifact, module, libraries, kind, language, runtime, pre, export, environment, limits, has_init })
    }

    /// The kinds of stage that a component can be.
    ///
    /// # Errors
    /// If the bytes are not a component.
    pub fn kinds(artifact: &Artifact) -> Result<Vec<StageKind>, ArtifactError> {
        let bytes = artifact.component()?;
        Ok(interface(&bytes).kinds())
    }

    /// Creates a fresh instance and runs `init` in it.
    ///
    /// # Errors
    /// If the instance does not start, or `init` fails.
    pub async fn subject(&self) -> Result<Subject<'_>, SubjectError> {
        let meter = Arc::new(Meter::default());
        let (time, scheduler) = (GuestClock::default(), &self.runtime.scheduler);
        let state =
            StoreState::with_clock(&time, &self.environment, self.limits, Arc::clone(&meter), scheduler, "leak");
        let mut store = Store::new(&self.runtime.engine, state);
        store.limiter(|state| state.cap());
        store.set_hostcall_fuel(usize::MAX);
        // The resources that a leak holds are found only after some hundred calls.
        allow_many_calls(&mut store);
        let clock = Clock::default();
        clock.allow(self.limits.init_deadline.max(self.limits.deadline));
        let deadline = clock.clone();
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            if deadline.has_passed() { Err(DeadlinePassed.into()) } else { Ok(UpdateDeadline::Yield(1)) }
        });
        let failed = |error: wasmtime::Error| SubjectError::Start(StageError::from_wasmtime(&error));
        let instance = self.pre.instantiate_async(&mut store).await.map_err(failed)?;
        meter.mark_initial();
        if self.has_init {
            call_init(&mut store, &instance).await.map_err(failed)?.map_err(SubjectError::Init)?;
        }
        let (module, memory, stack_pointer) = self.handles(&mut store)?;
        let python = Python::find(memory.data(&store));
        let collector = if python.is_some() { Collector::find(&mut store) } else { None };
        let engine = if self.language.is_some() { Engine::find(memory.data(&store)) } else { None };
        Ok(Subject {
            plugin: self,
            store,
            instance,
            meter,
            clock,
            time,
            module,
            memory,
            stack_pointer,
            python,
            collector,
            engine,
            calls: 0,
        })
    }

    /// The compiled form of [`PluginUnderTest::module`], and the memory and stack pointer of its instance.
    fn handles(&self, store: &mut Store<StoreState>) -> Result<(Module, Memory, Option<Global>), SubjectError> {
        for instance in store.debug_all_instances() {
            let module = instance.module(&*store).clone();
            if exports(&module) != self.module.exports {
                continue;
            }
            let Some(memory) = instance.debug_memory(&mut *store, 0) else { continue };
            let global = self.module.stack_pointer.and_then(|(index, _)| instance.debug_global(&mut *store, index));
            return Ok((module, memory, global));
        }
        Err(SubjectError::NoMemory)
    }
}

/// The names of a module's exported functions.
fn exports(module: &Module) -> Vec<String> {
    let functions = module.exports().filter(|export| export.ty().func().is_some());
    functions.map(|export| export.name().to_owned()).collect()
}

/// One long-lived instance.
pub struct Subject<'a> {
    plugin: &'a PluginUnderTest,
    pub(super) store: Store<StoreState>,
    instance: Instance,
    meter: Arc<Meter>,
    clock: Clock,
    /// The clocks of the guest.
    time: GuestClock,
    /// The compiled core module, for breakpoints.
    pub(super) module: Module,
    memory: Memory,
    stack_pointer: Option<Global>,
    /// The Python interpreter in memory.
    pub(super) python: Python,
    collector: Option<Collector>,
    /// The engine of JavaScript in memory.
    pub(super) engine: Option<Engine>,
    calls: u64,
}

impl Subject<'_> {
    /// Runs the stage on a sample. After a trap or an exceeded limit the subject cannot be called again.
    ///
    /// # Errors
    /// If the stage reports a failure, traps, or exceeds a limit.
    pub async fn call(&mut self, sample: &Sample) -> Result<(), StageError> {
        self.calls += 1;
        let request = sample.request(format!("leak-{:08}", self.calls));
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
            (StageExport::Transform(export), Feed::Bundle(input)) => {
                export.call(store, instance, request, input.clone()).await?.map(drop)
            }
            (StageExport::Postprocess(export), Feed::Outputs(outputs, context)) => {
                export.call(store, instance, request, outputs.clone(), context).await?.map(drop)
            }
            _ => return Err(wasmtime::Error::msg("the sample is not an input of this kind of stage")),
        })
    }

    /// Advances the guest's clocks.
    pub fn advance(&self, time: Duration) {
        self.time.advance(time);
    }

    /// Makes the collector of the guest's language run during the next call, if it can only run then.
    pub fn ask_for_collection(&mut self) {
        if let Some(engine) = &mut self.engine {
            engine.ask(self.memory.data_mut(&mut self.store));
        }
    }

    /// Bytes of the objects that the engine of the guest's language holds outside of the allocator's blocks.
    pub fn object_bytes(&self) -> u64 {
        self.engine.as_ref().map_or(0, |engine| engine.object_bytes(self.memory()))
    }

    /// Bytes of the buffers of these objects, of which some are blocks of the allocator.
    pub fn buffer_bytes(&self) -> u64 {
        self.engine.as_ref().map_or(0, |engine| engine.buffer_bytes(self.memory()))
    }

    /// Runs the collector of the guest's language, or sees whether it ran during the last call. Returns false if there is
    /// none, or none can be reached.
    ///
    /// # Errors
    /// If it traps. The subject cannot be called again then.
    pub async fn collect(&mut self) -> Result<bool, StageError> {
        if let Some(engine) = &mut self.engine {
            return Ok(engine.has_collected(self.memory.data_mut(&mut self.store)));
        }
        let Some(collector) = self.collector.clone() else { return Ok(false) };
        self.clock.allow(self.plugin.limits.deadline);
        let collected = collector.run(&mut self.store).await;
        collected.map(|()| true).map_err(|error| StageError::from_wasmtime(&error))
    }

    /// The compiled form of each of the plugin's libraries; `None` for one that is not instantiated.
    pub(super) fn libraries(&mut self) -> Vec<Option<Module>> {
        let compiled: Vec<_> = self.store.debug_all_modules();
        let find = |library: &CoreModule| compiled.iter().find(|module| exports(module) == library.exports).cloned();
        self.plugin.libraries.iter().map(find).collect()
    }

    /// The current contents of linear memory.
    pub fn memory(&self) -> &[u8] {
        self.memory.data(&self.store)
    }

    /// Bytes of tensors that the host holds for the instance, because the guest has not dropped their handles.
    pub fn host_bytes(&self) -> u64 {
        self.store.data().tensor_bytes()
    }

    /// Number of resources of the host to which the instance has handles, by kind.
    pub fn resources(&mut self) -> BTreeMap<&'static str, u64> {
        self.store.data_mut().resources()
    }

    /// Bytes of all linear memories.
    pub fn linear_bytes(&self) -> u64 {
        self.meter.usage().high_water
    }

    /// The start of the live part of the stack. It ends at the value that the stack pointer has while no call runs.
    pub fn stack_pointer(&mut self) -> Option<u32> {
        let global = self.stack_pointer?;
        global.get(&mut self.store).i32().map(i32::cast_unsigned)
    }
}

/// The interface of a component; empty if it cannot be read.
fn interface(component: &[u8]) -> Interface {
    Interface::read(component).unwrap_or_default()
}
