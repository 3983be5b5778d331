//! ONNX's node tests with rten in WebAssembly, in the guest `model-runner`.

use std::path::Path;
use std::time::Duration;

use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::{Request, RunLog};
use plimsoll_runtime::tensor::TensorType;
use plimsoll_tests::{Server, guests_config};
use rten_onnx::onnx::{DataType, ModelProto};

use super::judge::compare_outputs;
use super::protos::{self, ABSOLUTE};
use super::{Verdict, compare, is_random, name, node_tests};

/// The body of a request to the guest `model-runner`; `None` if an input is not a tensor.
fn wasm_body(test: &Path, set: &Path) -> Option<Vec<u8>> {
    let model = std::fs::read(test.join("model.onnx")).expect("a model");
    let graph = ModelProto::parse_buf(&model).expect("a model").graph.expect("a graph");
    let mut body = Vec::new();
    let bytes = |bytes: &[u8], body: &mut Vec<u8>| {
        body.extend((bytes.len() as u32).to_le_bytes());
        body.extend(bytes);
    };
    bytes(&model, &mut body);
    let is_constant = |name: &Option<String>| graph.initializer.iter().any(|constant| constant.name == *name);
    for (index, input) in graph.input.iter().filter(|input| !is_constant(&input.name)).enumerate() {
        let declared = input.r#type.as_ref().and_then(|ty| ty.tensor_type.as_ref()).and_then(|tensor| tensor.elem_type);
        let (number, ty) = match declared? {
            DataType::FLOAT | DataType::FLOAT16 => (0u32, TensorType::Fp32),
            DataType::UINT8 => (1, TensorType::U8),
            DataType::INT32 | DataType::BOOL | DataType::INT8 => (2, TensorType::I32),
            DataType::INT64 => (3, TensorType::I64),
            _ => return None,
        };
        let tensor = protos::read(&set.join(format!("input_{index}.pb"))).ok()?.to_tensor(Some(ty)).ok()?;
        bytes(input.name.as_deref().unwrap_or_default().as_bytes(), &mut body);
        body.extend(number.to_le_bytes());
        body.extend((tensor.dimensions.len() as u32).to_le_bytes());
        tensor.dimensions.iter().for_each(|size| body.extend(size.to_le_bytes()));
        bytes(&tensor.data, &mut body);
    }
    Some(body)
}

/// Runs one test in WebAssembly.
pub(super) async fn run_in_wasm(server: &Server, test: &Path, absolute: f64) -> Result<Verdict, String> {
    let pipeline = server.app.pipeline("p").expect("configured");
    for set in 0.. {
        let data = test.join(format!("test_data_set_{set}"));
        if !data.is_dir() && set > 0 {
            break;
        }
        // The model is rejected because of the type of an input; the backend rten shows with which message.
        let Some(body) = wasm_body(test, &data) else { return Ok(Verdict::Rejected) };
        let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
        let mut log = RunLog::new(Duration::from_secs(60));
        let outputs = match pipeline.preprocess.run(&mut log, &request, &body).await {
            Ok((outputs, _)) => outputs,
            Err(error) if error.outcome == Outcome::UnsupportedMediaType => return Ok(Verdict::Rejected),
            Err(error) => return Err(error.public),
        };
        if let Err(difference) = compare_outputs(&outputs, &data, "infer-wasm", absolute) {
            return if is_random(&name(test)) { Ok(Verdict::Random) } else { Err(difference) };
        }
    }
    Ok(if is_random(&name(test)) { Verdict::Random } else { Verdict::Right })
}

#[tokio::test(flavor = "multi_thread")]
async fn node_tests_are_right_or_rejected_in_wasm() {
    let server = Server::start(&guests_config("model-runner", "")).await;
    let Some(tests) = node_tests() else { return };
    let mut results = Vec::new();
    for test in &tests {
        results.push((name(test), run_in_wasm(&server, test, ABSOLUTE).await));
    }
    compare("infer-wasm", results);
}
