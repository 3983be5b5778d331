//! Compressed bodies and forms for `/v1/pipelines/{pipeline}/infer`.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use plimsoll_tests::{Reply, Server};

use crate::oip_rest::{demo, digit};

const ROUTE: &str = "/v1/pipelines/digits/infer";

async fn post(server: &Server, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
    server.send("POST", ROUTE, headers, body).await
}

fn label(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()["predictions"][0]["label"].as_str().expect("a label").to_owned()
}

pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).expect("written");
    encoder.finish().expect("finished")
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_images_are_decompressed() {
    let server = demo().await;
    let image = digit("3.jpg");
    assert_eq!(label(&post(&server, &[("content-encoding", "gzip")], gzip(&image)).await), "3");
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&image).expect("written");
    let deflated = encoder.finish().expect("finished");
    assert_eq!(label(&post(&server, &[("content-encoding", "deflate")], deflated.clone()).await), "3");
    let reply = post(&server, &[("content-encoding", "deflate")], [deflated, vec![0]].concat()).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_input"), "{}", reply.text);
    assert_eq!(label(&post(&server, &[("content-encoding", "identity")], image.clone()).await), "3");

    let reply = post(&server, &[("content-encoding", "zstd")], image.clone()).await;
    assert_eq!((reply.status, reply.code().as_str()), (415, "unsupported_media_type"), "{}", reply.text);
    assert!(reply.text.contains("zstd") && reply.text.contains("gzip"), "{}", reply.text);
    let reply = post(&server, &[("content-encoding", "gzip")], image).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    assert!(reply.text.contains("cannot be decompressed"), "{}", reply.text);
    // A small body that would become larger than `server.max_body`.
    let reply = post(&server, &[("content-encoding", "gzip")], gzip(&vec![0; 64 << 20])).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "too_large"), "{}", reply.text);
}

/// Routes of administration do not decompress, and say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_upload_is_refused_with_the_reason() {
    let site = plimsoll_tests::Site::new("");
    let server = site.serve().await;
    let component = plimsoll_tests::stamped(1);
    for (route, method, body) in
        [("/v1/plugins/stamp", "PUT", component.clone()), ("/v2/repository/index", "POST", b"{}".to_vec())]
    {
        let reply = server.send(method, route, &[("content-encoding", "gzip")], gzip(&body)).await;
        assert_eq!(reply.status, 415, "{route}: {}", reply.text);
        assert!(reply.text.contains("`gzip`") && reply.text.contains("send the body as it is"), "{}", reply.text);
    }
    let view = server.get("/v1/plugins/stamp").await.json();
    assert_eq!(view["versions"].as_array().map(Vec::len), Some(1), "nothing was rejected: {view}");
    let reply = server.send("PUT", "/v1/plugins/stamp", &[("content-encoding", "Identity")], component).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

/// Zeros decompress for longer than the request may take.
#[tokio::test(flavor = "multi_thread")]
async fn a_decompression_ends_at_the_deadline_of_the_request() {
    let limits = "[pipelines.p]\ndeadline = \"300ms\"\n[server]\nmax_body = \"256MiB\"\n";
    let server = Server::start(&(plimsoll_tests::guests_config("tester", "") + limits)).await;
    let body = gzip(&vec![0; 200 << 20]);
    for route in ["/v1/pipelines/p/infer", "/v2/models/p/infer"] {
        let mut tries = 0;
        loop {
            let reply = server.send("POST", route, &[("content-encoding", "gzip")], body.clone()).await;
            assert_eq!((reply.status, reply.text.contains("body_timeout")), (408, true), "{route}: {}", reply.text);
            if reply.text.contains("decompressed") {
                break;
            }
            // Receiving it took so long.
            tries += 1;
            assert!(tries < 20, "{route}: {}", reply.text);
        }
    }
}

/// The size of a result is no measure of the work: these bodies are empty.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_a_bounded_number_of_members() {
    let server = Server::start(&plimsoll_tests::guests_config("tester", "")).await;
    let send = async |members: usize| {
        let body = gzip(b"").repeat(members);
        server.send("POST", "/v1/pipelines/p/infer", &[("content-encoding", "gzip")], body).await
    };
    let reply = send(16_384).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let reply = send(200_000).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_input"), "{}", reply.text);
    assert!(reply.text.contains("more than 16384 members"), "{}", reply.text);
}

/// A form of parts: name, file name, content.
fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, content) in parts {
        let file = file.map_or(String::new(), |file| format!("; filename=\"{file}\"\r\nContent-Type: image/jpeg"));
        body.extend_from_slice(
            format!("--limit\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").as_bytes(),
        );
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--limit--\r\n");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_with_one_file_is_an_image() {
    const FORM: &[(&str, &str)] = &[("content-type", "multipart/form-data; boundary=limit")];
    let server = demo().await;
    let image = digit("3.jpg");
    let file = ("file", Some("3.jpg"), &image[..]);
    assert_eq!(label(&post(&server, FORM, form(&[file])).await), "3");
    let reply = post(&server, FORM, form(&[("top_k", None, b"2"), file])).await;
    assert_eq!(label(&reply), "3");
    assert_eq!(reply.json()["predictions"].as_array().map(Vec::len), Some(2), "{}", reply.text);
    let packed = [FORM[0], ("content-encoding", "gzip")];
    assert_eq!(label(&post(&server, &packed, gzip(&form(&[file]))).await), "3");

    for (body, status, part) in [
        (form(&[]), 422, "no file"),
        (form(&[("file", None, b"text")]), 422, "no file"),
        (form(&[file, file]), 422, "more than one file"),
        (form(&[("image", None, &image)]), 422, "as a file"),
        (form(&[("chip", None, b"wasm"), file]), 422, "query parameter"),
        (
            b"--limit\r\nContent-Disposition: form-data; name=\"a\"; filename=\"b\"\r\n\r\nhalf".to_vec(),
            400,
            "multipart",
        ),
        (image.clone(), 400, "multipart"),
    ] {
        let reply = post(&server, FORM, body).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, "invalid_input"), "{}", reply.text);
        assert!(reply.text.contains(part), "{}", reply.text);
    }
    let reply = post(&server, &[("content-type", "multipart/form-data")], form(&[file])).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    assert!(reply.text.contains("boundary"), "{}", reply.text);
}
