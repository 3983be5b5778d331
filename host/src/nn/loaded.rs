//! A model that is ready, and the way of a run through it, whatever library computes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::batch::{self, Batcher, Observer, Rules};
use super::model::{LoadError, Model, NnError, Outputs, Signature};
use super::tensor::Tensor;
use crate::engine::busy;
use crate::stage::bindings::imports::wasi::nn::errors::ErrorCode;

/// A run as short as this is made on the thread that asks for it: to hand it to another one and back takes as long on an
/// idle machine, and on a busy one many times as long. Guests have a thread for longer, see `engine::TICK`.
const SHORT: Duration = Duration::from_micros(250);

/// So many runs in a row must have been short before the next is taken for short.
const SHORT_RUNS: u32 = 16;

/// A model with its name and the bound on its concurrent runs.
pub struct LoadedModel {
    name: String,
    digest: String,
    model: Arc<dyn Model>,
    /// Present where runs are gathered into batches.
    batcher: Option<Batcher>,
    rules: Option<Rules>,
    /// Taken before `runs`, so that who waits for this model holds nothing that another could use.
    turns: Arc<Semaphore>,
    runs: Arc<Semaphore>,
    /// How many runs in a row were short.
    short_runs: AtomicU32,
    /// The bytes of the largest inputs whose run was short lately: larger ones may take as long as they like.
    short_bytes: AtomicUsize,
}

impl LoadedModel {
    /// `digest` is the SHA-256 of the file, `runs` bounds how many runs of the whole backend go on at once. With rules
    /// for batches, runs are gathered by them; that needs a runtime around it.
    ///
    /// # Errors
    /// When batches are asked for and the model has no batch axis.
    pub fn new(
        name: String,
        digest: String,
        model: Box<dyn Model>,
        runs: Arc<Semaphore>,
        batches: Option<(Rules, Arc<dyn Observer>)>,
    ) -> Result<Self, LoadError> {
        let model: Arc<dyn Model> = model.into();
        let turns = Arc::new(Semaphore::new(model.concurrent_runs().min(Semaphore::MAX_PERMITS)));
        let rules = batches.as_ref().map(|(rules, _)| *rules);
        let batcher = match batches {
            None => None,
            Some((rules, observer)) => {
                batch::check(model.inputs(), model.outputs()).map_err(LoadError)?;
                let (turns, runs) = (Arc::clone(&turns), Arc::clone(&runs));
                let permits = move || permits(Arc::clone(&turns), Arc::clone(&runs));
                Some(Batcher::start(Arc::clone(&model), rules, observer, permits))
            }
        };
        Ok(Self {
            name,
            digest,
            model,
            batcher,
            rules,
            turns,
            runs,
            short_runs: AtomicU32::new(0),
            short_bytes: AtomicUsize::new(0),
        })
    }

    /// The inputs that a run needs.
    pub fn inputs(&self) -> &[Signature] {
        self.model.inputs()
    }

    /// The outputs that a run gives.
    pub fn outputs(&self) -> &[Signature] {
        self.model.outputs()
    }

    /// Whether a run could take these inputs.
    ///
    /// # Errors
    /// The model, the input, and what was expected and given.
    pub fn check(&self, inputs: &[(String, Tensor)]) -> Result<(), String> {
        self.order(inputs.to_vec()).map(|_| ())
    }

    /// The rules of its batches, where it has them.
    pub fn rules(&self) -> Option<Rules> {
        self.rules
    }

    /// SHA-256 of the file, hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Checks the inputs by name, type and shape, then runs the model: in a batch, or alone, on a thread for blocking
    /// work unless its runs are short.
    ///
    /// # Errors
    /// `invalid-argument` names the model, the input, and what was expected and given.
    pub async fn run(self: Arc<Self>, inputs: Vec<(String, Tensor)>) -> Result<Outputs, NnError> {
        let ordered = self.order(inputs).map_err(|message| NnError { code: ErrorCode::InvalidArgument, message })?;
        let name = &self.name;
        let failed =
            |message: String| NnError { code: ErrorCode::RuntimeError, message: format!("model `{name}`: {message}") };
        if let Some(batcher) = &self.batcher {
            return batcher.run(ordered).await.map_err(failed);
        }
        let short = self.short_runs.load(Ordering::Relaxed) >= SHORT_RUNS
            && bytes(&ordered) <= self.short_bytes.load(Ordering::Relaxed);
        // What takes the backend for a moment only does not wait for the long runs of other models.
        let permits: batch::Permits = match short {
            true => Box::new(turn(Arc::clone(&self.turns)).await),
            false => permits(Arc::clone(&self.turns), Arc::clone(&self.runs)).await,
        };
        let this = Arc::clone(&self);
        let run = move || {
            let _permits = permits;
            this.timed(&ordered)
        };
        let result = if short {
            catch_unwind(AssertUnwindSafe(run)).map_err(|_| failed("the backend panicked".to_owned()))?
        } else {
            tokio::task::spawn_blocking(run).await.map_err(|error| failed(error.to_string()))?
        };
        result.map_err(failed)
    }

