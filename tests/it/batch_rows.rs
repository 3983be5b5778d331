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
use plimsoll_tests::{Server, TempDir};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::model_cases::{config, engines};

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
    for steps in [vec![Step::SoftmaxOfBatch], vec![Step::CentreBatch], vec![Step::SumOfRowsBefore]] {
        let unproven = RowProof::Unknown(String::new());
        refused += usize::from(check_rows(&*load(&*backend, model(&steps)), 4, &unproven, true).is_err());
    }
    for steps in [vec![Step::MatMul, Step::SoftmaxOfRow], vec![Step::CentreRow, Step::Residual]] {
        let unproven = RowProof::Unknown(String::new());
        accepted += usize::from(check_rows(&*load(&*backend, model(&steps)), 4, &unproven, true).is_ok());
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

/// A model whose rows all decide what is done with each of them, if one has a number that no comparison of rows tries.
fn by_all_rows(decide: bool) -> Vec<u8> {
    let shape = [None, Some(3), Some(8), Some(8)];
    let branch = |operator: &str| Onnx::new(13).node(operator, &["image"], "z", &[]).output("z", &shape);
    let onnx = Onnx::new(13)
        .input("image", &shape)
        .floats("limit", &[], &[77.7])
        .floats("end", &[], &[77.7001])
        .output("y", &shape);
    match decide {
        true => onnx
            .node("Greater", &["image", "limit"], "above", &[])
            .node("Less", &["image", "end"], "below", &[])
            .node("And", &["above", "below"], "inside", &[])
            .node("Cast", &["inside"], "number", &[("to", 1)])
            .node("ReduceMax", &["number"], "most", &[("keepdims", 0)])
            .node("Cast", &["most"], "hit", &[("to", 9)])
            .node("If", &["hit"], "y", &[])
            .with_graph("then_branch", branch("Neg"))
            .with_graph("else_branch", branch("Identity"))
            .bytes(),
        // The rows are independent, but a list of what is found in all of them does not show it.
        false => onnx
            .node("Greater", &["image", "limit"], "above", &[])
            .node("NonZero", &["above"], "found", &[])
            .node("Transpose", &["found"], "places", &[])
            .node("GatherND", &["image", "places"], "values", &[])
            .node("Neg", &["values"], "negative", &[])
            .node("ScatterND", &["image", "places", "negative"], "y", &[])
            .bytes(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_proof_is_batched_only_if_the_administrator_says_so() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("model.onnx");
    for engine in engines().into_iter().filter(|engine| engine.1 == "infer-native") {
        std::fs::write(&file, by_all_rows(true)).expect("written");
        // ONNX Runtime wants a name for each branch, and these models have none.
        for key in ["", "max_batch_unproven = true"].into_iter().filter(|_| engine.0 == "rten") {
            let message = Server::rejection(&config(&file, engine, &format!("max_batch = 4\n{key}"))).await;
            assert!(message.contains("(ReduceMax) joins rows"), "{engine:?} {key}: {message}");
        }
        std::fs::write(&file, by_all_rows(false)).expect("written");
        let message = Server::rejection(&config(&file, engine, "max_batch = 4")).await;
        for part in ["(NonZero)", "remove `max_batch`", "`max_batch_unproven = true`"] {
            assert!(message.contains(part), "{engine:?}: {message}");
        }
        Server::start(&config(&file, engine, "max_batch = 4\nmax_batch_unproven = true")).await.stop().await;
        let message = Server::rejection(&config(&file, engine, "max_batch_unproven = true")).await;
        assert!(message.contains("max_batch_unproven") && message.contains("set `max_batch` too"), "{message}");
    }
}
