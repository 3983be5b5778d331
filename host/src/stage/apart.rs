//! Runs that are on no request's way: for tests that show what fresh instances hide, and for benchmarks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Engine, Store};

use super::StageError;
use super::bindings::{Reply, Request};
use super::cap::{Meter, Usage};
use super::run::{Export, Limits, Stage, Tensors, arm_cap, arm_deadline};
use super::state::{Deployment, State};

/// The data of a store, made beforehand.
pub struct BareState(State);

impl Stage {
    /// Instantiates and drops, without a call: what an instance alone costs. Gives the memory it held.
    ///
    /// # Errors
    /// How instantiation failed.
    pub async fn instantiate_only(&self) -> Result<Usage, StageError> {
        let meter = Arc::new(Meter::default());
        let mut store = self.store(Arc::clone(&meter), "", Instant::now() + self.limits.deadline);
        self.instantiate(&mut store).await.map_err(|error| StageError::from_wasmtime(&error))?;
        drop(store);
        Ok(meter.usage())
    }

    /// Runs preprocessing on each body in **one** instance, as no request ever does, and gives the memory held
    /// after each: how a leak shows that fresh instances hide.
    ///
    /// # Errors
    /// The first trap or limit; a failure that the plugin reports is what leaks are made of and ends nothing.
    pub async fn preprocess_reused(&self, bodies: &[&[u8]]) -> Result<Vec<Usage>, StageError> {
        let Export::Preprocess(export) = &self.export else { unreachable!("built for its kind") };
        let meter = Arc::new(Meter::default());
        let mut store = self.store(Arc::clone(&meter), "", Instant::now() + self.limits.deadline);
        let mut usages = Vec::with_capacity(bodies.len());
        let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
        let calls = async {
            let instance = self.instantiate(&mut store).await?;
            let plugin = export.load(&mut store, &instance)?;
            for body in bodies {
                if let Ok(prepared) = plugin.plimsoll_stage_preprocess().call_run(&mut store, &request, body).await? {
                    store.data_mut().take_tensors(prepared.tensors)?;
                }
                usages.push(meter.usage());
            }
            wasmtime::Result::Ok(())
        };
        calls.await.map_err(|error| StageError::from_wasmtime(&error))?;
        Ok(usages)
    }

    /// The data of a store for [`Stage::preprocess_bare`].
    pub fn bare_state(&self) -> BareState {
        BareState(State::new(&self.deployment, self.limits, Arc::default(), ""))
    }

    /// The bare calls of wasmtime that a run of preprocessing consists of: store, instantiate, call, drop. There is no
    /// cap, no deadline and no record; what a run costs beyond these is the host's own.
    ///
    /// # Errors
    /// How a call failed.
    pub async fn preprocess_bare(&self, state: BareState, request: &Request, body: &[u8]) -> wasmtime::Result<()> {
        let Export::Preprocess(export) = &self.export else { unreachable!("built for its kind") };
        let mut store = Store::new(self.instance_pre.engine(), state.0);
        // Without a deadline far away the first look at the epoch would end the guest.
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = self.instance_pre.instantiate_async(&mut store).await?;
        let plugin = export.load(&mut store, &instance)?;
        let answer = plugin.plimsoll_stage_preprocess().call_run(&mut store, request, body).await?;
        drop(answer);
        Ok(())
    }
}

/// What the host gives the store of a run, to be left out one by one: what each costs is the difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// Nothing is left out.
    Nothing,
    /// The cap over linear memories and tables.
    Cap,
    /// The deadline: what a guest does when the epoch advances.
    Deadline,
}

/// The store of a run with the data of one, for a plugin that has neither configuration nor model.
pub fn store_without(engine: &Engine, limits: Limits, without: Without) -> Store<State> {
    let mut store = Store::new(engine, State::new(&Deployment::default(), limits, Arc::default(), ""));
    if without != Without::Cap {
        arm_cap(&mut store);
    }
    match without {
        // So far away that no look at the epoch ends the guest.
        Without::Deadline => store.set_epoch_deadline(u64::MAX / 2),
        _ => arm_deadline(&mut store, Instant::now() + limits.deadline),
    }
    store
}

/// Instantiates what was linked before into a store, and drops both.
///
/// # Errors
/// How instantiation failed.
pub async fn instantiate_in(mut store: Store<State>, pre: &InstancePre<State>) -> wasmtime::Result<()> {
    pre.instantiate_async(&mut store).await.map(drop)
}

/// A store and an instance that are kept for one request after another, as none ever has them: what fresh ones cost is
/// the difference.
pub struct Kept<'a> {
    stage: &'a Stage,
    store: Store<State>,
    instance: Instance,
}

impl Stage {
    /// Instantiates for many requests, which have a day together.
    ///
    /// # Errors
    /// How instantiation failed.
    pub async fn keep(&self) -> wasmtime::Result<Kept<'_>> {
        let mut store = self.store(Arc::default(), "", Instant::now() + Duration::from_secs(86_400));
        let instance = self.instantiate(&mut store).await?;
        Ok(Kept { stage: self, store, instance })
    }
}

impl Kept<'_> {
    /// As [`Stage::preprocess`].
    ///
    /// # Errors
    /// A trap, or that the plugin has no answer.
    pub async fn preprocess(&mut self, request: &Request, body: &[u8]) -> wasmtime::Result<(Tensors, Vec<u8>)> {
        let Export::Preprocess(export) = &self.stage.export else { unreachable!("built for its kind") };
        let plugin = export.load(&mut self.store, &self.instance)?;
        let turn = Arc::clone(&self.store.data().turn);
        let call = plugin.plimsoll_stage_preprocess().call_run(&mut self.store, request, body);
        let answer = turn.over(call).await?;
        let prepared = answer.map_err(|failure| wasmtime::format_err!("{failure:?}"))?;
        Ok((self.store.data_mut().take_tensors(prepared.tensors)?, prepared.context))
    }

    /// As [`Stage::infer`].
    ///
    /// # Errors
    /// A trap, or that the plugin has no answer.
    pub async fn infer(&mut self, request: &Request, inputs: Tensors) -> wasmtime::Result<Tensors> {
        let Export::Infer(export) = &self.stage.export else { unreachable!("built for its kind") };
        let plugin = export.load(&mut self.store, &self.instance)?;
        let inputs = self.store.data_mut().push_tensors(inputs)?;
        let turn = Arc::clone(&self.store.data().turn);
        let call = plugin.plimsoll_stage_infer().call_run(&mut self.store, request, &inputs);
        let answer = turn.over(call).await?;
        self.store.data_mut().take_tensors(answer.map_err(|failure| wasmtime::format_err!("{failure:?}"))?)
    }

    /// As [`Stage::postprocess`].
    ///
    /// # Errors
    /// A trap, or that the plugin has no answer.
    pub async fn postprocess(
        &mut self,
        request: &Request,
        outputs: Tensors,
        context: &[u8],
    ) -> wasmtime::Result<Reply> {
        let Export::Postprocess(export) = &self.stage.export else { unreachable!("built for its kind") };
        let plugin = export.load(&mut self.store, &self.instance)?;
        let outputs = self.store.data_mut().push_tensors(outputs)?;
        let turn = Arc::clone(&self.store.data().turn);
        let call = plugin.plimsoll_stage_postprocess().call_run(&mut self.store, request, &outputs, context);
        let answer = turn.over(call).await?;
        answer.map_err(|failure| wasmtime::format_err!("{failure:?}"))
    }
}
