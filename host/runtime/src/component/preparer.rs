//! From an artifact to a stage: compile (or load compiled code), check the world, run `init`, take a snapshot.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use wasmtime::component::{Component, InstancePre};

use self::copies::Copier;
use self::kept_functions::KeptFunctions;
use self::names::{initialized_name, plain_name};
use self::quick_start::{QuickStart, Unoptimised, Wanted};
use super::artifact::Artifact;
use super::compiled_cache::{CompiledCache, Note};
use super::compiler::{self, Compiler};
use super::error::{ComponentError, Rejection};
use super::exports::Interface;
use super::initializer::Initializer;
use crate::engine::Runtime;
use crate::engine::function_cache::FunctionCache;
use crate::identity::Identity;
use crate::kind::{StageKind, StageName};
use crate::scheduling::Scheduler;
use crate::stage::code::{Code, SharedCode};
use crate::stage::core::{StageCore, StageParts};
use crate::stage::lifecycle::LIFECYCLE;
use crate::stage::limits::Limits;
use crate::stage::{StageEnvironment, StoreState};

mod ahead;
mod copies;
mod kept_functions;
mod names;
mod optimiser;
mod quick_start;

/// Compiles components for one engine, at a low priority, and keeps the compiled code.
pub struct Preparer {
    initializer: Initializer,
    scheduler: Arc<Scheduler>,
    cache: Option<Arc<CompiledCache>>,
    functions: Arc<FunctionCache>,
    copier: Arc<Copier>,
    /// True if functions are kept for the next versions of plugins.
    keeps_functions: bool,
    /// `None` except at a quick start.
    quick: Mutex<Option<Arc<QuickStart>>>,
    /// Stages for whose optimised code the host had no memory.
    unoptimised: Mutex<Vec<Unoptimised>>,
    /// Components that were compiled before they are needed, by digest.
    ahead: Mutex<HashMap<String, Component>>,
    /// True while components are compiled ahead.
    is_ahead: AtomicBool,
    /// Called before a component is compiled.
    on_compile: Option<OnCompile>,
    /// Called when the stages of a quick start have optimised code.
    on_optimised: Option<Box<dyn Fn() + Send + Sync>>,
    /// True if something was compiled since the last call of [`Preparer::finish_build`].
    has_compiled: AtomicBool,
}

/// The function that is called before a component is compiled.
type OnCompile = Box<dyn Fn(&Identity) + Send + Sync>;

impl Preparer {
    /// A preparer with everything linked that a guest may import. Without a cache every component is compiled.
    ///
    /// # Errors
    /// If definitions collide (a bug of this program), or the machine cannot start more threads.
    pub fn new(runtime: &Runtime, cache: Option<Arc<CompiledCache>>) -> wasmtime::Result<Self> {
        let compiler = Arc::new(Compiler::new(&runtime.engine, &compiler::threads()?)?);
        Ok(Self {
            copier: Copier::new(runtime, compiler.threads()),
            initializer: Initializer::new(compiler, &runtime.scheduler),
            scheduler: Arc::clone(&runtime.scheduler),
            cache,
            functions: Arc::clone(&runtime.functions),
            keeps_functions: false,
            quick: Mutex::default(),
            unoptimised: Mutex::default(),
            ahead: Mutex::default(),
            is_ahead: AtomicBool::new(false),
            on_compile: None,
            on_optimised: None,
            has_compiled: AtomicBool::new(false),
        })
    }

    /// Keeps the functions of large components in the cache, so that of their next versions only functions that have changed are
    /// compiled.
    #[must_use]
    pub fn keep_functions(mut self) -> Self {
        self.keeps_functions = true;
        self
    }

    /// Compiles the plugins with these digests quickly, until [`Preparer::optimise_later`] or [`Preparer::optimise_now`]. The
    /// function is called after the former, when there is optimised code.
    ///
    /// # Errors
    /// If definitions collide: a bug of this program.
    pub fn quick_start(
        mut self,
        runtime: &Runtime,
        plugins: HashSet<String>,
        on_optimised: impl Fn() + Send + Sync + 'static,
    ) -> wasmtime::Result<Self> {
        if let Some(engine) = runtime.quick_engine() {
            let compiler = Arc::new(Compiler::new(engine, self.compiler().threads())?);
            let quick = QuickStart::new(Initializer::new(compiler, &self.scheduler), plugins);
            self.quick = Mutex::new(Some(Arc::new(quick)));
            self.on_optimised = Some(Box::new(on_optimised));
        }
        Ok(self)
    }

    fn quick(&self) -> MutexGuard<'_, Option<Arc<QuickStart>>> {
        self.quick.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compiler(&self) -> &Arc<Compiler> {
        &self.initializer.compiler
    }

