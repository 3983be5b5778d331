//! The snapshot of `lifecycle.init` by [Wizer](https://docs.rs/wasmtime-wizer): the component is instrumented so
//! that its memories and globals can be read, `init` runs once, and the resulting memory becomes the component's initial
//! memory. Instances then start from it by copy-on-write.

use std::collections::HashMap;

use wasmtime::component::{Component, ComponentNamedList, Instance, Lift, WasmList};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use super::error::Rejection;
use crate::lack::Lack;
use crate::panics;
use crate::stage::{StageError, StoreState};

/// Why there is no snapshot, although `init` succeeded.
#[derive(Debug, thiserror::Error)]
pub enum NoSnapshot {
    /// Wizer does not support the component.
    #[error("Wizer cannot snapshot this component: {0:#}")]
    Wizer(wasmtime::Error),
    /// The instrumented component cannot be compiled.
    #[error("with Wizer's instrumentation, the component cannot be compiled: {0}")]
    Instrumented(Rejection),
    /// The snapshot would contain a handle (of a stream, of a tensor) that no instance has.
    #[error("`init` leaves host handles open; drop every tensor, and print nothing in `init`")]
    OpenHandles,
    /// The memory cannot grow.
    #[error(
        "its memory is at its declared maximum, and Wizer needs one more page to read it; build the plugin with a \
         larger maximum"
    )]
    FullMemory,
    /// The globals cannot be read.
    #[error("its globals cannot be read after `init`: {0:#}")]
    Globals(wasmtime::Error),
}

/// Runs `init` (the callback instantiates and calls it) and returns the component with the resulting memory.
/// `compile` compiles a component for the engine of the stores. `forms` are forms of the component that do the same: the first
/// that can be instrumented is used.
/// The inner error says why no snapshot is possible; in this case `init` has run in an instance of the original.
///
/// # Errors
/// The error of `init`.
pub async fn take(
    compile: impl Fn(&[u8]) -> Result<Component, Rejection>,
    bytes: &[u8],
    forms: &[&[u8]],
    new_store: impl Fn() -> Store<StoreState>,
    init: impl AsyncFn(&mut Store<StoreState>, &Component) -> Result<Instance, Rejection>,
) -> Result<Result<Vec<u8>, NoSnapshot>, Rejection> {
    let wizer = Wizer::new();
    let original = |why: NoSnapshot| async {
        let component = compile(bytes)?;
        init(&mut new_store(), &component).await?;
        Ok(Err(why))
    };
    let mut problem = None;
    let mut instrumented = None;
    for form in forms {
        // Wizer panics for some components that it does not know, such as one with an imported tag.
        let made = panics::catch(async { wizer.instrument_component(form) }).await.unwrap_or_else(|_| Err(panicked()));
        match made.map_err(NoSnapshot::Wizer).map(|(context, bytes)| (context, compile(&bytes))) {
            Ok((context, Ok(component))) => {
                instrumented = Some((context, component));
                break;
            }
            Ok((_, Err(error))) if error.is_temporary() => return Err(error),
            Ok((_, Err(error))) => problem = Some(NoSnapshot::Instrumented(error)),
            Err(error) => problem = Some(error),
        }
    }
    let Some((context, component)) = instrumented else {
        return original(problem.unwrap_or_else(|| NoSnapshot::Wizer(wasmtime::Error::msg("there is no component"))))
            .await;
    };
    let mut store = new_store();
    let instance = init(&mut store, &component).await?;
    if !store.data().table.is_empty() {
        return Ok(Err(NoSnapshot::OpenHandles));
    }
    // `init` is done. The host reads its memory without the cap and the deadline of `init`.
    store.data_mut().cap.remove();
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
    let mut access = Access { store: &mut store, instance, memories: HashMap::new(), failed: None, lacked: None };
    let snapshot = panics::catch(wizer.snapshot_component(&context, &mut access)).await;
    let snapshot = snapshot.unwrap_or_else(|_| Err(panicked()));
    if let Some(error) = access.lacked {
        return Err(Rejection::InitFailed(StageError::from_wasmtime(&error)));
    }
    if access.memories.values().any(Option::is_none) {
        return Ok(Err(NoSnapshot::FullMemory));
    }
    if let Some(error) = access.failed {
        return Ok(Err(NoSnapshot::Globals(error)));
    }
    Ok(snapshot.map_err(NoSnapshot::Wizer))
}

fn panicked() -> wasmtime::Error {
    wasmtime::Error::msg("it panicked; the log has the message")
}

/// Reads memories and globals through the exports that the instrumentation added.
struct Access<'a> {
    store: &'a mut Store<StoreState>,
    instance: Instance,
    /// Each memory by the export that reads it; `None` if it could not grow. Wizer reads each memory twice, and reading grows
    /// it by a page, so it is read only once.
    memories: HashMap<String, Option<WasmList<u8>>>,
    /// Why a global could not be read. The snapshot is discarded then.
    failed: Option<wasmtime::Error>,
    /// The error of a call for which the host had no memory. It says nothing about the component, so the result "no
    /// snapshot is possible" must not be cached.
    lacked: Option<wasmtime::Error>,
}

impl Access<'_> {
    async fn call<R: Lift + Send + Sync + 'static>(&mut self, interface: &str, name: &str) -> wasmtime::Result<R>
    where
        (R,): ComponentNamedList + Lift,
    {
        let missing = || wasmtime::Error::msg(format!("the instrumented component does not export `{name}`"));
        let interface = self.instance.get_export_index(&mut *self.store, None, interface).ok_or_else(missing)?;
        let index = self.instance.get_export_index(&mut *self.store, Some(&interface), name).ok_or_else(missing)?;
        let function = self.instance.get_typed_func::<(), (R,)>(&mut *self.store, index)?;
        Ok(function.call_async(&mut *self.store, ()).await?.0)
    }

    async fn global<R: Lift + Default + Send + Sync + 'static>(&mut self, interface: &str, name: &str) -> R
    where
        (R,): ComponentNamedList + Lift,
    {
        // If a memory could not grow, the instance cannot be called any more, and the snapshot is discarded.
        if self.memories.values().any(Option::is_none) || self.failed.is_some() {
            return R::default();
        }
        self.call(interface, name).await.unwrap_or_else(|error| {
            self.failed = self.note_lack(error);
            R::default()
        })
    }

    /// Keeps the error if the host had no memory for the call. Returns any other error.
    fn note_lack(&mut self, error: wasmtime::Error) -> Option<wasmtime::Error> {
        if Lack::in_chain(error.chain()).is_some() {
            self.lacked = Some(error);
            return None;
        }
        Some(error)
    }
}

impl ComponentInstanceState for Access<'_> {
    async fn call_func_ret_list_u8(&mut self, instance: &str, func: &str, contents: impl FnOnce(&[u8]) + Send) {
        if !self.memories.contains_key(func) {
            let list = self.call(instance, func).await.map_err(|error| self.note_lack(error)).ok();
            self.memories.insert(func.to_owned(), list);
        }
        // Without a memory the snapshot is discarded, but Wizer must finish.
        contents(self.memories[func].as_ref().map_or(&[], |list| list.as_le_slice(&*self.store)));
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.global(instance, func).await
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.global(instance, func).await
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        self.global::<f32>(instance, func).await.to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        self.global::<f64>(instance, func).await.to_bits()
    }
}
