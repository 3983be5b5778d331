use std::sync::mpsc;

use super::*;
use crate::tensor::TensorType;

fn tensor(length: u32) -> Tensor {
    Tensor::new(vec![length], TensorType::U8, vec![0; length as usize])
}

/// On one thread, a run of another shape is checked while an estimate does not end.
#[tokio::test]
async fn an_estimate_keeps_neither_the_worker_nor_another_run_of_the_model() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let judge = move |inputs: &Inputs| {
        if inputs[0].0 == [1] {
            released.lock().expect("not poisoned").recv().expect("released");
        }
        Ok(if inputs[0].0 == [3] { Err("too large".to_owned()) } else { Ok(()) })
    };
    let limit = Arc::new(SizeLimit::of(Arc::new(judge), vec![false]));
    let long = tokio::spawn({
        let limit = Arc::clone(&limit);
        async move { limit.check(&[tensor(1)]).await }
    });
    // The estimate of the first run is under way before that of the second begins.
    tokio::task::yield_now().await;
    assert_eq!(limit.check(&[tensor(2)]).await, Ok(()));
    assert_eq!(limit.check(&[tensor(3)]).await, Err(RunError::TooLarge("too large".to_owned())));
    assert!(!long.is_finished());
    release.send(()).expect("the estimate waits");
    assert_eq!(long.await.expect("no panic"), Ok(()));
}

/// The same shapes are judged once, other integers again.
#[tokio::test]
async fn integers_that_are_sizes_are_judged_and_remembered() {
    let judged: Arc<Mutex<Vec<Option<Vec<i64>>>>> = Arc::default();
    let judge = {
        let judged = Arc::clone(&judged);
        move |inputs: &Inputs| {
            judged.lock().expect("not poisoned").push(inputs[0].1.clone());
            Ok(Ok(()))
        }
    };
    let limit = SizeLimit::of(Arc::new(judge), vec![true]);
    let number = |number: i64| Tensor::new(vec![1], TensorType::I64, number.to_le_bytes().to_vec());
    for given in [7, 7, 8, 7] {
        assert_eq!(limit.check(&[number(given)]).await, Ok(()));
    }
    assert_eq!(*judged.lock().expect("not poisoned"), [Some(vec![7]), Some(vec![8])]);
    assert!(limit.check_batch(&[number(7)], 4).await.is_err(), "other runs of the batch may have larger numbers");
}
