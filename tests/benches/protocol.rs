//! Measures the cost of a request in each form of the Open Inference Protocol (REST with JSON, REST with binary
//! tensors, gRPC), for a pipeline of three stages that do nothing: `cargo bench --bench protocol`.
//!
//! Clients and server share a process, so the figures include both. Blocks of the forms alternate, so that other load
//! on the machine affects all forms equally.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::serve::grpc::inference::ModelInferRequest;
use plimsoll::serve::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use plimsoll::serve::grpc::inference::model_infer_request::InferInputTensor;
use plimsoll_tests::Server;
use plimsoll_tests::bench::{self, Table};
use tonic::transport::{Channel, Endpoint};

/// Size of the body in bytes: that of a small image.
const IMAGE: usize = 1 << 10;
const BLOCKS: usize = 20;
const BLOCK: Duration = Duration::from_millis(500);
const CONCURRENCIES: [usize; 2] = [1, 16];

/// A request in one form of the protocol.
#[derive(Clone)]
enum Form {
    Json(String),
    /// The body, and the length of its JSON header.
    Binary(Vec<u8>, usize),
    Grpc(Box<(GrpcInferenceServiceClient<Channel>, ModelInferRequest)>),
}

impl Form {
    /// Sends the request once and reads the whole reply.
    async fn send(&mut self, server: &Server) {
        let post = || server.client.post(format!("{}/v2/models/p/infer", server.url));
        match self {
            Self::Json(body) => {
                let reply = post().body(body.clone()).send().await.expect("an answer");
                assert_eq!(reply.status(), 200);
                reply.bytes().await.expect("whole");
            }
            Self::Binary(body, header) => {
                let reply = post().header("inference-header-content-length", *header).body(body.clone()).send().await;
                let reply = reply.expect("an answer");
                assert_eq!(reply.status(), 200);
                reply.bytes().await.expect("whole");
            }
            Self::Grpc(call) => {
                let (client, request) = &mut **call;
                client.model_infer(request.clone()).await.expect("an answer");
            }
        }
    }
}

fn main() {
    let (blocks, block) = if bench::measures() { (BLOCKS, BLOCK) } else { (1, Duration::from_millis(10)) };
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let server = Arc::new(Server::start(&bench::noop_config("noop-preprocess")).await);
        let forms = forms(&server).await;
        let figures = [("concurrency", 0), ("requests/s", 0), ("p50 µs", 0), ("p99 µs", 0)];
        let mut table = Table::new("protocol", &[("form", 12)], &figures);
        for concurrency in CONCURRENCIES {
            let mut times: Vec<Vec<u64>> = vec![Vec::new(); forms.len()];
            for _ in 0..=blocks {
                for (form, times) in forms.iter().zip(&mut times) {
                    times.extend(run(&server, &form.1, concurrency, block).await);
                }
            }
            for ((name, _), mut times) in forms.iter().zip(times) {
                times.sort_unstable();
                let seconds = block.as_secs_f64() * (blocks + 1) as f64;
                let rate = times.len() as f64 / seconds;
                let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize] as f64 / 1e3;
                table.row(&[name], &[concurrency as f64, rate, at(0.5), at(0.99)]);
            }
        }
        table.end(&format!("{} blocks of {block:?} of each form, alternating", blocks + 1));
    });
}

/// Durations of all requests of a block, in nanoseconds.
async fn run(server: &Arc<Server>, form: &Form, concurrency: usize, block: Duration) -> Vec<u64> {
    let until = Instant::now() + block;
    let callers: Vec<_> = (0..concurrency)
        .map(|_| {
            let (server, mut form) = (Arc::clone(server), form.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while Instant::now() < until {
                    let started = Instant::now();
                    form.send(&server).await;
                    times.push(started.elapsed().as_nanos() as u64);
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for caller in callers {
        times.extend(caller.await.expect("no panic"));
    }
    times
}

async fn forms(server: &Server) -> Vec<(&'static str, Form)> {
    use base64::Engine as _;
    let image = vec![b'x'; IMAGE];
    let text = base64::engine::general_purpose::STANDARD.encode(&image);
    let json = serde_json::json!({ "inputs": [{ "name": "image", "shape": [1], "datatype": "BYTES",
        "parameters": { "content_type": "base64" }, "data": [text] }] });
    let element = [&(IMAGE as u32).to_le_bytes(), image.as_slice()].concat();
    let header = serde_json::json!({ "parameters": { "binary_data_output": true }, "inputs": [{ "name": "image",
        "shape": [1], "datatype": "BYTES", "parameters": { "binary_data_size": element.len() } }] });
    let header = header.to_string().into_bytes();
    let binary = [header.as_slice(), element.as_slice()].concat();
    let channel =
        Endpoint::from_shared(server.grpc_url.clone()).expect("an address").connect().await.expect("connected");
    let request = ModelInferRequest {
        model_name: "p".into(),
        inputs: vec![InferInputTensor {
            name: "image".into(),
            datatype: "BYTES".into(),
            shape: vec![1],
            parameters: HashMap::new(),
            contents: None,
        }],
        raw_input_contents: vec![element.into()],
        ..ModelInferRequest::default()
    };
    vec![
        ("REST JSON", Form::Json(json.to_string())),
        ("REST binary", Form::Binary(binary, header.len())),
        ("gRPC", Form::Grpc(Box::new((GrpcInferenceServiceClient::new(channel), request)))),
    ]
}
