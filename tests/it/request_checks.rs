//! Checks that apply to every request: its line in the log, the header `Host`, and slashes at the end of a path.

use std::io::{Read, Write};
use std::net::TcpStream;

use plimsoll_tests::{Server, guests_config};
use serde_json::json;

use crate::process::PATIENCE;
use crate::served_folder::{ServedFolder, folder};

/// Sends bytes and returns the reply until its end.
fn exchange(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    String::from_utf8_lossy(&reply).into_owned()
}

#[test]
fn the_request_line_is_complete_and_cannot_be_forged() {
    for format in ["human", "json"] {
        let folder = folder("");
        let served = ServedFolder::serve(folder.path(), &["--log", format]);
        let head = |path: &str, caller: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\
                 x-plimsoll-caller: {caller}\r\n\r\n"
            )
        };
        let forged = "x\" status=999 outcome=\"forged";
        let reply = exchange(served.address(), &head("/v1/pipelines/p/infer", forged));
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
        let reply = exchange(served.address(), &head("/v1/pipelines/p/infer?do=invalid", "acme"));
        assert!(reply.starts_with("HTTP/1.1 422"), "{reply}");
        let reply = exchange(served.address(), &head("/v2/models/p/infer", "acme"));
        assert!(reply.starts_with("HTTP/1.1 400"), "{reply}");
        let reply = exchange(served.address(), &head("/v1/plugins/%0aforged/rollback", "acme"));
        assert!(reply.starts_with("HTTP/1.1 401"), "{reply}");
        let log = served.wait_for("authentication failed");
        let lines: Vec<_> = log.lines().filter(|line| line.contains("plimsoll::request")).collect();
        assert_eq!(lines.len(), 3, "{log}");
        let wanted = [
            (200, "/v1/pipelines/{pipeline}/infer"),
            (422, "/v1/pipelines/{pipeline}/infer"),
            (400, "/v2/models/{model}/infer"),
        ];
        for (line, (status, route)) in lines.iter().zip(wanted) {
            if format == "human" {
                for field in [format!(" status={status} "), " method=\"POST\" ".into(), format!(" route=\"{route}\" ")]
                {
                    assert!(line.contains(&field), "no {field:?} in {line}");
                }
                assert!(line.contains(" client=127.0.0.1:"), "{line}");
                // Without its quoted texts, the line has each field once.
                let mut outside = line.replace("\\\"", "");
                while let Some(start) = outside.find('"') {
                    let end = outside[start + 1..].find('"').expect("closed") + start + 1;
                    outside.replace_range(start..=end, "…");
                }
                assert_eq!(outside.matches(" status=").count(), 1, "{line}");
                assert_eq!(outside.matches(" outcome=").count(), 1, "{line}");
            } else {
                let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
                assert_eq!((&event["status"], &event["route"]), (&json!(status), &json!(route)), "{line}");
                assert_eq!(event["method"], "POST");
                assert!(event["client"].as_str().expect("text").starts_with("127.0.0.1:"), "{line}");
            }
            let caller = if status == 200 { "x\" status=999 outcome=\"forged" } else { "acme" };
            assert!(line.contains(&serde_json::to_string(caller).expect("text")), "{line}");
        }
        let failed = log.lines().find(|line| line.contains("authentication failed")).expect("a line");
        assert!(failed.contains("plimsoll::audit") && failed.contains("127.0.0.1:"), "{failed}");
        assert!(failed.contains("POST /v1/plugins/%0aforged/rollback"), "{failed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_valid_host_is_refused() {
    let server = Server::start(&guests_config("tester", "")).await;
    let address = server.url["http://".len()..].to_owned();
    let ask = async |head: String| {
        let address = address.clone();
        tokio::task::spawn_blocking(move || exchange(&address, &head)).await.expect("no panic")
    };
    for (path, member) in [("/v1/pipelines", "\"detail\""), ("/v2/models/p", "\"error\"")] {
        for hosts in
            ["", "host: localhost\r\nhost: b\r\n", "host: a b\r\n", "host: user@a\r\n", "host: localhost:b\r\n"]
        {
            let reply = ask(format!("GET {path} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n")).await;
            assert!(reply.starts_with("HTTP/1.1 400"), "{hosts:?}: {reply}");
            assert!(reply.contains("Host") && reply.contains(member), "{hosts:?}: {reply}");
        }
        for hosts in ["host: localhost\r\n", "host: [::1]:80\r\n", "host:\r\n"] {
            let reply = ask(format!("GET {path} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n")).await;
            assert!(reply.starts_with("HTTP/1.1 200"), "{hosts:?}: {reply}");
        }
        let reply = ask(format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        assert!(reply.starts_with("HTTP/1.0 200"), "{reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slashes_at_the_end_of_a_path_are_ignored_and_models_have_a_configuration() {
    let server = Server::start(&guests_config("tester", "")).await;
    for path in ["/v2/", "/v2/health/live/", "/v2/models/p/", "/v2/models/p/ready//", "/v1/pipelines/", "/metrics/"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    let reply = server.send("POST", "/v1/pipelines/p/infer/?do=invalid", &[], Vec::new()).await;
    assert_eq!(reply.status, 422, "the query is kept: {}", reply.text);
    assert_eq!(server.get("/v2/none/").await.status, 404);

    let config = server.get("/v2/models/p/config").await.json();
    assert_eq!((&config["name"], &config["max_batch_size"]), (&json!("p"), &json!(0)));
    assert_eq!(config["input"], json!([{ "name": "image", "data_type": "TYPE_STRING", "dims": [-1] }]));
    let metadata = server.get("/v2/models/p.infer").await.json();
    let config = server.get("/v2/models/p.infer/config").await.json();
    for (tensors, wanted) in [("input", "inputs"), ("output", "outputs")] {
        let names = |tensors: &serde_json::Value| -> Vec<_> {
            tensors.as_array().expect("a list").iter().map(|tensor| tensor["name"].clone()).collect()
        };
        assert_eq!(names(&config[tensors]), names(&metadata[wanted]));
    }
    let version = metadata["versions"][0].as_str().expect("text").to_owned();
    assert_eq!(server.get(&format!("/v2/models/p/versions/{version}/config")).await.status, 200);
    let reply = server.get("/v2/models/ghost/config").await;
    assert!(reply.status == 404 && reply.json()["error"].is_string(), "{}", reply.text);
}