    /// One run, and whether it was short.
    fn timed(&self, inputs: &[Tensor]) -> Result<Outputs, String> {
        let (clock, computed) = (Instant::now(), busy());
        let result = self.model.run(inputs);
        // By the clock no run is short while others want the core.
        let took = if self.model.computes_here() { busy().saturating_sub(computed) } else { clock.elapsed() };
        let short = took <= SHORT;
        let bytes = bytes(inputs);
        let _ = match short {
            true => self.short_bytes.fetch_max(bytes, Ordering::Relaxed),
            false => self.short_bytes.fetch_min(bytes.saturating_sub(1), Ordering::Relaxed),
        };
        let _ = self.short_runs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |runs| match short {
            true => Some((runs + 1).min(2 * SHORT_RUNS - 1)),
            // A single long one between short ones, whose memory others had taken from the caches, is soon forgotten.
            false => Some(runs.saturating_sub(SHORT_RUNS)),
        });
        result
    }

    fn order(&self, mut given: Vec<(String, Tensor)>) -> Result<Vec<Tensor>, String> {
        let model = &self.name;
        let expected = self.model.inputs();
        let names = || expected.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join("`, `");
        if let Some((name, _)) = given.iter().find(|(name, _)| expected.iter().all(|input| input.name != *name)) {
            return Err(format!("model `{model}` has no input `{name}`; it takes `{}`", names()));
        }
        expected
            .iter()
            .map(|input| {
                let position = given.iter().position(|(name, _)| *name == input.name).ok_or_else(|| {
                    format!("model `{model}`: input `{}` is missing; it takes `{}`", input.name, names())
                })?;
                let (_, tensor) = given.swap_remove(position);
                input.check(&tensor).map_err(|what| format!("model `{model}`, input `{}`: {what}", input.name))?;
                Ok(tensor)
            })
            .collect()
    }
}

fn bytes(inputs: &[Tensor]) -> usize {
    inputs.iter().map(|input| input.data.len()).sum()
}

/// The right to run this model, held for as long as it lives.
async fn turn(turns: Arc<Semaphore>) -> OwnedSemaphorePermit {
    turns.acquire_owned().await.expect("never closed")
}

/// The right to run this model, and that to use the backend.
async fn permits(turns: Arc<Semaphore>, runs: Arc<Semaphore>) -> batch::Permits {
    let turn = turn(turns).await;
    let run = runs.acquire_owned().await.expect("never closed");
    Box::new((turn, run))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::thread::ThreadId;

    use super::*;
    use crate::nn::TensorType;

    /// Notes on which thread it runs, and takes as long as it is told.
    struct Slow {
        threads: Arc<Mutex<Vec<ThreadId>>>,
        time: Arc<Mutex<Duration>>,
        inputs: Vec<Signature>,
    }

    impl Model for Slow {
        fn inputs(&self) -> &[Signature] {
            &self.inputs
        }

        fn outputs(&self) -> &[Signature] {
            &[]
        }

        fn concurrent_runs(&self) -> usize {
            1
        }

        fn computes_here(&self) -> bool {
            true
        }

        fn run(&self, _inputs: &[Tensor]) -> Result<Outputs, String> {
            self.threads.lock().expect("whole").push(std::thread::current().id());
            let time = *self.time.lock().expect("whole");
            assert!(time != Duration::MAX, "the backend breaks");
            let since = busy();
            while busy() - since < time {}
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn only_a_model_of_short_runs_runs_where_it_is_asked_for() {
        let (threads, time) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Duration::ZERO)));
        let input = Signature { name: "x".into(), types: vec![TensorType::U8], shape: None };
        let slow = Slow { threads: Arc::clone(&threads), time: Arc::clone(&time), inputs: vec![input] };
        let of = |bytes: u32| vec![("x".to_owned(), Tensor::new(vec![bytes], TensorType::U8, vec![0; bytes as usize]))];
        let runs = Arc::new(Semaphore::new(1));
        let model = Arc::new(LoadedModel::new("m".into(), String::new(), Box::new(slow), runs, None).expect("loaded"));
        let here = std::thread::current().id();
        let is_here = || *threads.lock().expect("whole").last().expect("a run") == here;

        Arc::clone(&model).run(of(8)).await.expect("a run");
        assert!(!is_here(), "the first runs are on another thread");
        // Another process may interrupt a run, so more are made than are needed.
        for _ in 0..1_000 {
            Arc::clone(&model).run(of(8)).await.expect("a run");
            if is_here() {
                break;
            }
        }
        assert!(is_here(), "a thousand short runs, and none where it was asked for");

        Arc::clone(&model).run(of(9)).await.expect("a run");
        assert!(!is_here(), "nobody knows how long larger inputs take");
        Arc::clone(&model).run(of(9)).await.expect("a run");
        assert!(is_here(), "now it is known");

        *time.lock().expect("whole") = Duration::MAX;
        let error = Arc::clone(&model).run(of(8)).await.expect_err("it broke");
        assert!(error.message.contains("panicked"), "{}", error.message);

        *time.lock().expect("whole") = Duration::from_millis(1);
        for _ in 0..2 {
            Arc::clone(&model).run(of(8)).await.expect("a run");
        }
        assert!(!is_here(), "after a long run it is on another thread again");
    }
}
