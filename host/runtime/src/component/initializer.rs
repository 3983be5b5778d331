//! From the bytes of a component to compiled code that is ready for instances: runs `init` and takes the snapshot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use wasmtime::Store;
use wasmtime::component::{Component, Instance};

use super::compiled_cache::Note;
use super::compiler::Compiler;
use super::error::Rejection;
use super::public_globals;
use super::snapshot::{self, NoSnapshot};
use crate::cap::Meter;
use crate::identity::digest;
use crate::kind::StageKind;
use crate::scheduling::Scheduler;
use crate::stage::lifecycle::call_init;
use crate::stage::limits::Limits;
use crate::stage::store::new_store;
use crate::stage::{StageEnvironment, StageError, StoreState};

/// Runs `init` with one compiler.
pub struct Initializer {
    /// Compiles the component for `init` and the snapshot.
    pub compiler: Arc<Compiler>,
    scheduler: Arc<Scheduler>,
    /// Components as they run `init`, by digest: they are the same for every stage of a plugin.
    for_init: Mutex<HashMap<String, Component>>,
}

impl Initializer {
    /// Runs `init` of components as this compiler compiles them.
    pub fn new(compiler: Arc<Compiler>, scheduler: &Arc<Scheduler>) -> Self {
        Self { compiler, scheduler: Arc::clone(scheduler), for_init: Mutex::default() }
    }

    /// Frees the components that ran `init`.
    pub fn forget(&self) {
        self.for_init.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Runs `init` within `limits`, and compiles the component with the memory after it, or without it if no snapshot is
    /// possible.
    ///
    /// # Errors
    /// If the component cannot be compiled or linked, or `init` fails.
    pub async fn run(
        &self,
        bytes: &[u8],
        kind: StageKind,
        limits: &Limits,
        environment: &StageEnvironment,
    ) -> Result<(Component, Note), Rejection> {
        Ok(match self.snapshot(bytes, kind, limits, environment).await? {
            Ok(snapshot) => (self.compiler.compile(&snapshot)?, Note::default()),
            Err(why) => (self.compile_once(bytes)?, Note { init_in_every_instance: Some(why.to_string()) }),
        })
    }

    /// Compiles the same bytes only once until [`Initializer::forget`].
    fn compile_once(&self, component: &[u8]) -> Result<Component, Rejection> {
        let compiled = || self.for_init.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = digest(component);
        if let Some(component) = compiled().get(&digest) {
            return Ok(component.clone());
        }
        let component = self.compiler.compile(component)?;
        compiled().insert(digest, component.clone());
        Ok(component)
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
            new_store(&self.compiler.engine, state, Instant::now() + limits.init_deadline)
        };
        let init = async |store: &mut Store<StoreState>, component: &Component| -> Result<Instance, Rejection> {
            let failed = |error: wasmtime::Error| Rejection::InitFailed(StageError::from_wasmtime(&error));
            let pre = self.compiler.link(component, kind)?;
            let instance = pre.instantiate_async(&mut *store).await.map_err(failed)?;
            let schedule = Arc::clone(&store.data().schedule);
            let call = schedule.run_guest(call_init(store, &instance));
            let answer = tokio::time::timeout(limits.init_deadline, call).await;
            answer.map_err(|_| Rejection::InitDeadline)?.map_err(failed)?.map_err(Rejection::Init)?;
            Ok(instance)
        };
        let exported = public_globals::export(bytes);
        let forms: Vec<&[u8]> = exported.as_deref().into_iter().chain([bytes]).collect();
        snapshot::take(|bytes| self.compile_once(bytes), bytes, &forms, new_store, init).await
    }
}
