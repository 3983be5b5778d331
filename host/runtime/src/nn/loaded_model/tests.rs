//! Runs on the calling thread, and on others.

use std::sync::Mutex;
use std::thread::ThreadId;
use std::time::Duration;

use super::*;
use crate::nn::model::{ModelProperties, Signature};
use crate::tensor::TensorType;

/// A model that records the thread of each run and takes a given CPU time.
struct Slow {
    threads: Arc<Mutex<Vec<ThreadId>>>,
    time: Arc<Mutex<Duration>>,
    properties: ModelProperties,
}

impl Model for Slow {
    fn properties(&self) -> &ModelProperties {
        &self.properties
    }

    fn run(&self, _inputs: &[Tensor]) -> Result<Tensors, RunError> {
        self.threads.lock().expect("whole").push(std::thread::current().id());
        let time = *self.time.lock().expect("whole");
        assert!(time != Duration::MAX, "the backend breaks");
        let since = thread_cpu_time();
        while thread_cpu_time() - since < time {}
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn only_a_model_with_short_runs_runs_on_the_calling_thread() {
    let (threads, time) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Duration::ZERO)));
    let input = Signature { name: "x".into(), types: vec![TensorType::U8], shape: None };
    let properties =
        ModelProperties { runs_on_calling_thread: true, ..ModelProperties::on_cpu(vec![input], Vec::new(), 1) };
    let slow = Slow { threads: Arc::clone(&threads), time: Arc::clone(&time), properties };
    let inputs = |bytes: u32| vec![("x".to_owned(), Tensor::new(vec![bytes], TensorType::U8, vec![0; bytes as usize]))];
    let runs = Arc::new(Semaphore::new(1));
    let model = Arc::new(
        LoadedModel::new("m".into(), String::new(), &[], Box::new(slow), runs, None, Scheduling::Fair).expect("loaded"),
    );
    let here = std::thread::current().id();
    let is_here = || *threads.lock().expect("whole").last().expect("a run") == here;

    Arc::clone(&model).run(inputs(8)).await.expect("a run");
    assert!(!is_here(), "the first run is on another thread");
    // Another process may delay a run so that it counts as a long one, so there are more runs than needed.
    for _ in 0..1_000 {
        Arc::clone(&model).run(inputs(8)).await.expect("a run");
        if is_here() {
            break;
        }
    }
    assert!(is_here(), "none of a thousand short runs was on the calling thread");

    Arc::clone(&model).run(inputs(9)).await.expect("a run");
    assert!(!is_here(), "it is not known how long larger inputs take");
    Arc::clone(&model).run(inputs(9)).await.expect("a run");
    assert!(is_here(), "now it is known");

    *time.lock().expect("whole") = Duration::MAX;
    let error = Arc::clone(&model).run(inputs(8)).await.expect_err("it broke");
    assert!(error.message.contains("panicked"), "{}", error.message);

    *time.lock().expect("whole") = Duration::from_millis(1);
    for _ in 0..2 {
        Arc::clone(&model).run(inputs(8)).await.expect("a run");
    }
    assert!(!is_here(), "after a long run, the next is on another thread again");
}
