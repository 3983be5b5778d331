//! The end of a request's time while its items begin.

use std::sync::Arc;

use plimsoll_tests::shared_cache;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::process::{PATIENCE, Setup};
use crate::steps_pipelines::{GATHER, IN, config, rows};

/// The items of these requests run nothing that looks at the time: they have no step, or what the step takes is wrong. The
/// time of a request ends before, between or after its items.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_time_ends_among_items_that_run_nothing_is_answered() {
    let split = |partial: bool| {
        format!(
            r#"{{ name = "split", kind = "transform", plugin = "transformer", items = true, max_items = 1024, partial = {partial}, config = {{ split = true }} }}"#
        )
    };
    let twice = r#"{ name = "twice", kind = "transform", plugin = "transformer", from = ["split", "in.x"] }"#;
    for steps in [vec![IN, &split(false), GATHER], vec![IN, &split(true), twice, GATHER]] {
        let text = format!("cache_dir = {:?}\n{}", shared_cache(), config("deadline = \"600ms\"", &steps));
        let process = Setup::with(&text);
        let process = process.serve();
        let (url, client, places) = (process.url(), reqwest::Client::new(), Arc::new(Semaphore::new(6)));
        let requests: Vec<_> = (0..120)
            .map(|number| {
                let (places, client) = (Arc::clone(&places), client.clone());
                let url = format!("{url}/v1/pipelines/p/infer?transform=sleep&ms={}", 300 + number * 5 / 2);
                tokio::spawn(async move {
                    let _place = places.acquire().await.expect("open");
                    let reply = timeout(PATIENCE, client.post(&url).body(rows(1024)).send()).await;
                    let reply = reply.unwrap_or_else(|_| panic!("{url} hangs")).expect("an answer");
                    reply.status().as_u16()
                })
            })
            .collect();
        for request in requests {
            let status = request.await.expect("no panic");
            assert!([200, 504].contains(&status), "{status}");
        }
        drop(process);
    }
}
