//! The snapshot of `lifecycle.init` by [Wizer](https://docs.rs/wasmtime-wizer): the component is instrumented so
//! that its memories and globals can be read, `init` runs once, and what it left becomes the component's initial
//! memory. Instances then start from it by copy-on-write, so its size costs nothing per request.

use std::collections::HashMap;

use wasmtime::component::{Component, ComponentNamedList, Instance, Lift, WasmList};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use crate::stage::state::State;

/// Runs `init` (the callback instantiates and calls it) and gives the component with the memory it left.
/// `compile` compiles a component for the engine of the stores.
/// The inner error says why no snapshot is possible; `init` has then run in an instance of the original.
///
/// # Errors
/// What `init` said.
pub async fn take(
    compile: impl Fn(&[u8]) -> Result<Component, String>,
    bytes: &[u8],
    new_store: impl Fn() -> Store<State>,
    init: impl AsyncFn(&mut Store<State>, &Component) -> Result<Instance, String>,
) -> Result<Result<Vec<u8>, String>, String> {
    let wizer = Wizer::new();
    let original = |why: String| async {
        let component = compile(bytes)?;
        init(&mut new_store(), &component).await?;
        Ok(Err(why))
    };
    let (context, instrumented) = match wizer.instrument_component(bytes) {
        Ok(instrumented) => instrumented,
        Err(error) => return original(format!("Wizer cannot snapshot this component: {error:#}")).await,
    };
    let component = match compile(&instrumented) {
        Ok(component) => component,
        Err(error) => return original(format!("with Wizer's instrumentation it {error}")).await,
    };
    let mut store = new_store();
    let instance = init(&mut store, &component).await?;
    if !store.data().table.is_empty() {
        // An open stream, a tensor: its handle would be in the snapshot, and of no instance.
        return Ok(Err("`init` leaves handles of the host open (a stream it printed to, a tensor)".into()));
    }
    // `init` is done; what reads its memory is the host's own and has neither its cap nor its deadline.
    store.data_mut().cap.lift();
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
    let mut access = Access { store: &mut store, instance, memories: HashMap::new() };
    let snapshot = wizer.snapshot_component(&context, &mut access).await;
    if access.memories.values().any(Option::is_none) {
        return Ok(Err("its memory is at its declared maximum, and Wizer reads it by one page more".into()));
    }
    Ok(snapshot.map_err(|error| format!("Wizer cannot snapshot this component: {error:#}")))
}

/// Reads memories and globals through the exports that the instrumentation added.
struct Access<'a> {
    store: &'a mut Store<State>,
    instance: Instance,
    /// By the export that reads it. Wizer asks for each twice, and reading grows it by a page: it is read once, and there is
    /// none where it cannot grow.
    memories: HashMap<String, Option<WasmList<u8>>>,
}

impl Access<'_> {
    async fn call<R: Lift + Send + Sync + 'static>(&mut self, interface: &str, name: &str) -> wasmtime::Result<R>
    where
        (R,): ComponentNamedList + Lift,
    {
        // The instrumentation has just added these exports, so only a fault of Wizer's ends here.
        let interface = self.instance.get_export_index(&mut *self.store, None, interface).expect("added by Wizer");
        let index = self.instance.get_export_index(&mut *self.store, Some(&interface), name).expect("added by Wizer");
        let function = self.instance.get_typed_func::<(), (R,)>(&mut *self.store, index).expect("as Wizer types it");
        Ok(function.call_async(&mut *self.store, ()).await?.0)
    }

    async fn global<R: Lift + Default + Send + Sync + 'static>(&mut self, interface: &str, name: &str) -> R
    where
        (R,): ComponentNamedList + Lift,
    {
        // After a memory that could not grow no call enters the instance, and nothing becomes of the snapshot.
        if self.memories.values().any(Option::is_none) {
            return R::default();
        }
        self.call(interface, name).await.expect("to read a global does not trap")
    }
}

impl ComponentInstanceState for Access<'_> {
    async fn call_func_ret_list_u8(&mut self, instance: &str, func: &str, contents: impl FnOnce(&[u8]) + Send) {
        if !self.memories.contains_key(func) {
            let list = self.call(instance, func).await.ok();
            self.memories.insert(func.to_owned(), list);
        }
        // Without a memory there is no snapshot, but Wizer has to come to its end.
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
