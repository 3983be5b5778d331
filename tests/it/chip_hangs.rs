//! A device that hangs: a run on it does not end. Its chip is taken out of service, the fallback answers, the sessions that
//! the runs hold are counted, and the chip comes back when the device does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_tests::simulated::{Device, Fault};
use plimsoll_tests::{Server, guest};

use crate::batching::metric;
use crate::chip_failures::{answered, chips, config, header, infer, wait_for_service};

/// Ends the runs that hang also if the test fails: the threads of a test are waited for.
pub(crate) struct Recovers(pub(crate) Arc<Device>);

impl Drop for Recovers {
    fn drop(&mut self) {
        self.0.set_fault(Fault::None);
    }
}

/// `config` of a device with so many sessions.
fn with_sessions(device: &str, sessions: u32, model: &str, pipeline: &str) -> String {
    let options = format!("device = \"{device}\"");
    config(device, model, pipeline).replace(&options, &format!("{options}, sessions = {sessions}"))
}

async fn hung(server: &Server) -> f64 {
    metric(&server.get("/metrics").await.text, "plimsoll_model_hung_runs{model=\"m\"}")
}

async fn wait_for_hung(server: &Server, runs: f64) {
    let started = Instant::now();
    while hung(server).await != runs {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "there are {} runs that hang, not {runs}",
            hung(server).await
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fallback_answers_while_a_device_hangs_and_the_chip_comes_back() {
    let device = Device::of("hangs");
    let _recovers = Recovers(Arc::clone(&device));
    for batches in ["", "max_batch = 8\nmax_delay = \"5ms\""] {
        let model = format!("hang_after = \"2s\"\ndevice_retry = \"50ms\"\n{batches}");
        let server = Arc::new(Server::start(&with_sessions("hangs", 2, &model, "fallback = \"cpu\"")).await);
        assert_eq!(answered(&server, 8).await, chips(&["a"]));
        device.set_fault(Fault::Hangs);
        // Two runs have the sessions, and all others wait for one.
        assert_eq!(answered(&server, 24).await, chips(&["cpu"]), "no request is lost");
        wait_for_service(&server, 0.0).await;
        for _ in 0..4 {
            assert_eq!(answered(&server, 8).await, chips(&["cpu"]));
        }
        assert_eq!(server.get("/v2/health/ready").await.status, 200, "the fallback answers");
        // A trial has a session of its own, if one is free.
        wait_for_hung(&server, 2.0).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(hung(&server).await, 2.0, "there are no more sessions");
        device.set_fault(Fault::None);
        wait_for_service(&server, 1.0).await;
        wait_for_hung(&server, 0.0).await;
        assert_eq!(answered(&server, 8).await, chips(&["a"]));
        // And again: what ended late holds no session.
        device.set_fault(Fault::Hangs);
        assert_eq!(answered(&server, 4).await, chips(&["cpu"]));
        device.set_fault(Fault::None);
        wait_for_service(&server, 1.0).await;
        assert_eq!(answered(&server, 8).await, chips(&["a"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_that_hangs_is_enough_and_trials_take_only_free_sessions() {
    let device = Device::of("hangs-once");
    let _recovers = Recovers(Arc::clone(&device));
    let model = "hang_after = \"2s\"\ndevice_retry = \"50ms\"\ndevice_failures = 5";
    let server = Server::start(&with_sessions("hangs-once", 3, model, "")).await;
    device.set_fault(Fault::Hangs);
    let first = infer(&server, 4, "").await;
    assert_eq!((first.status, first.json()["code"].as_str()), (503, Some("device_failure")), "{}", first.text);
    assert!(header(&first, "retry-after").is_some());
    wait_for_service(&server, 0.0).await;
    for path in ["/v2/health/ready", "/v2/models/p/ready"] {
        assert_eq!(server.get(path).await.status, 503, "{path}");
    }
    // Each trial hangs too, until none of the sessions is free.
    wait_for_hung(&server, 3.0).await;
    assert_eq!(infer(&server, 4, "").await.json()["code"], "device_failure");
    assert_eq!(infer(&server, 4, "?chip=cpu").await.status, 200);
    device.set_fault(Fault::None);
    wait_for_service(&server, 1.0).await;
    wait_for_hung(&server, 0.0).await;
    assert_eq!(infer(&server, 4, "").await.status, 200);
    assert_eq!(server.get("/v2/health/ready").await.status, 200);
}

/// A device that is only slow is not punished.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_in_time_is_no_failure() {
    let device = Device::of("slow");
    let slow =
        with_sessions("slow", 1, "hang_after = \"20s\"", "").replace("sessions = 1", "sessions = 1, run_ms = 700");
    let server = Server::start(&slow).await;
    for _ in 0..3 {
        assert_eq!(infer(&server, 4, "").await.status, 200);
    }
    let text = server.get("/metrics").await.text;
    assert_eq!(metric(&text, "plimsoll_model_in_service{model=\"m\"}"), 1.0);
    assert_eq!(hung(&server).await, 0.0);
    drop(device);
}

/// Before a run has hung for long enough, nothing says that the device hangs. Reports and changes must not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn figures_and_deployments_do_not_wait_for_a_device_that_hangs() {
    let device = Device::of("hangs-unseen");
    let _recovers = Recovers(Arc::clone(&device));
    let server = Server::start(&with_sessions("hangs-unseen", 1, "hang_after = \"1h\"", "")).await;
    assert_eq!(infer(&server, 4, "").await.status, 200);
    device.set_fault(Fault::Hangs);
    let noop = std::fs::read(guest("noop-preprocess")).expect("built");
    let all = async {
        for path in ["/metrics", "/v1/models", "/v1/memory", "/metrics"] {
            assert_eq!(server.get(path).await.status, 200, "{path}");
        }
        assert_eq!(server.send("PUT", "/v1/plugins/noop", &[], noop).await.status, 200);
        assert_eq!(server.send("POST", "/v2/repository/models/p/load", &[], Vec::new()).await.status, 200);
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("nothing waits for the device");
    assert_eq!(hung(&server).await, 0.0, "nothing knows that it hangs");
}
