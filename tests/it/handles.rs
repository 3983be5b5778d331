//! A guest that takes or uses too many handles: the answer names the limit, and the host serves before, during and after it.

use plimsoll_tests::{Reply, Server, guest, guests_config};

async fn server() -> Server {
    let config = guests_config("tester", "")
        .replace("plugin = \"echo-infer\"", "plugin = \"handles\"\nmodel = \"digits\"\ndeadline = \"60s\"");
    let config = format!(
        "{config}[plugins.handles]\nfile = {:?}\n[models.digits]\nfile = \"bundled:digits.onnx\"\n",
        guest("handles")
    );
    Server::start(&config).await
}

async fn ask(server: &Server, query: &str) -> Reply {
    let reply = server.infer("p", query, "").await;
    let after = server.infer("p", "", "").await;
    assert_eq!(after.status, 200, "after {query}: {}", after.text);
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_waits_for_a_limited_number_of_pollables() {
    let server = server().await;
    let reply = ask(&server, "?handles=poll&count=1024").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    for count in ["1025", "9000"] {
        let reply = ask(&server, &format!("?handles=poll&count={count}")).await;
        assert_eq!((reply.status, &*reply.code()), (500, "output_limit"), "{}", reply.text);
        assert!(
            reply.text.contains(&format!("waits for {count} pollables")) && reply.text.contains("1024 are allowed")
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_a_limited_number_of_handles_of_any_kind() {
    let server = server().await;
    for kind in ["pollables", "own", "graphs", "contexts", "errors", "tensors"] {
        let reply = ask(&server, &format!("?handles={kind}&count=5000")).await;
        assert_eq!(reply.status, 200, "{kind}: {}", reply.text);
        for count in ["&count=45000", ""] {
            let reply = ask(&server, &format!("?handles={kind}{count}")).await;
            assert_eq!((reply.status, &*reply.code()), (500, "output_limit"), "{kind}: {}", reply.text);
            let words = ["too many handles", "20000 are allowed"];
            assert!(words.iter().all(|words| reply.text.contains(words)), "{kind}: {}", reply.text);
        }
    }
    let health = server.get("/v2/health/ready").await;
    assert_eq!(health.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_used_wrongly_answers_with_a_short_reason() {
    let server = server().await;
    for (query, status, code) in [
        ("?handles=no-inputs", 500, "tensor_mismatch"),
        ("?handles=inputs&count=10000", 500, "tensor_mismatch"),
        ("?handles=name&count=1000", 500, "tensor_mismatch"),
        ("?handles=name&count=8000000", 500, "output_limit"),
        // The text of an internal error is only logged.
        ("?handles=model-name&count=8000000", 500, "internal"),
        ("?handles=compute&count=1000", 200, "ok"),
    ] {
        let reply = ask(&server, query).await;
        assert_eq!((reply.status, &*reply.code()), (status, code), "{query}: {}", reply.text);
        assert!(reply.text.len() < 4_000, "{query}: {} bytes", reply.text.len());
    }
    server.stop().await;
}
