//! A device that hangs while a model is loaded and prepared on it: the start and a deployment are refused after
//! `load_deadline` instead of waiting for ever, and what is served stays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_tests::simulated::{Device, Fault};
use plimsoll_tests::{Server, TempDir, another_version, data, shared_cache};

use crate::chip_failures::config;
use crate::chip_hangs::Recovers;

#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_refused_when_a_device_hangs() {
    let device = Device::of("hangs-at-start");
    let _recovers = Recovers(Arc::clone(&device));
    for batches in ["", "max_batch = 4"] {
        let toml = |deadline: &str| {
            let model = format!("load_deadline = \"{deadline}\"\n{batches}");
            config("hangs-at-start", &model, "fallback = \"cpu\"")
        };
        device.set_fault(Fault::Hangs);
        let refused = Server::rejection(&toml("300ms")).await;
        let reason = "load_deadline: the model `m` cannot be loaded on `cpu`: it has not ended after 300ms";
        assert!(refused.contains("models.m: ") && refused.contains(reason), "{refused}");
        assert!(refused.contains("raise `load_deadline`"), "{refused}");
        device.set_fault(Fault::None);
        let server = Server::start(&toml("60s")).await;
        assert_eq!(server.get("/v2/health/ready").await.status, 200);
        server.stop().await;
    }
    // A device that fails is refused at once, and the limit does not replace its error.
    device.set_fault(Fault::Lost);
    let refused = Server::rejection(&config("hangs-at-start", "load_deadline = \"60s\"\nmax_batch = 4", "")).await;
    assert!(refused.contains("is lost") && !refused.contains("load_deadline"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_does_not_wait_for_a_device_that_hangs() {
    let device = Device::of("hangs-at-reload");
    let _recovers = Recovers(Arc::clone(&device));
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("plimsoll.toml");
    let pipeline = |name: &str, model: &str| {
        format!(
            "[pipelines.{name}]\nmodel = \"{model}\"\n[pipelines.{name}.preprocess]\nplugin = \"image-preprocess\"\n\
             config = {{ width = 8, height = 8, channels = \"gray\", scale = 0.00392156862745098 }}\n\
             [pipelines.{name}.chips.c]\nplugin = \"infer-native\"\n[pipelines.{name}.postprocess]\n\
             plugin = \"classify-postprocess\"\nconfig = {{ labels = \"labels.txt\" }}\n\
             assets = {{ \"labels.txt\" = \"bundled:digits-labels.txt\" }}\n"
        )
    };
    let first = format!(
        "cache_dir = {:?}\n[deploy]\npoll = \"100ms\"\n[models.c]\nfile = \"bundled:digits.onnx\"\n{}",
        shared_cache(),
        pipeline("p", "c")
    );
    std::fs::write(&path, &first).expect("written");
    let mut loaded = plimsoll::config::Config::load(Some(&path)).expect("valid");
    loaded.data_dir = Some(folder.path().join(".plimsoll"));
    let server = Server::with_config(&loaded).await;
    let body = std::fs::read(data("digits/4.png")).expect("a digit");
    device.set_fault(Fault::Hangs);
    let model = "[models.m]\nfile = \"bundled:digits.onnx\"\nbackend = \"simulated\"\nload_deadline = \"2s\"\n\
                 options = { device = \"hangs-at-reload\" }\n";
    std::fs::write(&path, format!("{first}{model}{}", pipeline("q", "m"))).expect("written");
    let started = Instant::now();
    while !device.is_computing() {
        assert!(started.elapsed() < Duration::from_secs(60), "the new configuration is not tried");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The device still hangs. What is served answers, and another change is made.
    let shipped = plimsoll::base::bundled::plugin("infer-native").expect("shipped");
    let put = server.send("PUT", "/v1/plugins/infer-native", &[], another_version(shipped, 1)).await;
    assert_eq!(put.status, 200, "{}", put.text);
    for _ in 0..5 {
        assert_eq!(server.infer("p", "", body.clone()).await.status, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.infer("q", "", body.clone()).await.status, 404, "it is not served");
    device.set_fault(Fault::None);
    let started = Instant::now();
    while server.infer("q", "", body.clone()).await.status != 200 {
        assert!(started.elapsed() < Duration::from_secs(60), "the device is back, and the change is not made");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
