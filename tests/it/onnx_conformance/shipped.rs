//! The shipped component of `infer-wasm`, as it is deployed, and the table in the document.
//!
//! The whole suite runs in the guest `model-runner`, which has the code of `infer-wasm` but loads its model for each
//! request. Here the component itself runs some of the tests.

use std::path::Path;
use std::time::Duration;

use plimsoll_runtime::stage::{Request, RunLog};
use plimsoll_runtime::tensor::{TensorType, Tensors};
use plimsoll_tests::{Server, guest};
use rten_onnx::onnx::{DataType, ModelProto};

use super::judge::compare_outputs;
use super::protos::{self, ABSOLUTE};
use super::{expected, node_tests};

const TESTS: [&str; 15] = [
    "test_softmax_axis_1",
    "test_gemm_all_attributes",
    "test_conv_with_strides_padding",
    "test_lstm_defaults",
    "test_gather_1",
    "test_maxpool_2d_same_lower",
    "test_argmax_keepdims_example_select_last_index",
    "test_argmax_keepdims_example",
    "test_resize_downsample_scales_nearest",
    "test_matmul_4d_1d",
    "test_gelu_default_1",
    "test_instancenorm_example",
    "test_sign",
    "test_nonmaxsuppression_two_classes",
    "test_resize_upsample_scales_cubic",
];

/// The inputs of a test, with the names of the model. All are FLOAT or INT64.
fn inputs(folder: &Path, data: &Path) -> Tensors {
    let model = std::fs::read(folder.join("model.onnx")).expect("a model");
    let graph = ModelProto::parse_buf(&model).expect("a model").graph.expect("a graph");
    let tensor = |(index, input): (usize, &rten_onnx::onnx::ValueInfoProto)| {
        let declared = input.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref()).and_then(|tensor| tensor.elem_type);
        let ty = if declared == Some(DataType::INT64) { TensorType::I64 } else { TensorType::Fp32 };
        let value = protos::read(&data.join(format!("input_{index}.pb"))).expect("an input");
        (input.name.clone().unwrap_or_default(), value.to_tensor(Some(ty)).expect("a tensor"))
    };
    graph.input.iter().enumerate().map(tensor).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_component_gives_the_results_of_the_list() {
    let Some(folders) = node_tests() else { return };
    let list = expected("infer-wasm");
    let mut toml = String::new();
    for name in ["given-tensors", "echo-postprocess"] {
        toml += &format!("[plugins.{name}]\nfile = {:?}\n", guest(name));
    }
    let (mut served, mut rejected) = (Vec::new(), 0);
    for (number, name) in TESTS.into_iter().enumerate() {
        let folder = folders.iter().find(|folder| folder.ends_with(name)).expect("one of the tests");
        let pipeline = format!(
            "[models.m{number}]\nfile = {:?}\n[pipelines.p{number}]\nmodel = \"m{number}\"\n\
             [pipelines.p{number}.preprocess]\nplugin = \"given-tensors\"\n[pipelines.p{number}.chips.c]\n\
             plugin = \"infer-wasm\"\n[pipelines.p{number}.postprocess]\nplugin = \"echo-postprocess\"\n",
            folder.join("model.onnx")
        );
        if list[name] == "rejected" {
            let message = Server::rejection(&format!("{toml}{pipeline}")).await;
            assert!(message.contains("node `") && message.contains("operator set "), "{name}: {message}");
            rejected += 1;
        } else {
            served.push((number, name, folder, pipeline));
        }
    }
    assert_eq!(rejected, 2);
    let pipelines: String = served.iter().map(|(.., pipeline)| pipeline.as_str()).collect();
    let server = Server::start(&format!("{toml}{pipelines}")).await;
    for (number, name, folder, _) in served {
        let pipeline = server.app.pipeline(&format!("p{number}")).expect("configured");
        let data = folder.join("test_data_set_0");
        let inputs = inputs(folder, &data);
        let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
        let mut log = RunLog::new(Duration::from_secs(60));
        let outputs = pipeline.chips["c"].run(&mut log, &request, inputs).await;
        let outputs = outputs.unwrap_or_else(|error| panic!("{name}: {} {}", error.public, error.detail));
        compare_outputs(&outputs, &data, "infer-wasm", ABSOLUTE).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    server.stop().await;
}

/// A number with a comma between thousands.
fn thousands(number: usize) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
}

#[test]
fn the_table_of_the_document_is_that_of_the_list() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/docs/fidelity.md");
    let document = std::fs::read_to_string(file).expect("a document");
    for (column, name) in [("rten", "`rten`"), ("infer-wasm", "`infer-wasm`"), ("onnxruntime", "`onnxruntime` 1.32.0")]
    {
        let verdicts = expected(column);
        let count = |verdict: &str| thousands(verdicts.values().filter(|it| *it == verdict).count());
        let row = format!("| {name} | {} | {} | {} | 0 |", count("right"), count("rejected"), count("random"));
        assert!(document.contains(&row), "{row}");
        assert!(document.contains(&format!("contains {} of them", thousands(verdicts.len()))), "{}", verdicts.len());
    }
}
