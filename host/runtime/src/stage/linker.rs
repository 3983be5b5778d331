//! The host functions that a guest may import: WASI p2 without authority, settings, assets and `wasi:nn`.

use wasmtime::StoreContextMut;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi_config::WasiConfig;

use super::bindings::imports;
use super::poll_limit;
use super::store::StoreState;
use crate::tensor::Tensor;

const TENSOR: &str = "wasi:nn/tensor@0.2.0-rc-2024-10-28";
const ASSETS: &str = "plimsoll:stage/assets@0.1.0";

/// Links everything that a guest may import.
///
/// # Errors
/// If two definitions collide: a bug of this program.
pub fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<StoreState>> {
    use imports::{plimsoll::stage, wasi::nn};
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |state: &mut StoreState| {
        WasiConfig::from(state.environment.config())
    })?;
    stage::assets::add_to_linker::<StoreState, HasSelf<StoreState>>(&mut linker, |state| state)?;
    stage::regions::add_to_linker::<StoreState, HasSelf<StoreState>>(&mut linker, |state| state)?;
    stage::types::add_to_linker::<StoreState, HasSelf<StoreState>>(&mut linker, |state| state)?;
    nn::tensor::add_to_linker::<StoreState, HasSelf<StoreState>>(&mut linker, |state| state)?;
    // The generated functions take owned bytes, which costs one more copy. These two replace them and pass the bytes that
    // the host holds. If their interfaces change in `wit/`, their names and signatures here must change too.
    linker.allow_shadowing(true);
    linker.instance(TENSOR)?.func_wrap(
        "[method]tensor.data",
        |store: StoreContextMut<'_, StoreState>, (tensor,): (Resource<Tensor>,)| {
            Ok((store.data().shown_bytes(&tensor)?,))
        },
    )?;
    linker.instance(ASSETS)?.func_wrap("read", |store: StoreContextMut<'_, StoreState>, (name,): (String,)| {
        Ok((store.data().asset(&name).map_err(|error| error.to_string()),))
    })?;
    poll_limit::add_to_linker(&mut linker)?;
    linker.allow_shadowing(false);
    nn::graph::add_to_linker::<StoreState, HasSelf<StoreState>>(&mut linker, |state| state)?;
    nn::inference::add_to_linker::<StoreState, HasSelf<StoreState>>(&mut linker, |state| state)?;
    nn::errors::add_to_linker::<StoreState, HasSelf<StoreState>>(&mut linker, |state| state)?;
    Ok(linker)
}

impl imports::plimsoll::stage::types::Host for StoreState {}

impl imports::plimsoll::stage::assets::Host for StoreState {
    fn read(&mut self, name: String) -> wasmtime::Result<Result<Vec<u8>, String>> {
        Ok(self.asset(&name).map(|bytes| bytes.to_vec()).map_err(|error| error.to_string()))
    }
}
