//! From an artifact to a stage: compile (or load what was compiled), check the world, run `init`, snapshot.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;
use wasmtime::component::{Component, Instance, InstancePre, Linker};
use wasmtime::{Engine, Store};

use super::cache::{CompiledCache, EntryName, Note};
use super::{Artifact, artifact, snapshot};
use crate::stage::bindings::inferencer::InferencerIndices;
use crate::stage::bindings::postprocessor::PostprocessorIndices;
use crate::stage::bindings::preprocessor::PreprocessorIndices;
use crate::stage::cap::Meter;
use crate::stage::run::{Export, LIFECYCLE, store};
use crate::stage::state::{Deployment, State, linker};
use crate::stage::{Limits, Stage, StageError};

/// The three worlds of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// World `preprocessor`.
    Preprocess,
    /// World `inferencer`.
    Infer,
    /// World `postprocessor`.
    Postprocess,
}

impl Kind {
    /// The three of them.
    pub const ALL: [Self; 3] = [Self::Preprocess, Self::Infer, Self::Postprocess];

    /// The stage's name in replies, labels and the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preprocess => "preprocess",
            Self::Infer => "infer",
            Self::Postprocess => "postprocess",
        }
    }

    /// The interface that a component of this kind exports.
    pub fn interface(self) -> String {
        format!("plimsoll:stage/{}@0.1.0", self.as_str())
    }

    /// The kinds that a component exports the interface of.
    pub fn of(component: &Component) -> Vec<Self> {
        Self::ALL.into_iter().filter(|kind| component.get_export_index(None, kind.interface()).is_some()).collect()
    }
}

/// Why a plugin is refused.
#[derive(Debug, thiserror::Error)]
#[error("plugin `{plugin}`: {reason}")]
pub struct PluginError {
    plugin: String,
    reason: String,
}

/// Compiles plugins for one engine, at a low priority, and keeps what it compiled.
pub struct Preparer {
    engine: Engine,
    linker: Linker<State>,
    cache: Option<CompiledCache>,
    compilers: rayon::ThreadPool,
    /// Components as they run `init`, by their digest: the same for every stage that a plugin makes.
    for_init: Mutex<HashMap<String, Component>>,
    /// Whether something was compiled since it settled.
    compiled: AtomicBool,
}

/// How much compiling yields to requests: the highest that leaves it some time on a machine that is never idle.
const COMPILER_NICENESS: i32 = 10;

impl Preparer {
    /// A preparer with everything linked that a guest may import. Without a cache every component is compiled.
    ///
    /// # Errors
    /// A fault of this program (definitions that collide), or a machine that starts no more threads.
    pub fn new(engine: &Engine, cache: Option<CompiledCache>) -> wasmtime::Result<Self> {
        let compilers = rayon::ThreadPoolBuilder::new()
            .thread_name(|index| format!("compiler-{index}"))
            // On Linux niceness is a thread's own; a system that refuses it only compiles at the usual priority.
            .start_handler(|_| {
                let _ = rustix::process::nice(COMPILER_NICENESS);
            })
            .build()?;
        Ok(Self {
            engine: engine.clone(),
            linker: linker(engine)?,
            cache,
            compilers,
            for_init: Mutex::default(),
            compiled: AtomicBool::new(false),
        })
    }

    /// To be called when no more stages are to be made for now: drops what only making them needs. Says whether something
    /// was compiled since it was called last.
    pub fn settle(&self) -> bool {
        self.for_init.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.compiled.swap(false, Relaxed)
    }

    /// Compiles a component; the calling thread waits, and the threads that compile have a low priority.
    ///
    /// # Errors
    /// When the bytes are no component.
    pub fn compile(&self, artifact: &Artifact) -> Result<Component, PluginError> {
        let refused = |reason| refused(artifact, reason);
        let component = artifact.component().map_err(refused)?;
        self.compile_bytes(&component).map_err(refused)
    }

    fn compile_bytes(&self, component: &[u8]) -> Result<Component, String> {
        self.compiled.store(true, Relaxed);
        self.compilers
            .install(|| Component::from_binary(&self.engine, component))
            .map_err(|error| format!("is no component that can be compiled: {error:#}"))
    }

    /// As [`Preparer::compile_bytes`], and only once for the same bytes until it settles.
    fn compile_for_init(&self, component: &[u8]) -> Result<Component, String> {
        let compiled = || self.for_init.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = artifact::digest(component);
        if let Some(component) = compiled().get(&digest) {
            return Ok(component.clone());
        }
        let component = self.compile_bytes(component)?;
        compiled().insert(digest, component.clone());
        Ok(component)
    }

