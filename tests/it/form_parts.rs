//! Forms in the shapes that clients send: file names of RFC 8187, odd boundaries, text around the parts, line ends.

use plimsoll_tests::{Reply, Server};

use crate::oip_rest::{demo, digit};

async fn post(server: &Server, content_type: &str, body: Vec<u8>) -> Reply {
    server.send("POST", "/v1/pipelines/digits/infer", &[("content-type", content_type)], body).await
}

/// A form with one part, whose header `Content-Disposition` is `disposition`.
fn form(boundary: &str, disposition: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("--{boundary}\r\nContent-Disposition: {disposition}\r\nContent-Type: image/jpeg\r\n\r\n");
    let tail = format!("\r\n--{boundary}--\r\n");
    [head.as_bytes(), content, tail.as_bytes()].concat()
}

fn assert_three(reply: &Reply, what: &str) {
    assert_eq!(reply.status, 200, "{what}: {}", reply.text);
    assert_eq!(reply.json()["predictions"][0]["label"], "3", "{what}: {}", reply.text);
}

const FORM: &str = "multipart/form-data; boundary=limit";

#[tokio::test(flavor = "multi_thread")]
async fn a_part_with_a_file_name_in_any_form_is_a_file() {
    let server = demo().await;
    let image = digit("3.jpg");
    for disposition in [
        "form-data; name=\"file\"; filename*=UTF-8''%e2%82%ac.jpg",
        "form-data; filename*=UTF-8''a.jpg; filename=\"a.jpg\"; name=file",
        "form-data; name=file; FileName=a.jpg",
        "form-data; name=\"a\\\"b\"; filename=\"a;\\\"b.jpg\"",
        "form-data; filename=\"\"; name=file",
    ] {
        assert_three(&post(&server, FORM, form("limit", disposition, &image)).await, disposition);
    }
    // A name that only looks like a file name is a field.
    let reply = post(&server, FORM, form("limit", "form-data; name=\"a; filename=b\"", b"1")).await;
    assert_eq!(reply.status, 422, "{}", reply.text);
    assert!(reply.text.contains("no file"), "{}", reply.text);
    let reply = post(&server, FORM, form("limit", "form-data", b"1")).await;
    assert_eq!(reply.status, 422, "{}", reply.text);
    assert!(reply.text.contains("has no name"), "{}", reply.text);
    // A browser sends a file field without a file next to the other one.
    let none = "--limit\r\nContent-Disposition: form-data; name=a; filename=\"\"\r\n\r\n\r\n".as_bytes();
    let both = [none, &form("limit", "form-data; name=b; filename=b.jpg", &image)].concat();
    assert_three(&post(&server, FORM, both).await, "an empty file field");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_headers_and_many_parts_are_refused() {
    let server = demo().await;
    let image = digit("3.jpg");
    let long = format!("form-data;{}{}", ";".repeat(20_000), "\u{a0}".repeat(20_000));
    let reply = post(&server, FORM, form("limit", &long, &image)).await;
    assert_eq!((reply.status, reply.code().as_str()), (422, "invalid_input"), "{}", reply.text);
    assert!(reply.text.contains("at most 8192 bytes"), "{}", reply.text);
    let none = "--limit\r\nContent-Disposition: form-data; name=a; filename=\"\"\r\n\r\n\r\n".repeat(200);
    let many = [none.as_bytes(), &form("limit", "form-data; name=b; filename=b.jpg", &image)].concat();
    let reply = post(&server, FORM, many).await;
    assert_eq!((reply.status, reply.code().as_str()), (422, "invalid_input"), "{}", reply.text);
    assert!(reply.text.contains("at most 128 parts"), "{}", reply.text);
    let two = [&form("limit", "form-data; name=b; filename=b.jpg", &image)[..], b""].concat();
    let two = String::from_utf8_lossy(&two).replace("--limit--\r\n", "").into_bytes();
    let two = [two, form("limit", "form-data; name=c; filename=c.jpg", &image)].concat();
    let reply = post(&server, FORM, two).await;
    assert_eq!(reply.status, 422, "{}", reply.text);
    assert!(reply.text.contains("more than one file"), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_boundaries_and_text_around_the_parts_are_read() {
    let server = demo().await;
    let image = digit("3.jpg");
    let disposition = "form-data; name=file; filename=3.jpg";
    for (content_type, boundary) in [
        ("multipart/form-data; boundary=\"a b?=:\"", "a b?=:"),
        ("Multipart/Form-Data; charset=utf-8; boundary=------x", "------x"),
        ("multipart/form-data;boundary='x'", "'x'"),
    ] {
        assert_three(&post(&server, content_type, form(boundary, disposition, &image)).await, content_type);
    }
    let around =
        [&b"This is a preamble.\r\n"[..], &form("limit", disposition, &image), b"This is an epilogue.\r\n"].concat();
    assert_three(&post(&server, FORM, around).await, "preamble and epilogue");

    let bare = String::from_utf8(form("limit", disposition, b"text")).expect("text").replace("\r\n", "\n");
    for (content_type, body, part) in [
        (FORM, bare.into_bytes(), "CR LF"),
        ("multipart/form-data; boundary=\"\"", form("", disposition, &image), "boundary"),
        ("multipart/form-data; boundary=other", form("limit", disposition, &image), "multipart"),
    ] {
        let reply = post(&server, content_type, body).await;
        assert!([400, 422].contains(&reply.status), "{}: {}", reply.status, reply.text);
        assert_eq!(reply.code(), "invalid_input", "{}", reply.text);
        assert!(reply.text.contains(part), "{}", reply.text);
    }
}
