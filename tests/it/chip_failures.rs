//! A device that fails: its chip is taken out of service and comes back, the fallback answers meanwhile, a batch that does
//! not fit into its memory is halved, and no request is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_tests::simulated::{Device, Fault};
use plimsoll_tests::{Reply, Server, another_version, data};
use serde_json::json;

use crate::batching::metric;
use crate::{grpc_calls, oip_rest};

/// The digits that are PNG files.
const DIGITS: [u8; 8] = [0, 1, 2, 4, 5, 6, 8, 9];

/// A pipeline with the chip `a` on a simulated device and the chip `cpu`. `model` is added to the model of `a`, `pipeline`
/// to the pipeline.
pub(crate) fn config(device: &str, model: &str, pipeline: &str) -> String {
    format!(
        "[models.m]\nfile = \"bundled:digits.onnx\"\nbackend = \"simulated\"\noptions = {{ device = \"{device}\" }}\n{model}\n\
         [models.c]\nfile = \"bundled:digits.onnx\"\n[pipelines.p]\ndefault_chip = \"a\"\n{pipeline}\n\
         [pipelines.p.preprocess]\nplugin = \"image-preprocess\"\n\
         config = {{ width = 8, height = 8, channels = \"gray\", scale = 0.00392156862745098 }}\n\
         [pipelines.p.chips.a]\nplugin = \"infer-native\"\nmodel = \"m\"\n\
         [pipelines.p.chips.cpu]\nplugin = \"infer-native\"\nmodel = \"c\"\n\
         [pipelines.p.postprocess]\nplugin = \"classify-postprocess\"\n\
         config = {{ labels = \"labels.txt\" }}\nassets = {{ \"labels.txt\" = \"bundled:digits-labels.txt\" }}\n"
    )
}

pub(crate) async fn infer(server: &Server, digit: u8, query: &str) -> Reply {
    let body = std::fs::read(data(&format!("digits/{digit}.png"))).expect("a digit");
    server.infer("p", query, body).await
}

/// Sends requests at the same time. Each must be answered with its own digit. Returns the chips that answered.
pub(crate) async fn answered(server: &Arc<Server>, requests: usize) -> BTreeSet<String> {
    let requests: Vec<_> = (0..requests)
        .map(|request| {
            let (server, digit) = (Arc::clone(server), DIGITS[request % DIGITS.len()]);
            tokio::spawn(async move { (digit, infer(&server, digit, "").await) })
        })
        .collect();
    let mut chips = BTreeSet::new();
    for request in requests {
        let (digit, reply) = request.await.expect("no panic");
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.json()["predictions"][0]["label"], digit.to_string(), "{}", reply.text);
        chips.insert(header(&reply, "x-plimsoll-chip").expect("a chip").to_owned());
    }
    chips
}

