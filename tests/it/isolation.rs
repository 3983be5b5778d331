//! No byte of one request is visible to the next request.

use plimsoll_tests::{Server, guests_config};

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_that_fills_memory_is_not_found_by_the_next_request() {
    // With one request at a time, the searching guest gets the same memory slot that the previous guest filled.
    let config = format!("[server]\nmax_concurrency = 1\n{}", guests_config("tester", "max_memory = \"128MiB\""));
    let server = Server::start(&config).await;
    for bytes in [1 << 20, 16 << 20, 96 << 20] {
        for _ in 0..3 {
            let reply = server.infer("p", &format!("?do=fill&bytes={bytes}"), "").await;
            assert_eq!(reply.status, 200, "{}", reply.text);
            assert!(reply.high_water("preprocess") >= bytes);
            let reply = server.infer("p", &format!("?do=search&bytes={bytes}"), "").await;
            assert_eq!(reply.status, 200, "{}", reply.text);
            assert!(reply.high_water("preprocess") >= bytes);
        }
    }
}
