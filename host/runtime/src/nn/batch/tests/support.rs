//! What the tests of batches share: a model that computes with a function of the test, an observer that counts, and a
//! batcher whose backend waits for the test.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::nn::batch::{Admitted, BatchObserver, BatchRules, Batcher, HeldPermits, RunCost};
use crate::nn::cancellation::Cancellation;
use crate::nn::error::RunError;
use crate::nn::model::{Model, ModelProperties};
use crate::tensor::{Tensor, TensorType, Tensors};

type Compute = dyn Fn(&[Tensor], &Cancellation) -> Result<Tensors, RunError> + Send + Sync;

/// A model that computes with a function of the test, and records the rows of each run.
pub(super) struct TestModel {
    pub(super) properties: ModelProperties,
    compute: Box<Compute>,
    runs: Mutex<Vec<u32>>,
}

impl TestModel {
    /// A model without known inputs, for one run at a time.
    pub(super) fn new(
        compute: impl Fn(&[Tensor], &Cancellation) -> Result<Tensors, RunError> + Send + Sync + 'static,
    ) -> Self {
        let properties = ModelProperties::on_cpu(Vec::new(), Vec::new(), 1);
        Self { properties, compute: Box::new(compute), runs: Mutex::default() }
    }

    /// Doubles each number; fails if one is negative, and panics if one is infinite.
    pub(super) fn doubling() -> Self {
        Self::new(|inputs, _| {
            let [input] = inputs else { return Err(RunError::backend("one input")) };
            let values: &[f32] = bytemuck::cast_slice(&input.data);
            if values.iter().any(|value| *value < 0.0) {
                return Err(RunError::backend("a negative number"));
            }
            assert!(values.iter().all(|value| value.is_finite()), "the backend breaks");
            Ok(outputs(input, &doubled(input)))
        })
    }

    /// The rows of each run.
    pub(super) fn runs(&self) -> Vec<u32> {
        self.runs.lock().expect("whole").clone()
    }
}

impl Model for TestModel {
    fn properties(&self) -> &ModelProperties {
        &self.properties
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Tensors, RunError> {
        self.run_unless_cancelled(inputs, &Cancellation::default())
    }

    fn run_unless_cancelled(&self, inputs: &[Tensor], cancellation: &Cancellation) -> Result<Tensors, RunError> {
        if cancellation.is_cancelled() {
            return Err(RunError::Cancelled);
        }
        self.runs.lock().expect("whole").push(inputs[0].dimensions[0]);
        (self.compute)(inputs, cancellation)
    }
}

/// The numbers of a tensor, times two.
pub(super) fn doubled(input: &Tensor) -> Vec<f32> {
    bytemuck::cast_slice::<u8, f32>(&input.data).iter().map(|value| value * 2.0).collect()
}

/// The output `y` with the shape of the input and these numbers.
pub(super) fn outputs(input: &Tensor, values: &[f32]) -> Tensors {
    vec![("y".into(), Tensor::new(input.dimensions.clone(), input.ty, bytemuck::cast_slice(values).to_vec()))]
}

/// Counts what it observes.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) batches: AtomicU32,
    pub(super) padded: AtomicU32,
    pub(super) panics: AtomicU32,
    /// Makes the first batch panic.
    pub(super) first_batch_panics: bool,
}

impl BatchObserver for Counts {
    fn model(&self) -> &'static str {
        "m"
    }

    fn batch(&self, _rows: u32, _requests: usize, _waited: Duration) {
        let is_first = self.batches.fetch_add(1, Relaxed) == 0;
        assert!(!(is_first && self.first_batch_panics), "the first batch panics");
    }

    fn padded(&self, rows: u32) {
        self.padded.fetch_add(rows, Relaxed);
    }

    fn copied(&self, _bytes: usize) {}

    fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }
}

/// The inputs of a run: rows of two equal numbers.
pub(super) fn numbers(rows: u32, value: f32) -> Vec<Tensor> {
    let values = vec![value; rows as usize * 2];
    vec![Tensor::new(vec![rows, 2], TensorType::Fp32, bytemuck::cast_slice(&values).to_vec())]
}

/// The shape and the first number of the first output.
pub(super) fn first(outputs: Result<Tensors, RunError>) -> Result<(Vec<u32>, f32), RunError> {
    let outputs = outputs?;
    let (_, tensor) = &outputs[0];
    Ok((tensor.dimensions.clone(), bytemuck::cast_slice::<u8, f32>(&tensor.data)[0]))
}

/// A batcher whose backend doubles numbers, and runs one batch for each permit of the gate.
pub(super) fn batcher(max_batch: u32) -> (Arc<TestModel>, Arc<Semaphore>, Arc<Batcher>) {
    observed_batcher(max_batch, Arc::new(Counts::default()))
}

/// Like [`batcher`], with an observer.
pub(super) fn observed_batcher(
    max_batch: u32,
    observer: Arc<dyn BatchObserver>,
) -> (Arc<TestModel>, Arc<Semaphore>, Arc<Batcher>) {
    let model = Arc::new(TestModel::doubling());
    let gate = Arc::new(Semaphore::new(0));
    let rules = BatchRules { max_batch, max_delay: Duration::ZERO };
    let held = Arc::clone(&gate);
    let permits = move || {
        let gate = Arc::clone(&held);
        async move {
            let permit = gate.acquire_owned().await.expect("never closed");
            permit.forget();
            Box::new(()) as HeldPermits
        }
    };
    let shared: Arc<dyn Model> = model.clone();
    (model, gate, Arc::new(Batcher::start(admitted(shared), rules, observer, permits)))
}

/// A model whose runs have an unknown cost.
pub(super) fn admitted(model: Arc<dyn Model>) -> Admitted {
    Admitted { model, sizes: None, cost: RunCost::default() }
}

/// Lets every other task run until it waits.
pub(super) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
