//! The part that all kinds of stage share: a plugin with its environment and limits, ready to be instantiated.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use wasmtime::Store;
use wasmtime::component::Instance;

use super::code::{Code, SharedCode};
use super::environment::StageEnvironment;
use super::lifecycle::call_init;
use super::limits::Limits;
use super::store::{StoreState, new_store};
use crate::cap::Meter;
use crate::engine::cores::Place;
use crate::identity::Identity;
use crate::kind::{StageKind, StageName};
use crate::nn::{InputError, LoadedModel, Signature};
use crate::scheduling::{RunLengthPredictor, Scheduler};
use crate::tensor::Tensors;

/// A plugin with its environment and limits, ready to be instantiated for every request.
pub struct StageCore {
    /// The plugin.
    pub plugin: Identity,
    /// The kind of stage.
    pub kind: StageKind,
    /// The name in its pipeline.
    pub name: StageName,
    /// The limits of one run.
    pub limits: Limits,
    code: SharedCode,
    pub(crate) environment: StageEnvironment,
    pub(super) run_lengths: RunLengthPredictor,
    /// Schedules the guest.
    pub scheduler: Arc<Scheduler>,
    /// By the core.
    shared_by_core: OnceLock<Box<[SharedByCore]>>,
}

/// What all runs on one core share, and no others, so that its references are counted in the cache of that core.
struct SharedByCore {
    environment: StageEnvironment,
    scheduler: Arc<Scheduler>,
}

/// What one run needs. Drop it after the store.
pub(super) struct RunParts<'a> {
    /// The code.
    pub(super) code: Arc<Code>,
    shared: Option<&'a SharedByCore>,
    _place: Option<Place>,
}

impl fmt::Debug for StageCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stage({} {})", self.kind, self.plugin.name)
    }
}

/// The parts of a [`StageCore`].
pub struct StageParts {
    /// The plugin.
    pub plugin: Identity,
    /// The name in its pipeline; the component exports the interface of its kind.
    pub name: StageName,
    /// The limits of one run.
    pub limits: Limits,
    /// The compiled and linked component. The code can be replaced through a clone.
    pub code: SharedCode,
    /// Settings, assets and model.
    pub environment: StageEnvironment,
    /// Schedules the guest.
    pub scheduler: Arc<Scheduler>,
}

impl StageCore {
    /// Makes a stage from its parts.
    pub fn new(parts: StageParts) -> Self {
        let StageParts { plugin, name, limits, code, environment, scheduler } = parts;
        let run_lengths = RunLengthPredictor::default();
        let kind = name.kind();
        Self { plugin, kind, name, limits, code, environment, run_lengths, scheduler, shared_by_core: OnceLock::new() }
    }

    /// The code of the runs that begin now.
    pub fn code(&self) -> Arc<Code> {
        self.code.load_full()
    }

    /// What a run needs: those of the core on which this thread runs now, if the stage runs often. The run may be moved to
    /// another core later, which only costs speed.
    pub(super) fn run_parts(&self) -> RunParts<'_> {
        let code = self.code.load();
        let Some((code, place)) = code.of_this_core() else {
            return RunParts { code: Arc::clone(&code), shared: None, _place: None };
        };
        let shared = self.shared_by_core.get_or_init(|| {
            let of_core = |_| SharedByCore {
                environment: self.environment.for_core(),
                scheduler: Arc::new(Scheduler::clone(&self.scheduler)),
            };
            (0..place.cores()).map(of_core).collect()
        });
        RunParts { code, shared: shared.get(place.core()), _place: Some(place) }
    }

    /// The plugin's settings, assets and model.
    pub fn environment(&self) -> &StageEnvironment {
        &self.environment
    }

    /// Everything that decides what the stage answers, as text.
    pub fn fingerprint(&self) -> String {
        format!("{} {} {:?} {}", self.kind, self.plugin.digest, self.limits, self.environment.fingerprint())
    }

    /// Inputs and outputs of the model, if the stage has one.
    pub fn signatures(&self) -> Option<(&[Signature], &[Signature])> {
        self.environment.model().map(|model| (model.inputs(), model.outputs()))
    }

    /// Returns false while the device of the stage's model fails.
    pub fn is_in_service(&self) -> bool {
        self.environment.model().is_none_or(LoadedModel::is_in_service)
    }

    /// Checks tensors against the inputs of the model, if the stage has one.
    ///
    /// # Errors
    /// The model, the input, and what was expected and given.
    pub fn check_inputs(&self, inputs: &Tensors) -> Result<(), InputError> {
        self.environment.model().map_or(Ok(()), |model| model.check(inputs))
    }

    /// Returns outputs in the element types that the model declares. A plugin that computes them itself returns some of
    /// them in the wider type of `wasi:nn`.
    pub fn in_declared_types(&self, mut outputs: Tensors) -> Tensors {
        let declared = self.signatures().map_or(&[][..], |(_, declared)| declared);
        for (name, tensor) in &mut outputs {
            let signature = declared.iter().find(|signature| signature.name == *name);
            let ty = signature.and_then(|signature| signature.types.first()).filter(|ty| **ty != tensor.ty);
            if let Some(Ok(converted)) = ty.and_then(|&ty| tensor.converted(ty)) {
                *tensor = converted;
            }
        }
        outputs
    }

    /// Returns true if this stage is what would be built from these parts.
    pub fn matches(
        &self,
        plugin: &Identity,
        name: &StageName,
        limits: &Limits,
        environment: &StageEnvironment,
    ) -> bool {
        self.plugin == *plugin && self.name == *name && self.limits == *limits && self.environment.matches(environment)
    }

    /// A store for one run of this code that must end by `deadline`; `request` is its id in log events.
    pub fn new_store(&self, code: &Code, meter: Arc<Meter>, request: &str, deadline: Instant) -> Store<StoreState> {
        let state = StoreState::new(&self.environment, self.limits, meter, &self.scheduler, request);
        new_store(code.instance_pre.engine(), state, deadline)
    }

    /// As [`StageCore::new_store`].
    pub(super) fn store_with(
        &self,
        parts: &RunParts<'_>,
        meter: Arc<Meter>,
        request: &str,
        deadline: Instant,
    ) -> Store<StoreState> {
        let (environment, scheduler) = match parts.shared {
            Some(shared) => (&shared.environment, &shared.scheduler),
            None => (&self.environment, &self.scheduler),
        };
        let state = StoreState::new(environment, self.limits, meter, scheduler, request);
        new_store(parts.code.instance_pre.engine(), state, deadline)
    }

    /// A fresh instance in a store of the same code. Runs `init` in it if that could not be snapshotted.
    ///
    /// # Errors
    /// A trap or a limit.
    pub async fn instantiate(&self, code: &Code, store: &mut Store<StoreState>) -> wasmtime::Result<Instance> {
        let instance = code.instance_pre.instantiate_async(&mut *store).await?;
        store.data().meter.mark_initial();
        if code.init_in_every_instance.is_some() {
            call_init(store, &instance).await?.map_err(wasmtime::Error::msg)?;
        }
        Ok(instance)
    }
}
