//! Compiles and links components for one engine.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use super::error::Rejection;
use super::function_size;
use super::proposals;
use crate::kind::StageKind;
use crate::stage::StoreState;
use crate::stage::call::StageExport;
use crate::stage::linker::linker;

/// The niceness of compiler threads: the lowest priority that still gets some time on a machine that is never idle.
const NICENESS: i32 = 10;

/// A compiler and linker for one engine. Its threads have a low priority.
pub struct Compiler {
    /// The engine for which it compiles.
    pub engine: Engine,
    linker: Linker<StoreState>,
    threads: Arc<ThreadPool>,
}

/// As many compiler threads as the machine has cores.
///
/// # Errors
/// If the machine cannot start more threads.
pub fn threads() -> wasmtime::Result<Arc<ThreadPool>> {
    let threads = ThreadPoolBuilder::new()
        .thread_name(|index| format!("compiler-{index}"))
        // On Linux each thread has its own niceness. If the system refuses it, compiling has the usual priority.
        .start_handler(|_| {
            let _ = rustix::process::nice(NICENESS);
        })
        .build()?;
    Ok(Arc::new(threads))
}

impl Compiler {
    /// A compiler with everything linked that a guest may import.
    ///
    /// # Errors
    /// If definitions collide (a bug of this program).
    pub fn new(engine: &Engine, threads: &Arc<ThreadPool>) -> wasmtime::Result<Self> {
        Ok(Self { engine: engine.clone(), linker: linker(engine)?, threads: Arc::clone(threads) })
    }

    /// The threads that compile.
    pub fn threads(&self) -> &Arc<ThreadPool> {
        &self.threads
    }

    /// Compiles a component. The calling thread waits.
    ///
    /// # Errors
    /// If the bytes are not a valid component, or have what no plugin may have.
    pub fn compile(&self, component: &[u8]) -> Result<Component, Rejection> {
        function_size::check(component)?;
        self.threads.install(|| {
            Component::from_binary(&self.engine, component).map_err(|error| {
                let proposals = proposals::unsupported(component);
                if proposals.is_empty() { Rejection::Compile(error) } else { Rejection::Unsupported(proposals) }
            })
        })
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
}