/// Waits until the metric of the model's service has this value.
pub(crate) async fn wait_for_service(server: &Server, value: f64) {
    let started = Instant::now();
    while metric(&server.get("/metrics").await.text, "plimsoll_model_in_service{model=\"m\"}") != value {
        assert!(started.elapsed() < Duration::from_secs(30), "the service does not become {value}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.get(name).map(|value| value.to_str().expect("text"))
}

pub(crate) fn chips(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fallback_answers_while_a_device_is_lost_and_no_request_is_lost() {
    let device = Device::of("fallback");
    for batches in ["", "max_batch = 8\nmax_delay = \"5ms\""] {
        let model = format!("device_failures = 2\ndevice_retry = \"100ms\"\n{batches}");
        let server = Arc::new(Server::start(&config("fallback", &model, "fallback = \"cpu\"")).await);
        assert_eq!(answered(&server, 8).await, chips(&["a"]));
        // The device fails while requests run. All of them may be answered before it does.
        let running = tokio::spawn({
            let server = Arc::clone(&server);
            async move {
                let (mut by, started) = (BTreeSet::new(), Instant::now());
                while !by.contains("cpu") && started.elapsed() < Duration::from_secs(30) {
                    by.extend(answered(&server, 40).await);
                }
                by
            }
        });
        device.set_fault(Fault::Lost);
        let of_running = running.await.expect("no panic");
        assert!(of_running.contains("cpu"), "{of_running:?}");
        wait_for_service(&server, 0.0).await;
        device.take_runs();
        assert_eq!(answered(&server, 16).await, chips(&["cpu"]));
        assert_eq!(answered(&server, 1).await, chips(&["cpu"]), "also if the chip is named");
        let reply = infer(&server, 4, "?chip=a").await;
        assert_eq!((reply.status, header(&reply, "x-plimsoll-chip")), (200, Some("cpu")));
        for path in ["/v2/health/ready", "/v2/models/p/ready"] {
            assert_eq!(server.get(path).await.status, 200, "the fallback answers: {path}");
        }
        device.set_fault(Fault::None);
        wait_for_service(&server, 1.0).await;
        assert_eq!(answered(&server, 8).await, chips(&["a"]));
        let text = server.get("/metrics").await.text;
        assert!(metric(&text, "plimsoll_model_device_failures_total{model=\"m\"}") >= 2.0, "{text}");
        assert!(metric(&text, "plimsoll_requests_total{pipeline=\"p\",chip=\"cpu\",outcome=\"ok\"}") >= 18.0, "{text}");
    }
}

/// A version that never ran on its chip could fail every request when the device is back. What serves is started and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_infer_plugin_is_not_admitted_by_an_answer_of_the_fallback() {
    let device = Device::of("admits");
    device.set_fault(Fault::Lost);
    let model = "compare_with_cpu = false\ndevice_failures = 1\ndevice_retry = \"50ms\"";
    let server = Server::start(&config("admits", model, "fallback = \"cpu\"")).await;
    let native = plimsoll::base::bundled::plugin("infer-native").expect("bundled");
    let put = async || server.send("PUT", "/v1/plugins/infer-native", &[], another_version(native, 1)).await;
    let refused = put().await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    let reason =
        "the device of chip `a` failed or is out of service, so chip `cpu` answered the sample of pipeline `p`";
    assert!(refused.text.contains(reason) && refused.text.contains("try again"), "{}", refused.text);
    // A preprocess plugin does not run on the device.
    let image = plimsoll::base::bundled::plugin("image-preprocess").expect("bundled");
    let other = server.send("PUT", "/v1/plugins/image-preprocess", &[], another_version(image, 1)).await;
    assert_eq!(other.status, 200, "{}", other.text);
    assert_eq!(header(&infer(&server, 4, "").await, "x-plimsoll-chip"), Some("cpu"));
    device.set_fault(Fault::None);
    wait_for_service(&server, 1.0).await;
    let admitted = put().await;
    assert_eq!(admitted.status, 200, "{}", admitted.text);
    assert_eq!(header(&infer(&server, 4, "").await, "x-plimsoll-chip"), Some("a"));
}

/// Also replies of the Open Inference Protocol, by REST and gRPC, of one and of several images, and of tensors, name the chip
/// that answered, not the one to which the request was routed.
#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_reply_names_the_chip_that_answered() {
    let device = Device::of("named");
    let server =
        Server::start(&config("named", "device_failures = 1\ndevice_retry = \"1h\"", "fallback = \"cpu\"")).await;
    let mut client = grpc_calls::client(&server).await;
    let (four, six) = (oip_rest::digit("4.png"), oip_rest::digit("6.png"));
    for expected in ["a", "cpu", "cpu"] {
        if expected == "cpu" {
            device.set_fault(Fault::Lost);
        }
        for images in [vec![&four[..]], vec![&four[..], &six[..]]] {
            let reply = server.infer_json("p", &json!({ "inputs": [oip_rest::images(&images)] })).await;
            assert_eq!((reply.status, header(&reply, "x-plimsoll-chip")), (200, Some(expected)), "{}", reply.text);
            let request = grpc_calls::images("p", &images, &[]);
            let answer = client.model_infer(request).await.expect("an answer");
            assert_eq!(answer.metadata().get("x-plimsoll-chip").expect("a chip"), expected);
        }
        let name = server.get("/v2/models/p.infer").await.json()["inputs"][0]["name"].clone();
        let row = json!({ "name": name, "datatype": "FP32", "shape": [1, 1, 8, 8], "data": vec![0.0; 64] });
        let reply = server.infer_json("p.infer", &json!({ "inputs": [row] })).await;
        assert_eq!((reply.status, header(&reply, "x-plimsoll-chip")), (200, Some(expected)), "{}", reply.text);
        let reply = infer(&server, 4, "").await;
        assert_eq!((reply.status, header(&reply, "x-plimsoll-chip")), (200, Some(expected)), "{}", reply.text);
    }
    device.set_fault(Fault::None);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fallback_the_pipeline_is_not_ready_until_the_device_is_back() {
    let device = Device::of("alone");
    let server = Server::start(&config("alone", "device_failures = 2\ndevice_retry = \"50ms\"", "")).await;
    device.set_fault(Fault::Lost);
    let first = infer(&server, 4, "").await;
    assert_eq!((first.status, first.json()["code"].as_str()), (503, Some("device_failure")), "{}", first.text);
    assert!(header(&first, "retry-after").is_some());
    assert!(!first.text.contains("simulated"), "the library's message is for the log: {}", first.text);
    assert_eq!(server.get("/v2/health/ready").await.status, 200, "one failure is not enough");
    assert_eq!(infer(&server, 4, "").await.status, 503);
    wait_for_service(&server, 0.0).await;
    for path in ["/v2/health/ready", "/v2/models/p/ready", "/v2/models/p.infer/ready"] {
        assert_eq!(server.get(path).await.status, 503, "{path}");
    }
    assert_eq!(server.get("/v2/health/live").await.status, 200);
    assert_eq!(infer(&server, 4, "").await.json()["code"], "device_failure");
    assert_eq!(infer(&server, 4, "?chip=cpu").await.status, 200, "the other chip is in service");
    device.set_fault(Fault::None);
    wait_for_service(&server, 1.0).await;
    assert_eq!(infer(&server, 4, "").await.status, 200);
    assert_eq!(server.get("/v2/health/ready").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_does_not_fit_into_the_memory_is_halved() {
    let device = Device::of("memory");
    let model = "max_batch = 16\nmax_delay = \"500ms\"\ndevice_failures = 1";
    let server = Arc::new(Server::start(&config("memory", model, "")).await);
    device.set_fault(Fault::Memory(4));
    device.take_runs();
    assert_eq!(answered(&server, 16).await, chips(&["a"]));
    let runs = device.take_runs();
    assert!(runs.iter().all(|&rows| rows <= 4), "{runs:?}");
    assert!(runs.contains(&4), "the halves stay batches: {runs:?}");
    let text = server.get("/metrics").await.text;
    assert_eq!(metric(&text, "plimsoll_model_in_service{model=\"m\"}"), 1.0, "the device computes");
    // One row that does not fit is a failure of the device.
    device.set_fault(Fault::Memory(0));
    assert_eq!(infer(&server, 4, "").await.json()["code"], "device_failure");
    wait_for_service(&server, 0.0).await;
    device.set_fault(Fault::None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_that_is_no_chip_of_the_pipeline_is_refused() {
    Device::of("refused");
    let message = Server::rejection(&config("refused", "", "fallback = \"gpu\"")).await;
    assert!(message.contains("pipelines.p.fallback: there is no chip `gpu`; set it to one of a, cpu"), "{message}");
    let one = crate::batching::config("file = \"bundled:digits.onnx\"");
    let message = Server::rejection(&one.replace("[pipelines.p]\n", "[pipelines.p]\nfallback = \"c\"\n")).await;
    assert!(message.contains("pipelines.p.fallback: the pipeline has one chip"), "{message}");
    for (setting, reason) in [("device_failures = 0", "at least 1"), ("device_retry = \"0s\"", "greater than 0")] {
        let message = Server::rejection(&config("refused", setting, "")).await;
        let key = setting.split(' ').next().expect("a key");
        assert!(message.contains(&format!("models.m.{key}: must be {reason}")), "{message}");
    }
}
