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
    /// The columns in another order.
    Columns,
    Gemm,
    /// Each row minus its largest number.
    LargestOfRow,
    /// Each row as a square of rank 3, times its transposed square.
    Square,
    /// The product of both halves of each row, next to the first half.
    Halves,
    /// Softmax over the rows of the batch.
    SoftmaxOfBatch,
    /// Each row minus a function of the sum of the batch.
    CentreBatch,
    /// Each row plus all rows before it.
    SumOfRowsBefore,
    /// Each row minus the largest numbers of the batch.
    LargestOfBatch,
    /// Softmax over all numbers of the batch.
    Flattened,
}

impl Step {
    fn mixes_rows(self) -> bool {
        matches!(
            self,
            Step::SoftmaxOfBatch | Step::CentreBatch | Step::SumOfRowsBefore | Step::LargestOfBatch | Step::Flattened
        )
    }
}

fn step() -> impl Strategy<Value = Step> {
    let rows = prop_oneof![
        prop::sample::select(vec![
            "Relu",
            "Sigmoid",
            "Tanh",
            "Abs",
            "Neg",
            "Softsign",
            "Elu",
            "Erf",
            "Sin",
            "Floor",
            "HardSigmoid"
        ])
        .prop_map(Step::Unary),
        Just(Step::MatMul),
        Just(Step::SoftmaxOfRow),
        Just(Step::CentreRow),
        Just(Step::Residual),
        prop::sample::select(vec![Step::Columns, Step::Gemm, Step::LargestOfRow, Step::Square, Step::Halves]),
    ];
    let mixing = prop::sample::select(vec![
        Step::SoftmaxOfBatch,
        Step::CentreBatch,
        Step::SumOfRowsBefore,
        Step::LargestOfBatch,
        Step::Flattened,
    ]);
    prop_oneof![9 => rows, 1 => mixing]
}

/// The model of a list of steps.
fn model(steps: &[Step]) -> Vec<u8> {
    let weights: Vec<f32> = (0..COLUMNS * COLUMNS).map(|index| (index as f32 * 0.37).sin()).collect();
    let shape = [None, Some(COLUMNS as i64)];
    let mut onnx = Onnx::new(13)
        .input("x0", &shape)
        .floats("weights", &[COLUMNS as i64; 2], &weights)
        .floats("bias", &[COLUMNS as i64], &weights[..COLUMNS])
        .ints("rows", &[0])
        .ints("columns", &[1])
        .ints("order", &[3, 1, 0, 2])
        .ints("square", &[0, 2, 2])
        .ints("row", &[0, COLUMNS as i64])
        .ints("flat", &[1, -1])
        .ints("unflat", &[-1, COLUMNS as i64]);
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
        let largest = |onnx: Onnx, axis: i64| {
            onnx.node("ReduceMax", &[&from], &total, &[("keepdims", 1)]).with_lists(&[("axes", &[axis])]).node(
                "Sub",
                &[&from, &total],
                &to,
                &[],
            )
        };
        let part = |name: &str| format!("{name}{index}");
        onnx = match step {
            Step::Unary(operator) => onnx.node(operator, &[&from], &to, &[]),
            Step::MatMul => onnx.node("MatMul", &[&from, "weights"], &to, &[]),
            Step::SoftmaxOfRow => onnx.node("Softmax", &[&from], &to, &[("axis", 1)]),
            Step::SoftmaxOfBatch => onnx.node("Softmax", &[&from], &to, &[("axis", 0)]),
            Step::CentreRow => centre(onnx, 1),
            Step::CentreBatch => centre(onnx, 0),
            Step::Residual => onnx.node("Add", &[&from, "x0"], &to, &[]),
            Step::SumOfRowsBefore => onnx.node("CumSum", &[&from, "rows_scalar"], &to, &[]),
            Step::Columns => onnx.node("Gather", &[&from, "order"], &to, &[("axis", 1)]),
            Step::Gemm => onnx.node("Gemm", &[&from, "weights", "bias"], &to, &[]),
            Step::LargestOfRow => largest(onnx, 1),
            Step::LargestOfBatch => largest(onnx, 0),
            Step::Square => onnx
                .node("Reshape", &[&from, "square"], &part("square"), &[])
                .node("Transpose", &[&part("square")], &part("turned"), &[])
                .with_lists(&[("perm", &[0, 2, 1])])
                .node("MatMul", &[&part("square"), &part("turned")], &part("product"), &[])
                .node("Tanh", &[&part("product")], &part("tanh"), &[])
                .node("Reshape", &[&part("tanh"), "row"], &to, &[]),
            Step::Halves => onnx
                .node("Split", &[&from], &part("a"), &[("axis", 1)])
                .with_outputs(&[&part("b")])
                .node("Mul", &[&part("a"), &part("b")], &part("product"), &[])
                .node("Tanh", &[&part("product")], &part("tanh"), &[])
                .node("Concat", &[&part("tanh"), &part("a")], &to, &[("axis", 1)]),
            Step::Flattened => onnx
                .node("Reshape", &[&from, "flat"], &part("flat"), &[])
                .node("Softmax", &[&part("flat")], &part("parts"), &[("axis", 1)])
                .node("Reshape", &[&part("parts"), "unflat"], &to, &[]),
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
        match check_rows(&*model, rows.len() as u32, &proof, false) {
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
    for steps in [
        vec![Step::SoftmaxOfBatch],
        vec![Step::CentreBatch],
        vec![Step::SumOfRowsBefore],
        vec![Step::LargestOfBatch],
        vec![Step::Flattened],
    ] {
        let unproven = RowProof::Unknown(String::new());
        refused += usize::from(check_rows(&*load(&*backend, model(&steps)), 4, &unproven, true).is_err());
    }
    for steps in [
        vec![Step::MatMul, Step::SoftmaxOfRow],
        vec![Step::CentreRow, Step::Residual],
        vec![Step::Square, Step::Halves],
        vec![Step::Columns, Step::Gemm, Step::LargestOfRow],
    ] {
        let unproven = RowProof::Unknown(String::new());
        accepted += usize::from(check_rows(&*load(&*backend, model(&steps)), 4, &unproven, true).is_ok());
    }
    assert_eq!((accepted, refused), (4, 5));
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
