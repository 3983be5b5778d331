//! How batches flow to a device that computes one run after another: callers that return at about the same time share a
//! run, their tensors are written into its buffer once, and the next batch is gathered and copied while the device computes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use plimsoll_tests::simulated::Device;
use plimsoll_tests::{Server, data};

use crate::batching::{config, metric};

const CALLERS: usize = 16;

/// A run takes so long that waiting for the callers of the batch before it pays, on a slow machine too.
const COSTS: &str = "run_ms = 600, row_ms = 1";

/// The rows of the runs that so many callers cause, each with one request at a time, until there are so many runs and overlaps.
async fn runs(device: &str, max_delay: &str, costs: &str, callers: usize, least: (usize, u32)) -> (Vec<u32>, Server) {
    let simulated = Device::of(device);
    let model = format!(
        "file = \"bundled:digits.onnx\"\nbackend = \"simulated\"\nmax_batch = 16\nmax_delay = \"{max_delay}\"\n\
         options = {{ device = \"{device}\", sessions = 2, {costs} }}"
    );
    let server = Arc::new(Server::start(&config(&model)).await);
    let body = std::fs::read(data("digits/4.png")).expect("a digit");
    simulated.take_runs();
    simulated.take_reserved();
    simulated.take_overlaps();
    let ends = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let (server, body, ends) = (Arc::clone(&server), body.clone(), Arc::clone(&ends));
            tokio::spawn(async move {
                while !ends.load(Relaxed) {
                    let reply = server.infer("p", "", body.clone()).await;
                    assert_eq!(reply.status, 200, "{}", reply.text);
                    assert_eq!(reply.json()["predictions"][0]["label"], "4", "{}", reply.text);
                }
            })
        })
        .collect();
    let (since, mut found, mut overlaps) = (Instant::now(), Vec::new(), 0);
    while (found.len() < least.0 || overlaps < least.1) && since.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        found.append(&mut simulated.take_runs());
        overlaps += simulated.take_overlaps();
    }
    assert!(overlaps >= least.1, "{overlaps} of {} runs copied while another one computed: {found:?}", found.len());
    ends.store(true, Relaxed);
    for caller in callers {
        caller.await.expect("no panic");
    }
    let server = Arc::into_inner(server).expect("not in use");
    found.append(&mut simulated.take_runs());
    (found, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_return_together_share_a_run() {
    let (runs, server) = runs("flow", "400ms", COSTS, CALLERS, (8, 0)).await;
    // The first runs gather the callers, and the last one is that of callers that stop.
    let settled = &runs[2.min(runs.len())..runs.len().saturating_sub(1)];
    let rows: u32 = settled.iter().sum();
    assert!(settled.len() >= 4, "{runs:?}");
    // If a batch were closed before the device can compute it, there would be two or three groups of callers.
    assert!(rows as usize >= settled.len() * 12, "most runs have the rows of most callers: {runs:?}");
    let text = server.get("/metrics").await.text;
    let (copied, rows) = (
        metric(&text, "plimsoll_model_batch_copied_bytes_total{model=\"m\"}"),
        metric(&text, "plimsoll_model_batch_rows_sum{model=\"m\"}"),
    );
    assert!(copied > 0.0 && copied <= rows * 64.0 * 4.0, "at most once: {copied} bytes for {rows} rows");
}

/// With callers for two batches, one batch is gathered, and its inputs are on their way to the device, while the device
/// computes the other one. Both are in buffers that the device reads directly.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_gathered_and_copied_while_the_device_computes_another_one() {
    let device = Device::of("flight");
    let costs = "copy_ms = 50, run_ms = 150";
    let (runs, server) = runs("flight", "5ms", costs, 2 * CALLERS, (4, 2)).await;
    let reserved = device.take_reserved();
    assert!(runs.len() >= 4, "{runs:?}");
    // A run of one request is not copied into a buffer.
    let joined: u32 = runs.iter().filter(|rows| **rows > 1).sum();
    assert!(reserved > 0 && reserved <= runs.iter().sum(), "{reserved} of {joined} rows were in reserved buffers");
    let text = server.get("/metrics").await.text;
    assert_eq!(metric(&text, "plimsoll_model_hung_runs{model=\"m\"}"), 0.0);
}
