//! The short form of the soak; `cargo bench --bench soak` is the long one.

use std::path::Path;

use plimsoll_tests::soak::Soak;

/// Thousands of requests, half of them malformed, get the right replies while plugins are replaced. Memory does not
/// grow with the requests: if the bodies that the plugin keeps (64 KiB on average) stayed, memory would grow by 75 MiB
/// after the second tenth. Memory grows a little until every thread has compiled something.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_mixed_requests_get_the_right_replies_and_leave_no_memory() {
    let requests = std::env::var("PLIMSOLL_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(6_000);
    let soak = Soak { requests, clients: 8, seed: 1, change_every: 300 };
    let report = soak.run(Path::new(env!("CARGO_BIN_EXE_plimsoll-under-test"))).await;
    println!("{report:#?}");
    assert!(report.unexpected.is_empty(), "{:#?}", report.unexpected);
    assert!(report.changes > 10, "{}", report.changes);
    assert!(report.growth() < 32 << 20, "{:?}", report.resident);
}
