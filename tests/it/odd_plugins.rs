//! Names, shapes and texts of plugins that are far longer than any model needs: the host refuses or cuts them, so that they
//! cost it no memory that is not counted.

use plimsoll_tests::{Server, guests_config};
use tonic::Code;

use crate::grpc_calls::{client, images, text};

#[tokio::test(flavor = "multi_thread")]
async fn long_names_and_many_dimensions_of_tensors_are_refused() {
    let server = Server::start(&guests_config("tester", "")).await;
    for (query, words) in [
        ("?do=long-name&bytes=1025", "names a tensor with 1025 bytes, 1024 are allowed"),
        ("?do=long-name&bytes=4000000", "names a tensor with 4000000 bytes"),
        ("?do=rank&count=33", "a tensor with 33 dimensions, 32 are allowed"),
        ("?do=rank&count=1000000", "a tensor with 1000000 dimensions"),
    ] {
        let reply = server.infer("p", query, "").await;
        assert_eq!((reply.status, reply.code().as_str()), (500, "output_limit"), "{query}: {}", reply.text);
        assert!(reply.text.contains(words), "{query}: {}", reply.text);
    }
    assert_eq!(server.infer("p", "", "").await.status, 200);
}

/// Clients refuse headers of more than 8 KiB, and with them the whole answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_of_a_plugin_is_cut_for_grpc() {
    let server = Server::start(&guests_config("tester", "")).await;
    let reply = server.infer("p", "?do=long-text&bytes=16000", "").await;
    assert_eq!(reply.json()["detail"].as_str().map(str::len), Some(16_000));
    let parameters = [("do", text("long-text")), ("bytes", text("16000"))];
    let status = client(&server).await.model_infer(images("p", &[b"x"], &parameters)).await.expect_err("invalid input");
    assert_eq!((status.code(), status.message().len()), (Code::InvalidArgument, 1 << 10));
    let bytes: usize = status.metadata().clone().into_headers().values().map(|value| value.len()).sum();
    assert!(bytes < 4 << 10, "{bytes} bytes of headers");
}
