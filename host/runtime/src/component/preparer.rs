//! From an artifact to a stage: compile (or load compiled code), check the world, run `init`, take a snapshot.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use wasmtime::component::{Component, Instance, InstancePre, Linker};
use wasmtime::{Engine, Store};

use super::artifact::Artifact;
use super::compiled_cache::{CompiledCache, EntryName, Note};
use super::error::{ComponentError, Rejection};
use super::exports::Interface;
use super::function_size;
use super::proposals;
use super::snapshot::{self, NoSnapshot};
use crate::cap::Meter;
use crate::engine::Runtime;
use crate::identity::{Identity, digest};
use crate::kind::{StageKind, StageName};
use crate::scheduling::Scheduler;
use crate::stage::call::StageExport;
use crate::stage::core::{StageCore, StageParts};
use crate::stage::lifecycle::{LIFECYCLE, call_init};
use crate::stage::limits::Limits;
use crate::stage::linker::linker;
use crate::stage::store::new_store;
use crate::stage::{StageEnvironment, StageError, StoreState};

mod ahead;

/// Compiles components for one engine, at a low priority, and keeps the compiled code.
pub struct Preparer {
    engine: Engine,
    scheduler: Arc<Scheduler>,
    linker: Linker<StoreState>,
    cache: Option<CompiledCache>,
    compilers: rayon::ThreadPool,
    /// Components as they run `init`, by digest: they are the same for every stage of a plugin.
    for_init: Mutex<HashMap<String, Component>>,
    /// Components that were compiled before they are needed, by digest.
    ahead: Mutex<HashMap<String, Component>>,
    /// Called before a component is compiled.
    on_compile: Option<OnCompile>,
    /// True if something was compiled since the last call of [`Preparer::finish_build`].
    has_compiled: AtomicBool,
}

/// The function that is called before a component is compiled.
type OnCompile = Box<dyn Fn(&Identity) + Send + Sync>;

/// The niceness of compiler threads: the lowest priority that still gets some time on a machine that is never idle.
const COMPILER_NICENESS: i32 = 10;

impl Preparer {
    /// A preparer with everything linked that a guest may import. Without a cache every component is compiled.
    ///
    /// # Errors
    /// If definitions collide (a bug of this program), or the machine cannot start more threads.
    pub fn new(runtime: &Runtime, cache: Option<CompiledCache>) -> wasmtime::Result<Self> {
        let compilers = rayon::ThreadPoolBuilder::new()
            .thread_name(|index| format!("compiler-{index}"))
            // On Linux each thread has its own niceness. If the system refuses it, compiling has the usual priority.
            .start_handler(|_| {
                let _ = rustix::process::nice(COMPILER_NICENESS);
            })
            .build()?;
        Ok(Self {
            engine: runtime.engine.clone(),
            scheduler: Arc::clone(&runtime.scheduler),
            linker: linker(&runtime.engine)?,
            cache,
            compilers,
            for_init: Mutex::default(),
            ahead: Mutex::default(),
            on_compile: None,
            has_compiled: AtomicBool::new(false),
        })
    }

    /// Calls a function before a component is compiled, which may take seconds. It is not called for compiled code that
    /// the cache has.
    #[must_use]
    pub fn on_compile(mut self, call: impl Fn(&Identity) + Send + Sync + 'static) -> Self {
        self.on_compile = Some(Box::new(call));
        self
    }

    fn note_compile(&self, artifact: &Artifact) {
        if let Some(call) = &self.on_compile {
            call(&artifact.identity);
        }
    }

    /// Frees the memory that is only needed while stages are built. Returns true if something was compiled since the last
    /// call.
    pub fn finish_build(&self) -> bool {
        self.for_init.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.has_compiled.swap(false, Relaxed)
    }