    /// Calls a function before a component is compiled, which may take seconds. It is not called for compiled code that
    /// the cache has.
    #[must_use]
    pub fn on_compile(mut self, call: impl Fn(&Identity) + Send + Sync + 'static) -> Self {
        self.on_compile = Some(Box::new(call));
        self
    }

    fn note_compile(&self, artifact: &Artifact) {
        self.has_compiled.store(true, Relaxed);
        if let Some(call) = &self.on_compile {
            call(&artifact.identity);
        }
    }

    /// Frees the memory that is only needed while stages are built. Returns true if something was compiled since the last
    /// call.
    pub fn finish_build(&self) -> bool {
        if let Some(quick) = &*self.quick() {
            quick.forget();
        }
        self.forget();
        self.has_compiled.swap(false, Relaxed)
    }

    /// Frees what compilations share. What is compiled ahead shares functions over many builds.
    fn forget(&self) {
        self.initializer.forget();
        if !self.is_ahead.load(Relaxed) {
            self.functions.clear();
        }
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
        let name = plain_name(self.compiler(), artifact);
        if let Some((_, component)) = self.cache.as_ref().and_then(|cache| cache.load(&self.compiler().engine, &name)) {
            return Ok(component);
        }
        let component = self.compile(artifact)?;
        if let Some(cache) = &self.cache {
            cache.store(&name, &Note::default(), &component);
        }
        Ok(component)
    }

    fn compile_bytes(&self, component: &[u8]) -> Result<Component, Rejection> {
        self.take_ahead(component).map_or_else(|| self.compiler().compile(component), Ok)
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
            true => initialized_name(self.compiler(), artifact, &environment),
            false => plain_name(self.compiler(), artifact),
        };
        let wanted = Wanted { artifact: artifact.clone(), has_init, kind, limits, environment, name };
        let code = match self.cached(&wanted).map_err(rejected)? {
            Some(cached) => cached,
            None => {
                self.note_compile(artifact);
                let quick = self.quick().clone();
                let quick = match quick {
                    Some(quick) => Box::pin(quick.code(&wanted, &bytes)).await,
                    None => None,
                };
                match quick {
                    Some(quick) => quick,
                    None => Box::pin(self.compiled(&wanted, &bytes)).await.map_err(rejected)?,
                }
            }
        };
        if let Some(why) = &code.load().init_in_every_instance {
            tracing::warn!(
                plugin = %artifact.identity.name,
                "`init` runs in every instance, which makes each request slower: {why}"
            );
        }
        Ok(StageCore::new(StageParts {
            plugin: artifact.identity.clone(),
            name: stage,
            limits,
            code,
            environment: wanted.environment,
            scheduler: Arc::clone(&self.scheduler),
        }))
    }

    /// The code that the cache has.
    fn cached(&self, wanted: &Wanted) -> Result<Option<SharedCode>, Rejection> {
        let cached = self.cache.as_ref().and_then(|cache| cache.load(&self.compiler().engine, &wanted.name));
        cached.map(|(note, component)| self.code(&component, wanted.kind, &note)).transpose()
    }

    /// The optimised code of a component that the cache does not have.
    async fn compiled(&self, wanted: &Wanted, bytes: &Bytes) -> Result<SharedCode, Rejection> {
        let Wanted { artifact, kind, name, .. } = wanted;
        let cache = self.cache.as_deref();
        let keeper = cache.filter(|_| self.keeps_functions);
        let kept = KeptFunctions::load(keeper, &self.functions, self.compiler(), &artifact.identity, bytes);
        let (component, note) = if wanted.has_init {
            self.initializer.run(bytes, *kind, &wanted.limits, &wanted.environment).await?
        } else {
            (tokio::task::block_in_place(|| self.compile_bytes(bytes))?, Note::default())
        };
        // Cached only if it fits its world: a rejected component is not needed again.
        let code = self.code(&component, *kind, &note)?;
        if let Some(cache) = cache {
            cache.store(name, &note, &component);
        }
        kept.into_iter().for_each(KeptFunctions::store);
        Ok(code)
    }

    fn code(&self, component: &Component, kind: StageKind, note: &Note) -> Result<SharedCode, Rejection> {
        let code = Code::new(self.link(component, kind)?, kind, note.init_in_every_instance.clone())
            .map_err(Rejection::World)?;
        Ok(Arc::new(ArcSwap::from_pointee(self.copier.with_copies(code, component, kind))))
    }

    /// Checks a component against the world of a kind, and links it.
    ///
    /// # Errors
    /// The import or export that is missing or has the wrong type.
    pub fn link(&self, component: &Component, kind: StageKind) -> Result<InstancePre<StoreState>, Rejection> {
        self.compiler().link(component, kind)
    }
}

fn rejected(artifact: &Artifact, reason: Rejection) -> ComponentError {
    ComponentError { plugin: artifact.identity.name.to_string(), reason }
}
