//! Runs that are padded to the sizes that a model is prepared for.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use plimsoll_onnx::RowProof;

use super::support::{Counts, TestModel, doubled, numbers, outputs};
use crate::nn::batch::{BatchSizes, PaddedModel, check_rows, prepare_sizes};
use crate::nn::error::RunError;
use crate::nn::model::{Model, Signature};
use crate::tensor::{Tensor, TensorType};

#[test]
fn a_run_is_padded_to_the_next_size_and_gets_only_its_own_rows() {
    let model = Arc::new(TestModel::doubling());
    let observer = Arc::new(Counts::default());
    let sizes = BatchSizes::new(vec![2, 5], 5).expect("valid");
    let padded = PaddedModel::new(model.clone(), sizes, observer.clone());
    for rows in [1u32, 2, 3, 5, 12] {
        let values: Vec<f32> = (0..rows * 2).map(|value| value as f32).collect();
        let input = Tensor::new(vec![rows, 2], TensorType::Fp32, bytemuck::cast_slice(&values).to_vec());
        let (_, output) = padded.run(&[input]).expect("a run").remove(0);
        let doubled: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
        assert_eq!(output.dimensions, [rows, 2]);
        assert_eq!(bytemuck::cast_slice::<u8, f32>(&output.data), doubled, "{rows} rows");
    }
    assert_eq!(model.runs(), [2, 2, 5, 5, 5, 5, 2]);
    assert_eq!(observer.padded.load(Relaxed), 1 + 2);
    assert!(padded.run(&numbers(0, 1.0)).is_err(), "no rows");
    // The error of a row is the error of its run, with or without padding.
    assert_eq!(padded.run(&numbers(1, -1.0)).err(), Some(RunError::backend("a negative number")));
}

/// Doubles each number of the input `x`, but computes wrongly in batches of one size.
fn wrong_at(size: u32) -> TestModel {
    let mut model = TestModel::new(move |inputs, _| {
        let mut values = doubled(&inputs[0]);
        if let Some(last) = values.last_mut().filter(|_| inputs[0].dimensions[0] == size) {
            *last += 1e4;
        }
        Ok(outputs(&inputs[0], &values))
    });
    let signature = Signature { name: "x".into(), types: vec![TensorType::Fp32], shape: Some(vec![None, Some(2)]) };
    model.properties.inputs = vec![signature.clone()];
    model.properties.outputs = vec![signature];
    model
}

#[test]
fn a_model_that_computes_wrongly_with_a_padded_size_is_refused() {
    let sizes = BatchSizes::powers_of_two(64).expect("valid");
    assert_eq!(prepare_sizes(&wrong_at(3), &sizes).map(drop), Ok(()), "a size that is never run");
    for size in sizes.iter().skip(1) {
        let error = prepare_sizes(&wrong_at(size), &sizes).expect_err("refused").to_string();
        assert!(error.starts_with(&format!("batch size {size}: ")), "{error}");
    }
}

#[test]
fn a_model_that_computes_wrongly_with_one_size_is_refused() {
    for size in 2..=16 {
        for proof in [RowProof::Separate, RowProof::Unknown("a node".into())] {
            let error = check_rows(&wrong_at(size), 16, &proof, true).expect_err("refused").to_string();
            assert!(error.contains(&format!("in a batch of {size} rows")), "{error}");
        }
    }
    for size in [17, 31, 47, 64] {
        assert!(check_rows(&wrong_at(size), 64, &RowProof::Separate, false).is_err(), "{size}");
    }
    for size in [65, 100, 128, 999] {
        for proof in [RowProof::Separate, RowProof::Unknown("a node".into())] {
            assert!(check_rows(&wrong_at(size), size, &proof, true).is_err(), "{size}");
        }
    }
}

#[test]
fn a_row_check_without_a_proof_needs_the_key() {
    let unknown = RowProof::Unknown("output `y`: node `n` (Foo) is not analysed".into());
    assert_eq!(check_rows(&wrong_at(99), 8, &unknown, true).map(drop), Ok(()));
    let error = check_rows(&wrong_at(99), 8, &unknown, false).expect_err("refused").to_string();
    for part in ["node `n` (Foo)", "remove `max_batch`", "`max_batch_unproven = true`"] {
        assert!(error.contains(part), "{error}");
    }
    // Nothing makes up for a graph that mixes rows.
    let mixed = RowProof::Mixed("output `y`: node `n` (Softmax) normalises rows together".into());
    assert!(check_rows(&wrong_at(99), 8, &mixed, true).is_err());
}
