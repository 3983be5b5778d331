//! The optional export `lifecycle` of a plugin.

use wasmtime::Store;
use wasmtime::component::Instance;

use super::store::StoreState;

/// The name of the optional interface.
pub const LIFECYCLE: &str = "plimsoll:stage/lifecycle@0.1.0";

/// Calls `lifecycle.init`. The inner error is the plugin's own message.
///
/// # Errors
/// A trap or a limit.
pub async fn call_init(store: &mut Store<StoreState>, instance: &Instance) -> wasmtime::Result<Result<(), String>> {
    let missing = || wasmtime::Error::msg("the component has no `lifecycle.init`");
    let interface = instance.get_export_index(&mut *store, None, LIFECYCLE).ok_or_else(missing)?;
    let init = instance.get_export_index(&mut *store, Some(&interface), "init").ok_or_else(missing)?;
    let init = instance.get_typed_func::<(), (Result<(), String>,)>(&mut *store, init)?;
    let (answer,) = init.call_async(&mut *store, ()).await?;
    Ok(answer)
}