    /// Compiles a component. The calling thread waits; the compiler threads have a low priority.
    ///
    /// # Errors
    /// If the bytes are not a valid component.
    pub fn compile(&self, artifact: &Artifact) -> Result<Component, ComponentError> {
        self.note_compile(artifact);
        let compiled = artifact.component().map_err(Rejection::from).and_then(|bytes| self.compile_bytes(&bytes));
        compiled.map_err(|reason| rejected(artifact, reason))
    }

    /// As [`Preparer::compile`], unless the cache has the component's code.
    ///
    /// # Errors
    /// If the bytes are not a valid component.
    pub fn compile_or_load(&self, artifact: &Artifact) -> Result<Component, ComponentError> {
        let name = plain_name(&self.engine, artifact);
        if let Some((_, component)) = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, &name)) {
            return Ok(component);
        }
        let component = self.compile(artifact)?;
        if let Some(cache) = &self.cache {
            cache.store(&name, &Note::default(), &component);
        }
        Ok(component)
    }

    fn compile_bytes(&self, component: &[u8]) -> Result<Component, Rejection> {
        self.take_ahead(component).map_or_else(|| self.compile_now(component), Ok)
    }

    fn compile_now(&self, component: &[u8]) -> Result<Component, Rejection> {
        function_size::check(component)?;
        self.has_compiled.store(true, Relaxed);
        self.compilers.install(|| {
            Component::from_binary(&self.engine, component).map_err(|error| {
                let proposals = proposals::unsupported(component);
                if proposals.is_empty() { Rejection::Compile(error) } else { Rejection::Unsupported(proposals) }
            })
        })
    }

    /// As [`Preparer::compile_bytes`], but compiles the same bytes only once until [`Preparer::finish_build`].
    fn compile_for_init(&self, component: &[u8]) -> Result<Component, Rejection> {
        let compiled = || self.for_init.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = digest(component);
        if let Some(component) = compiled().get(&digest) {
            return Ok(component.clone());
        }
        let component = self.compile_bytes(component)?;
        compiled().insert(digest, component.clone());
        Ok(component)
    }

    /// Builds a stage; `name` is its kind, or the name of a step. If the component has `lifecycle.init`, it runs now within
    /// `limits`, unless the cache has its snapshot.
    ///
    /// # Errors
    /// The first problem: not a component, wrong world, unknown import, failed `init`.
    pub async fn stage(
        &self,
        artifact: &Artifact,
        name: impl Into<StageName>,
        limits: Limits,
        environment: StageEnvironment,
    ) -> Result<StageCore, ComponentError> {
        let stage = name.into();
        let kind = stage.kind();
        let rejected = |reason| rejected(artifact, reason);
        let bytes = artifact.component().map_err(|error| rejected(error.into()))?;
        let has_init = Interface::read(&bytes).is_ok_and(|interface| interface.has_export(LIFECYCLE));
        let name = match has_init {
            true => initialized_name(&self.engine, artifact, &environment),
            false => plain_name(&self.engine, artifact),
        };
        let cached = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, &name));
        let (component, note) = match cached {
            Some((note, component)) => (component, note),
            None => {
                self.note_compile(artifact);
                let compiled = if has_init {
                    self.initialized(&bytes, kind, &limits, &environment).await.map_err(rejected)?
                } else {
                    (tokio::task::block_in_place(|| self.compile_bytes(&bytes)).map_err(rejected)?, Note::default())
                };
                // Cached only if it fits its world: a rejected component is not needed again.
                self.link(&compiled.0, kind).map_err(rejected)?;
                if let Some(cache) = &self.cache {
                    cache.store(&name, &compiled.1, &compiled.0);
                }
                compiled
            }
        };
        if let Some(why) = &note.init_in_every_instance {
            tracing::warn!(
                plugin = %artifact.identity.name,
                "`init` runs in every instance, which makes each request slower: {why}"
            );
        }
        Ok(StageCore::new(StageParts {
            plugin: artifact.identity.clone(),
            name: stage,
            limits,
            instance_pre: self.link(&component, kind).map_err(rejected)?,
            environment,
            init_in_every_instance: note.init_in_every_instance.is_some(),
            scheduler: Arc::clone(&self.scheduler),
        }))
    }

    /// The compiled component with the memory after `init`, or without it if no snapshot is possible.
    async fn initialized(
        &self,
        bytes: &[u8],
        kind: StageKind,
        limits: &Limits,
        environment: &StageEnvironment,
    ) -> Result<(Component, Note), Rejection> {
        match self.snapshot(bytes, kind, limits, environment).await? {
            Ok(snapshot) => Ok((self.compile_bytes(&snapshot)?, Note::default())),
            Err(why) => Ok((self.compile_for_init(bytes)?, Note { init_in_every_instance: Some(why.to_string()) })),
        }
    }

    /// Checks a component against the world of a kind, and links it.
    ///
    /// # Errors
    /// The import or export that is missing or has the wrong type.
    pub fn link(&self, component: &Component, kind: StageKind) -> Result<InstancePre<StoreState>, Rejection> {
        let exported: Vec<_> = StageKind::ALL
            .into_iter()
            .filter(|kind| component.get_export_index(None, kind.interface()).is_some())
            .collect();
        if !exported.contains(&kind) {
            return Err(Rejection::Kind { kind, exported });
        }
        let pre = self.linker.instantiate_pre(component).map_err(Rejection::World)?;
        StageExport::new(&pre, kind).map_err(Rejection::World)?;
        Ok(pre)
    }

    /// The component with the memory after `init`. The inner error says why there can be no snapshot, although `init` itself
    /// succeeded.
    async fn snapshot(
        &self,
        bytes: &[u8],
        kind: StageKind,
        limits: &Limits,
        environment: &StageEnvironment,
    ) -> Result<Result<Vec<u8>, NoSnapshot>, Rejection> {
        // The time limit of `init` begins with its store; the time to compile does not count.
        let new_store = || {
            let meter = Arc::new(Meter::default());
            let state = StoreState::new(environment, *limits, meter, &self.scheduler, "init");
            new_store(&self.engine, state, Instant::now() + limits.init_deadline)
        };
        let init = async |store: &mut Store<StoreState>, component: &Component| -> Result<Instance, Rejection> {
            let failed = |error: wasmtime::Error| Rejection::InitFailed(StageError::from_wasmtime(&error));
            let pre = self.link(component, kind)?;
            let instance = pre.instantiate_async(&mut *store).await.map_err(failed)?;
            let schedule = Arc::clone(&store.data().schedule);
            let call = schedule.run_guest(call_init(store, &instance));
            let answer = tokio::time::timeout(limits.init_deadline, call).await;
            answer.map_err(|_| Rejection::InitDeadline)?.map_err(failed)?.map_err(Rejection::Init)?;
            Ok(instance)
        };
        snapshot::take(|bytes| self.compile_for_init(bytes), bytes, new_store, init).await
    }
}

fn rejected(artifact: &Artifact, reason: Rejection) -> ComponentError {
    ComponentError { plugin: artifact.identity.name.to_string(), reason }
}

/// The cache entry of a component that has no `init`.
fn plain_name(engine: &Engine, artifact: &Artifact) -> EntryName {
    EntryName::new(engine, [b"component".as_slice(), artifact.identity.digest.as_bytes()])
}

/// The cache entry of a component with the memory after `init`: it depends on everything that `init` can read.
fn initialized_name(engine: &Engine, artifact: &Artifact, environment: &StageEnvironment) -> EntryName {
    let mut parts = vec![b"initialized".as_slice(), artifact.identity.digest.as_bytes()];
    for (key, value) in environment.settings() {
        parts.extend([b"config".as_slice(), key.as_bytes(), value.as_bytes()]);
    }
    for (name, digest) in environment.asset_digests() {
        parts.extend([b"asset".as_slice(), name.as_bytes(), digest.as_bytes()]);
    }
    if let Some((name, digest)) = environment.model_digest() {
        parts.extend([b"model".as_slice(), name.as_bytes(), digest.as_bytes()]);
    }
    EntryName::new(engine, parts)
}
