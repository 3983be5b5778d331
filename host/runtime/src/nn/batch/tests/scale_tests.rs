//! How much a row may differ in a batch, and in which order the rows run.

use plimsoll_onnx::RowProof;

use super::support::{TestModel, outputs};
use crate::nn::batch::check_rows;
use crate::nn::batch::probe_rows::batch;
use crate::nn::chip::Placement;
use crate::nn::model::{ModelProperties, Signature};
use crate::tensor::{Tensor, TensorType};

/// The channels and places of the output of a detector: four coordinates up to 640, and four scores up to 1.
const CHANNELS: usize = 8;
const PLACES: usize = 100;

/// A model with the input `x` of one number per row.
fn with_signature(mut model: TestModel, placement: Vec<Placement>) -> TestModel {
    let signature = Signature { name: "x".into(), types: vec![TensorType::Fp32], shape: Some(vec![None, Some(1)]) };
    model.properties = ModelProperties { placement, ..ModelProperties::on_cpu(vec![signature], Vec::new(), 1) };
    model
}

/// The output of a detector. In a batch, `added` is added to one value of one channel.
fn detector(channel: usize, added: f32) -> TestModel {
    TestModel::new(move |inputs, _| {
        let rows = inputs[0].dimensions[0];
        let mut values = Vec::new();
        for _ in 0..rows {
            for at in 0..CHANNELS * PLACES {
                let part = (at * 37 % 101) as f32 / 101.0;
                values.push(if at / PLACES < 4 { 640.0 * part } else { part });
            }
        }
        if rows > 1 {
            values[channel * PLACES + 50] += added;
        }
        let dimensions = vec![rows, CHANNELS as u32, PLACES as u32];
        Ok(vec![("y".into(), Tensor::new(dimensions, TensorType::Fp32, bytemuck::cast_slice(&values).to_vec()))])
    })
}

/// True if the model is accepted on the CPU, and if it is accepted on an accelerator.
fn accepted(channel: usize, added: f32) -> [bool; 2] {
    let device = Placement { provider: "device".into(), nodes: 1, operators: Vec::new() };
    [Vec::new(), vec![device]].map(|placement| {
        let model = with_signature(detector(channel, added), placement);
        check_rows(&model, 4, &RowProof::Separate, false).is_ok()
    })
}

#[test]
fn a_score_may_not_differ_by_a_share_of_the_coordinates() {
    // 0.001 of the largest coordinate would be 0.64.
    assert_eq!(accepted(6, 0.02), [false; 2]);
    assert_eq!(accepted(6, -0.02), [false; 2]);
    assert_eq!(accepted(6, 1e-4), [true; 2]);
    assert_eq!(accepted(1, 1.0), [false, true]);
    assert_eq!(accepted(1, 0.01), [true; 2]);
    assert_eq!(accepted(1, 2.0), [false; 2]);
}

/// Returns its input, but a number is wrong if one row follows another one.
fn wrong_if_follows(first: u32, second: u32) -> TestModel {
    let signature = Signature { name: "x".into(), types: vec![TensorType::Fp32], shape: Some(vec![None, Some(1)]) };
    let number = move |row: u32| -> f32 {
        let tensor = batch(std::slice::from_ref(&signature), 1, &[row]).remove(0);
        bytemuck::cast_slice::<u8, f32>(&tensor.data)[0]
    };
    let (first, second) = (number(first), number(second));
    let model = TestModel::new(move |inputs, _| {
        let mut values: Vec<f32> = bytemuck::cast_slice(&inputs[0].data).to_vec();
        if let Some(at) = values.windows(2).position(|pair| pair == [first, second]) {
            values[at + 1] += 10.0;
        }
        Ok(outputs(&inputs[0], &values))
    });
    with_signature(model, Vec::new())
}

#[test]
fn rows_that_touch_in_one_order_only_are_found() {
    for (first, second) in [(0, 1), (1, 0), (2, 3), (3, 2), (6, 7), (7, 6)] {
        for proof in [RowProof::Separate, RowProof::Unknown("a node".into())] {
            let result = check_rows(&wrong_if_follows(first, second), 2, &proof, true);
            assert!(result.is_err(), "{first} before {second}");
        }
    }
}

#[test]
fn an_output_without_a_batch_axis_is_refused() {
    for dimensions in [vec![], vec![3], vec![2, 1]] {
        let model = TestModel::new(move |_, _| {
            let count = dimensions.iter().product::<u32>() as usize;
            let tensor = Tensor::new(dimensions.clone(), TensorType::Fp32, vec![0; 4 * count]);
            Ok(vec![("total".into(), tensor)])
        });
        let error = check_rows(&with_signature(model, Vec::new()), 4, &RowProof::Separate, false);
        let error = error.expect_err("refused").to_string();
        assert!(error.contains("output `total` has the shape") && error.contains("no batch axis"), "{error}");
        assert!(error.contains("remove `max_batch`, or export the model with a dynamic batch axis"), "{error}");
    }
}

/// A signature may declare a batch axis that an output does not have.
#[test]
fn an_output_that_does_not_have_one_row_for_each_row_is_named() {
    type Shape = fn(u32) -> Vec<u32>;
    let shapes: [(Shape, &str); 5] = [
        (|_| vec![1, 2], "the shape [1, 2] for 2 rows"),
        (|_| Vec::new(), "the shape [] for 1 rows"),
        (|rows| vec![2 * rows], "the shape [2] for 1 rows"),
        (|rows| vec![rows, rows], "the shape [2, 2] for 2 rows"),
        (|rows| if rows == 1 { vec![1, 2] } else { vec![2, rows] }, "the shape [2, 4] for 4 rows"),
    ];
    for (shape, words) in shapes {
        let model = TestModel::new(move |inputs, _| {
            let dimensions = shape(inputs[0].dimensions[0]);
            let data = vec![0; 4 * dimensions.iter().product::<u32>() as usize];
            Ok(vec![("y".into(), Tensor::new(dimensions, TensorType::Fp32, data))])
        });
        let model = with_signature(model, Vec::new());
        for proof in [RowProof::Separate, RowProof::Unknown("no proof".into())] {
            let refused = check_rows(&model, 4, &proof, true).expect_err(words).to_string();
            assert!(refused.contains("output `y` has the shape") && refused.contains(words), "{refused}");
        }
    }
}
