//! What steps hand on is in memory only while a later step takes it.

use plimsoll_tests::Server;

use crate::steps_pipelines::{IN, body, config};

/// A tensor that nothing takes any more is freed, although another tensor of the same step is still needed.
#[tokio::test(flavor = "multi_thread")]
async fn a_tensor_is_freed_when_the_last_step_that_takes_it_has_run() {
    let values = vec![0.5; 4 << 20];
    let body = body(&[("x", &[1, 2], &[1.0, 2.0]), ("big", &[4 << 20], &values)]);
    let read = r#"{ name = "read", kind = "transform", plugin = "transformer", from = ["in.big"], config = { parameter = "read" } }"#;
    let last = |from: &str| {
        format!(
            r#"{{ name = "last", kind = "transform", plugin = "transformer", from = {from}, config = {{ parameter = "last" }} }}"#
        )
    };
    let out = r#"{ name = "out", kind = "postprocess", plugin = "echo-postprocess" }"#;
    // The body and the tensor are at most 3 times 16 MiB; then 16 MiB of the limit are taken as long as the tensor is held.
    let limit = "max_request_memory = \"60MiB\"";
    let code = async |from: &str| {
        let server = Server::start(&config(limit, &[IN, read, &last(from), out])).await;
        let reply = server.infer("p", "?read=region&start=0&size=2&last=need&bytes=54525952", body.clone()).await;
        (reply.code(), reply.text)
    };
    let freed = code(r#"["read.big as part", "in.x"]"#).await;
    assert_eq!(freed.0, "ok", "{}", freed.1);
    let held = code(r#"["read.big as part", "in.big"]"#).await;
    assert_eq!(held.0, "memory_limit", "{}", held.1);
}
