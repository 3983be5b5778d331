//! A shadow chip that fails, hangs or finds no room: nothing changes for the caller, and everything is counted and bounded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_tests::simulated::{Device, Fault};
use plimsoll_tests::{Server, data};
use serde_json::json;

use crate::batching::metric;
use crate::shadow::{A, ALL, digits, guests, infer_digit, settled, shadow_metric};

/// The time in which a server stops: less than the deadline of a shadow run.
const STOPS_WITHIN: Duration = Duration::from_secs(8);

/// Ends the fault of a device also if the test fails: a runtime waits for its threads, and one that hangs would hang the
/// test.
struct Recovers(Arc<Device>);

impl Drop for Recovers {
    fn drop(&mut self) {
        self.0.set_fault(Fault::None);
    }
}

/// The model of digits on a simulated device as chip `b`.
fn simulated(device: &str, options: &str) -> String {
    format!(
        "{A}[models.b]\nfile = \"bundled:digits.onnx\"\nbackend = \"simulated\"\n\
         options = {{ device = \"{device}\"{options} }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_fails_changes_nothing_for_the_caller_and_is_counted_by_its_failure() {
    let server = Server::start(&guests("", ALL)).await;
    let usual = server.infer("p", "", "").await;
    assert_eq!(usual.status, 200, "{}", usual.text);
    settled(&server, 1).await;
    let cases = [
        ("panic", "failed", "trap"),
        ("loop", "failed", "deadline"),
        ("grow", "failed", "memory_limit"),
        ("unknown", "failed", "invalid_input"),
        ("name", "mismatched", "name"),
        ("shape", "mismatched", "shape"),
        ("nan", "mismatched", "nan"),
        ("infinite", "mismatched", "infinite"),
    ];
    for (turn, (command, result, reason)) in (2..).zip(cases) {
        let started = Instant::now();
        let reply = server.infer("p", &format!("?b={command}"), "").await;
        let time = started.elapsed();
        assert_eq!((reply.status, &reply.text), (200, &usual.text), "{command}");
        assert!(time < Duration::from_secs(3), "{command} delays its caller: {time:?}");
        let pair = settled(&server, turn).await;
        assert_eq!(pair[result][reason], 1, "{command}: {pair}");
        let labels = format!(",result=\"{result}\",reason=\"{reason}\"");
        assert_eq!(shadow_metric(&server, "runs_total", "echo", &labels).await, 1.0, "{command}");
    }
    let pair = settled(&server, 9).await;
    assert_eq!((&pair["compared"], &pair["skipped"]), (&json!(1), &json!({})), "{pair}");
    // Nothing is counted for requests, stages and callers.
    let text = server.get("/metrics").await.text;
    assert_eq!(metric(&text, "plimsoll_requests_total{pipeline=\"p\",chip=\"echo\",outcome=\"ok\"}"), 9.0);
    assert!(!text.contains("outcome=\"trap\"") && !text.contains("outcome=\"memory_limit\""), "{text}");
    assert!(!server.get("/v1/memory").await.text.contains("\"chip\":\"b\""));
    let pool = server.app.runtime.pool_usage().expect("a pool");
    assert_eq!(pool.component_instances, 0, "every instance is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_is_skipped_and_counted() {
    // Each body is a tensor of the same size, once as input and once as output. The parameter has 7 bytes, and the name of the
    // tensor 5.
    let config = guests("max_shadow_runs = 1\nmax_shadow_queue = 1\nshadow_budget = 10017", ALL);
    let server = Arc::new(Server::start(&config).await);
    let reply = server.infer("p", "?do=carry", vec![1; 5_001]).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(settled(&server, 1).await["skipped"], json!({ "bytes": 1 }), "the outputs do not fit");
    assert_eq!(server.infer("p", "?do=carry", vec![1; 10_006]).await.status, 200);
    assert_eq!(settled(&server, 2).await["skipped"], json!({ "bytes": 2 }), "the inputs do not fit");
    assert_eq!(server.infer("p", "?do=carry", vec![1; 5_000]).await.status, 200);
    let pair = settled(&server, 3).await;
    assert_eq!((&pair["compared"], &pair["skipped"]), (&json!(1), &json!({ "bytes": 2 })), "{pair}");
    // A shadow run that sleeps has the only slot, and one waits.
    for _ in 0..2 {
        assert_eq!(server.infer("p", "?b=sleep", "").await.status, 200);
    }
    for _ in 0..5 {
        assert_eq!(server.infer("p", "", "").await.status, 200);
    }
    let pair = settled(&server, 10).await;
    assert_eq!((&pair["compared"], &pair["skipped"]), (&json!(3), &json!({ "bytes": 2, "queue": 5 })), "{pair}");
    // A request whose own chip fails has nothing to compare with.
    assert_eq!(server.infer("p", "?infer=panic", "").await.status, 500);
    let pair = settled(&server, 11).await;
    assert_eq!(pair["skipped"], json!({ "bytes": 2, "queue": 5, "no_answer": 1 }), "{pair}");
    // A request that does not reach the infer stage is not counted.
    assert_eq!(server.infer("p", "?do=panic", "").await.status, 500);
    assert_eq!(server.infer("p", "", "").await.status, 200);
    settled(&server, 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_hangs_holds_one_slot_and_no_caller_waits_for_it() {
    let device = Device::of("shadow-hangs");
    let _recovers = Recovers(Arc::clone(&device));
    let config = digits(&simulated("shadow-hangs", ""), &format!("deadline = \"4s\"\n{ALL}"), "deadline = \"500ms\"");
    let server =
        Arc::new(Server::start(&format!("[server]\nmax_shadow_runs = 1\nmax_shadow_queue = 2\n{config}")).await);
    device.set_fault(Fault::Hangs);
    for digit in [0, 1, 2, 4, 5, 6, 8, 9] {
        infer_digit(&server, digit).await;
    }
    // One run hangs past its deadline and keeps its slot, two wait for the slot in vain, and the others find no room.
    let pair = settled(&server, 8).await;
    assert_eq!((&pair["failed"], &pair["skipped"]), (&json!({ "deadline": 1 }), &json!({ "late": 2, "queue": 5 })));
    for digit in [0, 1, 2, 4] {
        infer_digit(&server, digit).await;
    }
    let pair = settled(&server, 12).await;
    assert_eq!(pair["skipped"], json!({ "late": 4, "queue": 7 }), "{pair}");
    // The slot is free when the run has really ended.
    device.set_fault(Fault::None);
    let started = Instant::now();
    let mut count = 12;
    loop {
        infer_digit(&server, 5).await;
        count += 1;
        if settled(&server, count).await["compared"] == 1 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "the slot stays taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_run_never_joins_a_batch() {
    let device = Device::of("shadow-alone");
    let models = simulated("shadow-alone", ", run_ms = 20") + "max_batch = 8\nmax_delay = \"200ms\"\n";
    let server = Arc::new(Server::start(&format!("[server]\nmax_shadow_runs = 8\n{}", digits(&models, ALL, ""))).await);
    device.take_runs();
    let requests: Vec<_> = [0, 1, 2, 4, 5, 6, 8, 9]
        .map(|digit| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { infer_digit(&server, digit).await })
        })
        .into();
    for request in requests {
        request.await.expect("no panic");
    }
    assert_eq!(settled(&server, 8).await["compared"], 8);
    assert_eq!(device.take_runs(), [1; 8], "callers of chip `b` would wait for rows of the shadow");
}

/// A device that prepares itself for every new shape would hold up its callers for as long.
#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_run_is_padded_to_a_prepared_size() {
    let device = Device::of("shadow-sizes");
    let models = simulated("shadow-sizes", "") + "max_batch = 8\nbatch_sizes = [4, 8]\n";
    let server = Server::start(&digits(&models, ALL, "")).await;
    assert!(!device.take_new_shapes().is_empty(), "both sizes are prepared");
    device.take_runs();
    infer_digit(&server, 4).await;
    let pair = settled(&server, 1).await;
    assert_eq!((&pair["compared"], &pair["mismatched"]), (&json!(1), &json!({})), "{pair}");
    assert_eq!(device.take_runs(), [4]);
    assert_eq!(device.take_new_shapes(), Vec::<Vec<Vec<u32>>>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_stops_at_once_with_shadow_runs_that_loop_or_hang() {
    let device = Device::of("shadow-stops");
    let _recovers = Recovers(Arc::clone(&device));
    let hangs = digits(&simulated("shadow-stops", ""), ALL, "");
    for (config, query, pipeline_body) in [(hangs, "", "digits/4.png"), (guests("", ALL), "?b=loop", "digits/4.png")] {
        let server = Server::start(&config).await;
        device.set_fault(Fault::Hangs);
        for _ in 0..4 {
            let body = std::fs::read(data(pipeline_body)).expect("a digit");
            let reply = server.infer("p", query, body).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
        let app = Arc::clone(&server.app.shadows);
        let started = Instant::now();
        server.stop().await;
        // A spare connection, which the client may have opened and never used, is waited for up to 5 s. A shadow run has its
        // deadline of 10 s.
        assert!(started.elapsed() < STOPS_WITHIN, "{:?}", started.elapsed());
        // The tasks that hold the shadow runs are gone.
        while Arc::strong_count(&app) > 1 {
            assert!(started.elapsed() < STOPS_WITHIN, "a shadow run continues");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        device.set_fault(Fault::None);
    }
}
