//! The store of one stage run: its data, its cap and its deadline.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::environment::StageEnvironment;
use super::error::DeadlinePassed;
use super::guest_clock::GuestClock;
use super::guest_output::{GuestIdentity, LogStream};
use super::limits::{Limits, MAX_RANDOM, MAX_RESOURCES, MAX_RESOURCES_OF_MANY_CALLS};
use crate::cap::{MemoryCap, Meter, RequestMemory};
use crate::nn::NnError;
use crate::nn::handles::{ExecutionContext, Graph};
use crate::scheduling::tick::TickAction;
use crate::scheduling::{CpuSchedule, Scheduler};
use crate::tensor::Tensor;

/// Bytes that one host call may copy in addition to the stage's cap.
const HOSTCALL_HEADROOM: usize = 1 << 20;

/// The data of a store.
pub struct StoreState {
    pub(crate) table: ResourceTable,
    pub(crate) limits: Limits,
    pub(crate) meter: Arc<Meter>,
    /// Bytes of the tensors in `table` that this stage made.
    pub(crate) tensor_bytes: u64,
    /// The error of the last `wasi:nn` call, if it failed. The reply uses its message.
    pub(crate) last_nn_error: Option<NnError>,
    pub(crate) cap: MemoryCap,
    /// The limit of the whole request, if it has one.
    pub(crate) request: Option<Arc<RequestMemory>>,
    pub(crate) schedule: Arc<CpuSchedule>,
    pub(super) environment: StageEnvironment,
    wasi: WasiCtx,
    guest: Arc<GuestIdentity>,
}

impl StoreState {
    /// The data of a new store. The guest has no files, no network, no environment variables and no arguments.
    pub fn new(
        environment: &StageEnvironment,
        limits: Limits,
        meter: Arc<Meter>,
        scheduler: &Arc<Scheduler>,
        request: &str,
    ) -> Self {
        Self::build(WasiCtxBuilder::new(), environment, limits, meter, scheduler, request)
    }

    /// The same for a guest with clocks that can be advanced.
    pub fn with_clock(
        clock: &GuestClock,
        environment: &StageEnvironment,
        limits: Limits,
        meter: Arc<Meter>,
        scheduler: &Arc<Scheduler>,
        request: &str,
    ) -> Self {
        let mut wasi = WasiCtxBuilder::new();
        wasi.wall_clock(clock.clone()).monotonic_clock(clock.clone());
        Self::build(wasi, environment, limits, meter, scheduler, request)
    }

    fn build(
        mut wasi: WasiCtxBuilder,
        environment: &StageEnvironment,
        limits: Limits,
        meter: Arc<Meter>,
        scheduler: &Arc<Scheduler>,
        request: &str,
    ) -> Self {
        let guest = Arc::new(GuestIdentity {
            environment: environment.clone(),
            request: request.to_owned(),
            is_muted: AtomicBool::new(false),
        });
        wasi.stdout(LogStream::new(Arc::clone(&guest), "stdout"))
            .stderr(LogStream::new(Arc::clone(&guest), "stderr"))
            .allow_tcp(false)
            .allow_udp(false)
            // The host makes the numbers in one call, in memory outside the cap, and no deadline interrupts it.
            .max_random_size(MAX_RANDOM);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self {
            table,
            limits,
            cap: MemoryCap::new(limits.max_memory, Arc::clone(&meter)),
            meter,
            request: None,
            schedule: Arc::new(CpuSchedule::new(scheduler)),
            tensor_bytes: 0,
            last_nn_error: None,
            environment: environment.clone(),
            wasi: wasi.build(),
            guest,
        }
    }

    /// Counts memory and tensors in the limit of a request, too. Call it before the instance is made.
    pub(super) fn count_in(&mut self, memory: Arc<RequestMemory>) {
        self.cap.count_in(&memory);
        self.request = Some(memory);
    }

