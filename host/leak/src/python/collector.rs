//! Runs the garbage collector of the guest. Objects that only a cycle holds are garbage and must not count as live.
//!
//! The interpreter's cache of attributes is cleared, too (`sys._clear_type_cache`). It keeps the names of up to 4,096
//! look-ups. componentize-py's runtime makes a new name for each of its look-ups, so the cache would grow for thousands
//! of requests.
//!
//! `gc.collect` is `PyGC_Collect` of the interpreter's library, which its core module exports because other modules of the
//! component link to it. The engine's debugging interface can call it between two calls of the plugin.

use wasmtime::{Func, Store, Val};

use plimsoll_runtime::stage::StoreState;

/// The functions that a collection needs: the calls between which a thread may use the interpreter, and the collection.
#[derive(Clone)]
pub(crate) struct Collector {
    ensure: Func,
    collect: Func,
    release: Func,
    clear_cache: Option<Func>,
}

impl Collector {
    /// The collector, if a core instance exports it.
    pub(crate) fn find(store: &mut Store<StoreState>) -> Option<Self> {
        for instance in store.debug_all_instances() {
            let function = |store: &mut Store<StoreState>, name: &str| instance.get_func(store, name);
            let Some(collect) = function(store, "PyGC_Collect") else { continue };
            let ensure = function(store, "PyGILState_Ensure")?;
            let release = function(store, "PyGILState_Release")?;
            return Some(Self { ensure, collect, release, clear_cache: function(store, "PyType_ClearCache") });
        }
        None
    }

    /// Collects garbage.
    ///
    /// # Errors
    /// If a finaliser traps. The instance cannot be called again then.
    pub(crate) async fn run(&self, store: &mut Store<StoreState>) -> wasmtime::Result<()> {
        let (mut state, mut count) = ([Val::I32(0)], [Val::I32(0)]);
        self.ensure.call_async(&mut *store, &[], &mut state).await?;
        if let Some(clear_cache) = &self.clear_cache {
            clear_cache.call_async(&mut *store, &[], &mut count).await?;
        }
        self.collect.call_async(&mut *store, &[], &mut count).await?;
        self.release.call_async(&mut *store, &state, &mut []).await
    }
}
