//! A property of the check of `max_batch`, on random graphs and on each backend: a model whose operators treat each row
//! alone is accepted, and an accepted model gives every row of a batch the answer that it gives the row alone. The proof
//! from the graph agrees with the numbers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use plimsoll_runtime::nn::batch::check_rows;
use plimsoll_runtime::nn::{Backend, BackendName, Device, Model, ModelSource, RowProof, prove_rows};
use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::onnx::Onnx;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// The columns of each row.
const COLUMNS: usize = 4;

/// An operator of a random graph.
#[derive(Debug, Clone, Copy)]
enum Step {
    Unary(&'static str),
    /// A product with constant weights.
    MatMul,
    /// Softmax over the columns of each row.
    SoftmaxOfRow,
    /// Each row minus a function of its sum.
    CentreRow,
    /// The sum with the result of an earlier step.
    Residual,
    /// Softmax over the rows of the batch.
    SoftmaxOfBatch,
    /// Each row minus a function of the sum of the batch.
    CentreBatch,
    /// Each row plus all rows before it.
    SumOfRowsBefore,
}

impl Step {
    fn mixes_rows(self) -> bool {
        matches!(self, Step::SoftmaxOfBatch | Step::CentreBatch | Step::SumOfRowsBefore)
    }
}

fn step() -> impl Strategy<Value = Step> {
    let rows = prop_oneof![
        prop::sample::select(vec!["Relu", "Sigmoid", "Tanh", "Abs", "Neg", "Softsign", "Elu"]).prop_map(Step::Unary),
        Just(Step::MatMul),
        Just(Step::SoftmaxOfRow),
        Just(Step::CentreRow),
        Just(Step::Residual),
    ];
    let mixing = prop_oneof![Just(Step::SoftmaxOfBatch), Just(Step::CentreBatch), Just(Step::SumOfRowsBefore)];
    prop_oneof![9 => rows, 1 => mixing]
}

/// The model of a list of steps.
fn model(steps: &[Step]) -> Vec<u8> {
    let weights: Vec<f32> = (0..COLUMNS * COLUMNS).map(|index| (index as f32 * 0.37).sin()).collect();
    let shape = [None, Some(COLUMNS as i64)];
    let mut onnx = Onnx::new(13)
        .input("x0", &shape)
        .floats("weights", &[COLUMNS as i64; 2], &weights)
        .ints("rows", &[0])
        .ints("columns", &[1]);
    for (index, step) in steps.iter().enumerate() {
        let (from, to) = (format!("x{index}"), format!("x{}", index + 1));
        let total = format!("total{index}");
        let centre = |onnx: Onnx, axis: i64| {
            let summed = format!("sum{index}");
            let axes = if axis == 0 { "rows" } else { "columns" };
            onnx.node("ReduceSum", &[&from, axes], &summed, &[("keepdims", 1)])
                .node("Tanh", &[&summed], &total, &[])
                .node("Sub", &[&from, &total], &to, &[])
        };
        onnx = match step {
            Step::Unary(operator) => onnx.node(operator, &[&from], &to, &[]),
            Step::MatMul => onnx.node("MatMul", &[&from, "weights"], &to, &[]),
            Step::SoftmaxOfRow => onnx.node("Softmax", &[&from], &to, &[("axis", 1)]),
            Step::SoftmaxOfBatch => onnx.node("Softmax", &[&from], &to, &[("axis", 0)]),
            Step::CentreRow => centre(onnx, 1),
            Step::CentreBatch => centre(onnx, 0),
            Step::Residual => onnx.node("Add", &[&from, "x0"], &to, &[]),
            Step::SumOfRowsBefore => onnx.node("CumSum", &[&from, "rows_scalar"], &to, &[]),
        };
    }
    onnx.int_scalar("rows_scalar", 0).output(&format!("x{}", steps.len()), &shape).bytes()
}

/// A model without a file.
pub(crate) fn source(bytes: Vec<u8>) -> ModelSource {
    let bytes = Arc::new(bytes);
    ModelSource {
        name: "m".into(),
        path: "m.onnx".into(),
        bytes,
        external: Vec::new(),
        device: Device::Cpu,
        options: BTreeMap::new(),
    }
}

/// Loads a model as the host does.
pub(crate) fn load(backend: &dyn Backend, bytes: Vec<u8>) -> Box<dyn Model> {
    backend.load(&source(bytes)).unwrap_or_else(|error| panic!("{error}"))
}

fn run(model: &dyn Model, rows: &[[f32; COLUMNS]]) -> Vec<f32> {
    let data = rows.as_flattened().iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = Tensor::new(vec![rows.len() as u32, COLUMNS as u32], TensorType::Fp32, data);
    let (_, output) = model.run(&[tensor]).expect("a run").remove(0);
    output.data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

fn property(backend: &str, settings: &serde_json::Value) {
    let backend = backend.parse::<BackendName>().expect("known").open(settings, Path::new("")).expect("opened");
    let rows = prop::collection::vec(prop::array::uniform4(-2.0f32..2.0), 2..6);
    let graphs = (prop::collection::vec(step(), 1..8), rows);
    let (mut accepted, mut refused) = (0, 0);
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    )
    .run(&graphs, |(steps, rows)| {
        let bytes = model(&steps);
        let proof = prove_rows(&bytes);
        let model = load(&*backend, bytes);
        if steps.iter().any(|step| step.mixes_rows()) {
            prop_assert!(matches!(proof, RowProof::Mixed(_)), "{proof:?}");
        } else {
            prop_assert_eq!(&proof, &RowProof::Separate);
        }
        match check_rows(&*model, rows.len() as u32, &proof) {
            Err(error) => prop_assert!(steps.iter().any(|step| step.mixes_rows()), "{error}"),
            Ok(_) => {
                let together = run(&*model, &rows);
                let alone: Vec<f32> = rows.iter().flat_map(|row| run(&*model, &[*row])).collect();
                let largest = alone.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                for (alone, together) in alone.iter().zip(&together) {
                    prop_assert!((alone - together).abs() <= 1e-3 * largest + 1e-6, "{alone} and {together}");
                }
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    // Both must occur, otherwise the property says nothing.
    for steps in [vec![Step::SoftmaxOfBatch], vec![Step::CentreBatch], vec![Step::SumOfRowsBefore]] {
        let unproven = RowProof::Unknown(String::new());
        refused += usize::from(check_rows(&*load(&*backend, model(&steps)), 4, &unproven).is_err());
    }
    for steps in [vec![Step::MatMul, Step::SoftmaxOfRow], vec![Step::CentreRow, Step::Residual]] {
        let unproven = RowProof::Unknown(String::new());
        accepted += usize::from(check_rows(&*load(&*backend, model(&steps)), 4, &unproven).is_ok());
    }
    assert_eq!((accepted, refused), (2, 3));
}

#[test]
fn an_accepted_model_answers_each_row_as_if_it_were_alone_with_rten() {
    property("rten", &serde_json::Value::Null);
}

#[test]
fn an_accepted_model_answers_each_row_as_if_it_were_alone_with_onnxruntime() {
    let Some(library) = crate::models::onnxruntime() else { return };
    property("onnxruntime", &serde_json::json!({ "library": library, "sessions": 1 }));
}