    /// Drops what the guest prints from now on.
    pub(super) fn mute(&self) {
        self.guest.is_muted.store(true, Relaxed);
    }

    /// Bytes of the tensors that the guest made and still holds.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensor_bytes
    }

    /// Number of resources to which the guest has handles, by kind.
    pub fn resources(&mut self) -> BTreeMap<&'static str, u64> {
        let mut kinds = BTreeMap::new();
        for resource in self.table.iter_mut() {
            *kinds.entry(kind_of(resource)).or_insert(0) += 1;
        }
        kinds
    }

    /// The CPU schedule of the run.
    pub fn schedule(&self) -> &Arc<CpuSchedule> {
        &self.schedule
    }

    /// The memory cap, for [`Store::limiter`].
    pub fn cap(&mut self) -> &mut MemoryCap {
        &mut self.cap
    }

    /// The bytes of an asset.
    pub(super) fn asset(&self, name: &str) -> Result<Arc<Vec<u8>>, UnknownAsset> {
        self.environment.asset(name).map(|asset| Arc::clone(&asset.bytes)).ok_or_else(|| {
            let known = self.environment.asset_digests().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
            UnknownAsset { name: name.to_owned(), known }
        })
    }
}

/// What a resource is, for people.
fn kind_of(resource: &(dyn Any + Send)) -> &'static str {
    match resource {
        _ if resource.is::<Tensor>() => "tensors",
        _ if resource.is::<Graph>() => "graphs",
        _ if resource.is::<ExecutionContext>() => "execution contexts",
        _ if resource.is::<NnError>() => "errors of wasi:nn",
        _ if resource.is::<DynOutputStream>() => "output streams",
        _ if resource.is::<DynInputStream>() => "input streams",
        _ if resource.is::<DynPollable>() => "pollables",
        _ => "other resources",
    }
}

/// A guest asked for an asset that its deployment does not have.
#[derive(Debug, thiserror::Error)]
#[error("there is no asset `{name}`; the deployment has [{known}]")]
pub(super) struct UnknownAsset {
    name: String,
    known: String,
}

impl WasiView for StoreState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// A store with its cap and its deadline. A guest that computes for long shares the CPU ([`crate::scheduling`]).
pub(crate) fn new_store(engine: &Engine, state: StoreState, deadline: Instant) -> Store<StoreState> {
    let mut store = Store::new(engine, state);
    set_cap(&mut store);
    set_deadline(&mut store, deadline);
    store
}

/// Limits linear memory, tables, handles, and what one host call may copy.
pub fn set_cap(store: &mut Store<StoreState>) {
    store.set_max_component_handles(MAX_RESOURCES);
    let hostcall_bytes = usize::try_from(store.data().limits.max_memory).unwrap_or(usize::MAX);
    store.limiter(|state| &mut state.cap);
    // The cap limits what the guest can hold, so it limits what one call can pass to the host.
    store.set_hostcall_fuel(hostcall_bytes.saturating_add(HOSTCALL_HEADROOM));
}

/// Raises the limit on resources and handles, for an instance that makes thousands of calls.
pub fn allow_many_calls(store: &mut Store<StoreState>) {
    store.set_max_component_handles(MAX_RESOURCES_OF_MANY_CALLS);
    store.data_mut().table.set_max_capacity(MAX_RESOURCES_OF_MANY_CALLS);
}

/// Ends the guest at the first epoch tick after `deadline`.
pub fn set_deadline(store: &mut Store<StoreState>, deadline: Instant) {
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |store| {
        if Instant::now() >= deadline {
            return Err(DeadlinePassed.into());
        }
        Ok(match store.data().schedule.on_tick() {
            TickAction::Continue => UpdateDeadline::Continue(1),
            TickAction::Yield => UpdateDeadline::Yield(1),
            TickAction::Wait(wait) => UpdateDeadline::YieldCustom(1, wait),
        })
    });
}
