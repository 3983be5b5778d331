//! Replaces quickly compiled code by optimised code: in a thread of its own, or before the server is ready if the quickly
//! compiled code is not enough.

use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::Preparer;
use super::quick_start::{Unoptimised, Wanted};
use crate::component::error::Rejection;
use crate::panics::{self, fault_point};
use crate::stage::code::SharedCode;
use crate::stage::store::new_store;
use crate::stage::{StageError, StoreState};

/// The time until a stage is tried again for which the host had no memory. It doubles each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

impl Preparer {
    /// From now on, everything is compiled with optimisation. Waits until what was compiled quickly is optimised. Returns true
    /// if any of it could be optimised.
    pub async fn optimise_now(&self) -> bool {
        let mut has_optimised = false;
        for stage in self.end_quick() {
            match self.optimise(&stage).await {
                Outcome::Optimised => has_optimised = true,
                Outcome::Again => self.unoptimised().push(stage),
                Outcome::Failed | Outcome::Gone => {}
            }
        }
        has_optimised
    }

    /// From now on, everything is compiled with optimisation. A thread does that for what was compiled quickly, and drops `turn`
    /// when it has tried everything once. Call it within a runtime with several threads.
    pub fn optimise_later(self: &Arc<Self>, turn: impl Send + 'static) {
        let stages = self.end_quick();
        if stages.is_empty() {
            return;
        }
        tracing::info!("serving with quickly compiled code; optimised code follows");
        let (this, runtime) = (Arc::downgrade(self), Handle::current());
        let thread = std::thread::Builder::new().name("optimiser".into()).spawn(move || {
            let mut turn = Some(turn);
            run(&this, &runtime, stages, || drop(turn.take()));
        });
        if let Err(error) = thread {
            tracing::warn!(%error, "no thread for optimised code: until the next start, requests are slower");
        }
    }

    fn end_quick(&self) -> Vec<Unoptimised> {
        let quick = self.quick().take();
        let mut stages = quick.map(|quick| quick.end()).unwrap_or_default();
        stages.append(&mut self.unoptimised());
        stages
    }

    fn unoptimised(&self) -> MutexGuard<'_, Vec<Unoptimised>> {
        self.unoptimised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the code of a stage. A stage whose code cannot be optimised goes on as it is, and the log says so.
    async fn optimise(&self, stage: &Unoptimised) -> Outcome {
        // No pipeline has the stage any more.
        let Some(code) = stage.code.upgrade() else { return Outcome::Gone };
        let reason = match panics::catch(self.optimised(&stage.wanted)).await {
            Ok(Ok(optimised)) => {
                code.store(optimised.load_full());
                return Outcome::Optimised;
            }
            Ok(Err(reason)) if reason.is_temporary() => return Outcome::Again,
            Ok(Err(reason)) => reason.to_string(),
            Err(_) => "the host panicked".to_owned(),
        };
        let plugin = &stage.wanted.artifact.identity.name;
        tracing::warn!(%plugin, reason, "there is no optimised code: until the next start, requests are slower");
        Outcome::Failed
    }

    /// Optimised code, of which an instance can start.
    async fn optimised(&self, wanted: &Wanted) -> Result<SharedCode, Rejection> {
        fault_point("optimise");
        let shared = match self.cached(wanted)? {
            // A stage before it had the same plugin and settings.
            Some(cached) => cached,
            None => self.compiled(wanted, &wanted.artifact.component()?).await?,
        };
        let code = shared.load_full();
        let state =
            StoreState::new(&wanted.environment, wanted.limits, Arc::default(), &self.scheduler, "optimised code");
        let deadline = Instant::now() + wanted.limits.init_deadline;
        let mut store = new_store(code.instance_pre.engine(), state, deadline);
        let instance = code.instance_pre.instantiate_async(&mut store).await;
        instance.map_err(|error| Rejection::InitFailed(StageError::from_wasmtime(&error)))?;
        Ok(shared)
    }
}

/// What became of a stage.
enum Outcome {
    Optimised,
    Failed,
    Gone,
    /// The host had no memory.
    Again,
}

/// Optimises stages while the preparer exists. Calls `on_tried` when it has tried all of them.
fn run(preparer: &Weak<Preparer>, runtime: &Handle, mut stages: Vec<Unoptimised>, mut on_tried: impl FnMut()) {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    let (mut optimised, mut failed) = (0, 0);
    loop {
        let mut again = Vec::new();
        for stage in stages {
            let Some(preparer) = preparer.upgrade() else { return };
            match runtime.block_on(preparer.optimise(&stage)) {
                Outcome::Optimised => optimised += 1,
                Outcome::Failed => failed += 1,
                Outcome::Gone => {}
                Outcome::Again => again.push(stage),
            }
        }
        let Some(preparer) = preparer.upgrade() else { return };
        preparer.forget();
        if let Some(call) = &preparer.on_optimised {
            call();
        }
        drop(preparer);
        on_tried();
        if again.is_empty() {
            break;
        }
        tracing::info!(stages = again.len(), "no memory for optimised code; trying again in {pause:?}");
        stages = again;
        sleep(pause);
        pause = LONGEST_PAUSE.min(pause * 2);
    }
    let milliseconds = started.elapsed().as_millis() as u64;
    if optimised > 0 || failed == 0 {
        tracing::info!(optimised, failed, milliseconds, "optimised code serves now");
    }
}
