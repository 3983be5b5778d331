//! `wasi:io/poll` with a limit on the pollables of one call.

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi_io::bindings::wasi::io::poll::{self, Host, HostPollable};
use wasmtime_wasi_io::poll::DynPollable;

use super::error::TooManyPolled;
use super::limits::MAX_POLLED;
use super::store::StoreState;

/// Replaces the functions of `wasi:io/poll`.
///
/// # Errors
/// If `linker` does not allow it: a bug of this program.
pub(super) fn add_to_linker(linker: &mut Linker<StoreState>) -> wasmtime::Result<()> {
    poll::add_to_linker::<StoreState, Limited>(linker, |state| LimitedPoll(&mut state.table))
}

struct Limited;

impl HasData for Limited {
    type Data<'a> = LimitedPoll<'a>;
}

struct LimitedPoll<'a>(&'a mut ResourceTable);

impl Host for LimitedPoll<'_> {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        if pollables.len() > MAX_POLLED {
            return Err(TooManyPolled { given: pollables.len() }.into());
        }
        self.0.poll(pollables).await
    }
}

impl HostPollable for LimitedPoll<'_> {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.0.block(pollable).await
    }

    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        self.0.ready(pollable).await
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        HostPollable::drop(self.0, pollable)
    }
}