    /// Makes a stage of the kind `kind`. A component with `lifecycle.init` runs it now, within `limits`, unless the
    /// cache has what it left.
    ///
    /// # Errors
    /// The first thing that does not fit: no component, wrong world, unknown import, failed `init`.
    pub async fn stage(
        &self,
        artifact: &Artifact,
        kind: Kind,
        limits: Limits,
        deployment: Deployment,
    ) -> Result<Stage, PluginError> {
        let refused = |reason| refused(artifact, reason);
        let bytes = artifact.component().map_err(refused)?;
        let has_init = exports(&bytes, LIFECYCLE);
        let name =
            if has_init { deployment.entry_name(&self.engine, artifact) } else { plain_name(&self.engine, artifact) };
        let cached = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, &name));
        let (component, note) = match cached {
            Some((note, component)) => (component, note),
            None => {
                let compiled = if has_init {
                    self.initialized(&bytes, kind, &limits, &deployment).await.map_err(refused)?
                } else {
                    (tokio::task::block_in_place(|| self.compile_bytes(&bytes)).map_err(refused)?, Note::default())
                };
                // Kept only if it fits: what is refused is not wanted again.
                self.fit(&compiled.0, kind).map_err(refused)?;
                if let Some(cache) = &self.cache {
                    cache.store(&name, &compiled.1, &compiled.0);
                }
                compiled
            }
        };
        if let Some(why) = &note.init_each {
            tracing::warn!(
                plugin = %artifact.identity.name,
                "`init` runs in every instance, which costs its time for each request: {why}"
            );
        }
        let pre = self.fit(&component, kind).map_err(refused)?;
        Ok(Stage::new(artifact.identity.clone(), kind.as_str(), limits, pre, deployment, note.init_each.is_some()))
    }

    /// The compiled component with what `init` left in its memory, or without it where that cannot be.
    async fn initialized(
        &self,
        bytes: &[u8],
        kind: Kind,
        limits: &Limits,
        deployment: &Deployment,
    ) -> Result<(Component, Note), String> {
        match self.snapshot(bytes, kind, limits, deployment).await? {
            Ok(snapshot) => Ok((self.compile_bytes(&snapshot)?, Note::default())),
            Err(why) => Ok((self.compile_for_init(bytes)?, Note { init_each: Some(why) })),
        }
    }

    /// Holds a component against the world of a kind.
    ///
    /// # Errors
    /// The import or export that is missing or mistyped.
    pub fn check(&self, component: &Component, kind: Kind) -> Result<(), String> {
        self.fit(component, kind).map(drop)
    }

    /// Holds a component against the world of a kind, and links it.
    ///
    /// # Errors
    /// The import or export that is missing or mistyped.
    pub(crate) fn fit(&self, component: &Component, kind: Kind) -> Result<(InstancePre<State>, Export), String> {
        let kinds = Kind::of(component);
        if !kinds.contains(&kind) {
            let exports: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
            let what = if exports.is_empty() { "none of the three".to_owned() } else { exports.join(", ") };
            return Err(format!(
                "is no `{}` plugin: it does not export `{}` (of the stages it exports {what})",
                kind.as_str(),
                kind.interface()
            ));
        }
        let pre =
            self.linker.instantiate_pre(component).map_err(|error| format!("does not fit its world: {error:#}"))?;
        let export = match kind {
            Kind::Preprocess => PreprocessorIndices::new(&pre).map(Export::Preprocess),
            Kind::Infer => InferencerIndices::new(&pre).map(Export::Infer),
            Kind::Postprocess => PostprocessorIndices::new(&pre).map(Export::Postprocess),
        };
        let export = export.map_err(|error| format!("does not fit its world: {error:#}"))?;
        Ok((pre, export))
    }

    /// The component with the memory that `init` leaves; the inner error says why there can be no snapshot,
    /// though `init` itself is fine.
    async fn snapshot(
        &self,
        bytes: &[u8],
        kind: Kind,
        limits: &Limits,
        deployment: &Deployment,
    ) -> Result<Result<Vec<u8>, String>, String> {
        // The time of `init` begins when its store is made: what compiling took before counts for nothing.
        let new_store = || {
            let state = State::new(deployment, *limits, Arc::new(Meter::default()), "init");
            store(&self.engine, state, Instant::now() + limits.init_deadline)
        };
        let init = async |store: &mut Store<State>, component: &Component| -> Result<Instance, String> {
            let told = |error: wasmtime::Error| {
                let error = StageError::from_wasmtime(&error);
                format!("`init` failed: {} ({}) {}", error.public, error.outcome.as_str(), error.detail)
            };
            let (pre, _) = self.fit(component, kind)?;
            let instance = pre.instantiate_async(&mut *store).await.map_err(told)?;
            let turn = Arc::clone(&store.data().turn);
            let call = turn.over(call_init(store, &instance));
            let answer = tokio::time::timeout(limits.init_deadline, call).await;
            answer
                .map_err(|_| "`init` failed: its deadline passed (deadline)".to_owned())?
                .map_err(told)?
                .map_err(|text| format!("`init` failed: {text}"))?;
            Ok(instance)
        };
        snapshot::take(|bytes| self.compile_for_init(bytes), bytes, new_store, init).await
    }
}

fn refused(artifact: &Artifact, reason: String) -> PluginError {
    PluginError { plugin: artifact.identity.name.to_string(), reason }
}

/// The cache's name for a component that has no `init`.
fn plain_name(engine: &Engine, artifact: &Artifact) -> EntryName {
    EntryName::new(engine, [b"component".as_slice(), artifact.identity.digest.as_bytes()])
}

/// Whether a component exports an interface, read from its bytes: compiling it to find out would cost seconds, and
/// what is compiled in the end is its snapshot. False for bytes that are no component.
pub(crate) fn exports(bytes: &[u8], interface: &str) -> bool {
    use wasmparser::{Parser, Payload};
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) => depth -= 1,
            Ok(Payload::ComponentExportSection(section)) if depth == 0 => {
                if section.into_iter().flatten().any(|export| export.name.name == interface) {
                    return true;
                }
            }
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

/// Calls `lifecycle.init`; the inner error is the plugin's own.
///
/// # Errors
/// A trap or a limit.
pub async fn call_init(store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Result<(), String>> {
    let missing = || wasmtime::Error::msg("the component has no `lifecycle.init`");
    let interface = instance.get_export_index(&mut *store, None, LIFECYCLE).ok_or_else(missing)?;
    let init = instance.get_export_index(&mut *store, Some(&interface), "init").ok_or_else(missing)?;
    let init = instance.get_typed_func::<(), (Result<(), String>,)>(&mut *store, init)?;
    let (answer,) = init.call_async(&mut *store, ()).await?;
    Ok(answer)
}
