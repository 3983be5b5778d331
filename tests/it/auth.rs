//! The keys of callers: `[auth] keys_file` and `plimsoll key new`.

use plimsoll::serve::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use plimsoll::serve::grpc::inference::{ModelMetadataRequest, ServerLiveRequest, ServerReadyRequest};
use plimsoll_tests::{Reply, Server, TempDir, guests_config, shared_cache};
use serde_json::json;
use tonic::{Code, Request};

use crate::grpc_calls::{channel, images};
use crate::process::Setup;
use crate::served_folder::run;
use crate::wrapped::until;

/// Makes a key with the command. Returns the key and its line.
fn new_key(folder: &TempDir, name: &str) -> (String, String) {
    let (code, text) = run(folder.path(), &["key", "new", name]);
    assert_eq!(code, Some(0), "{text}");
    let mut lines = text.lines();
    let (key, line) = (lines.next().expect("a key").to_owned(), lines.next().expect("a line").to_owned());
    assert!(line.starts_with(&format!("{name} sha256:")) && !line.contains(&key), "{text}");
    (key, line)
}

async fn serve(folder: &TempDir) -> Server {
    let file = folder.path().join("keys");
    Server::start(&format!("[auth]\nkeys_file = {file:?}\n{}", guests_config("tester", ""))).await
}

async fn infer(server: &Server, headers: &[(&str, &str)]) -> Reply {
    server.send_plainly("POST", "/v1/pipelines/p/infer", headers, b"x".to_vec()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_need_a_key_whose_name_is_the_caller() {
    let folder = TempDir::new().expect("a folder");
    let (acme, acme_line) = new_key(&folder, "acme");
    let (other, other_line) = new_key(&folder, "other@example.com");
    std::fs::write(folder.path().join("keys"), format!("# callers\n{acme_line}\n\n{other_line} # until 2027\n"))
        .expect("written");
    let server = serve(&folder).await;
    for (method, path) in [
        ("POST", "/v1/pipelines/p/infer"),
        ("GET", "/v1/pipelines"),
        ("GET", "/v2"),
        ("GET", "/v2/models/p"),
        ("GET", "/v2/models/p/config"),
        ("GET", "/v2/models/p/ready"),
        ("POST", "/v2/models/p/infer"),
        ("GET", "/v2/models/stats"),
        ("POST", "/v2/repository/index"),
        // A model with the name of a method of gRPC that needs no key.
        ("GET", "/v2/models/ServerLive"),
    ] {
        for headers in [
            &[][..],
            &[("x-api-key", "wrong")],
            &[("authorization", "Bearer wrong")],
            &[("authorization", &*format!("Basic {acme}"))],
            &[("x-plimsoll-caller", "acme")],
            &[("x-api-key", "")],
            &[("x-api-key", &*acme), ("authorization", "Bearer wrong")],
            &[("x-api-key", &*acme), ("authorization", &*format!("Bearer {other}"))],
            &[("content-type", "application/grpc")],
            // The token of administration is not the key of a caller.
            &[("authorization", &*format!("Bearer {}", server.token.as_deref().expect("a token")))],
        ] {
            let reply = server.send_plainly(method, path, headers, Vec::new()).await;
            if headers == [("content-type", "application/grpc")] {
                // The error has the form of gRPC.
                assert_eq!(reply.headers["grpc-status"], "16", "{method} {path}: {}", reply.text);
                continue;
            }
            assert_eq!(reply.status, 401, "{method} {path} {headers:?}: {}", reply.text);
            assert_eq!(reply.headers["www-authenticate"], "Bearer realm=\"plimsoll\"");
            assert!(reply.text.contains("key") && !reply.text.contains(&acme), "{}", reply.text);
        }
    }
    for path in ["/v2/health/live", "/v2/health/ready", "/metrics"] {
        assert_eq!(server.send_plainly("GET", path, &[], Vec::new()).await.status, 200, "{path}");
    }
    // A header cannot name another caller.
    let bearer = format!("bearer {acme}");
    for headers in [
        [("authorization", &*bearer), ("x-plimsoll-caller", "other@example.com")],
        [("x-api-key", &*acme), ("x-plimsoll-caller", "")],
        [("x-api-key", &*other), ("authorization", "Basic b3RoZXI=")],
        [("x-api-key", ""), ("authorization", &*bearer)],
    ] {
        let reply = infer(&server, &headers).await;
        assert_eq!(reply.status, 200, "{headers:?}: {}", reply.text);
    }

    let key = |key: &str| {
        let mut request = Request::new(images("p", &[b"x"], &[]));
        request.metadata_mut().insert("x-api-key", key.parse().expect("text"));
        request
    };
    let mut client = GrpcInferenceServiceClient::new(channel(&server.grpc_url).await);
    assert!(client.server_live(ServerLiveRequest {}).await.expect("no key").into_inner().live);
    assert!(client.server_ready(ServerReadyRequest {}).await.expect("no key").into_inner().ready);
    for refused in [
        client.model_infer(images("p", &[b"x"], &[])).await.expect_err("no key"),
        client.model_infer(key("wrong")).await.expect_err("a wrong key"),
        client.model_metadata(ModelMetadataRequest::default()).await.expect_err("no key"),
    ] {
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    }
    client.model_infer(key(&other)).await.expect("an answer");

    let callers = server.get("/v1/memory").await.json()["callers"].clone();
    let mut rows: Vec<_> = callers["by_count"].as_array().expect("a list").iter().collect();
    rows.sort_by_key(|row| row["caller"].to_string());
    let rows: Vec<_> = rows.iter().map(|row| (&row["caller"], &row["requests"])).collect();
    assert_eq!(rows, [(&json!("acme"), &json!(3)), (&json!("other@example.com"), &json!(2))]);
    assert_eq!(callers["header"], "name of the key");
    let metrics = server.get("/metrics").await.text;
    for reason in ["missing", "wrong", "ambiguous"] {
        let name = format!("plimsoll_authentication_failures_total{{realm=\"callers\",reason=\"{reason}\"}}");
        assert!(metrics.contains(&name), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_keys_is_read_again_and_a_broken_one_changes_nothing() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("keys");
    let ((old, old_line), (new, new_line)) = (new_key(&folder, "old"), new_key(&folder, "new"));
    std::fs::write(&file, &old_line).expect("written");
    let cache = shared_cache();
    let keys = format!("cache_dir = {cache:?}\n[auth]\nkeys_file = {file:?}\n{}", guests_config("tester", ""));
    let setup = Setup::with(&keys);
    let process = setup.serve();
    let url = format!("{}/v1/pipelines/p/infer", process.url());
    let client = reqwest::Client::new();
    let wait = async |key: &str, wanted: u16| {
        until("the status", async || {
            let reply = client.post(&url).header("x-api-key", key).send().await.expect("an answer");
            reply.status().as_u16() == wanted
        })
        .await;
    };
    wait(&old, 200).await;
    wait(&new, 401).await;
    std::fs::write(&file, format!("{old_line}\n{new_line}\n")).expect("written");
    wait(&new, 200).await;
    // If the file is missing or broken, the previous keys stay valid. Once it can be read again, its keys are used.
    std::fs::remove_file(&file).expect("removed");
    std::fs::write(&file, "not a line of keys").expect("written");
    process.wait_for("the previous keys of callers stay valid");
    wait(&old, 200).await;
    wait(&new, 200).await;
    std::fs::write(&file, &new_line).expect("written");
    wait(&old, 401).await;
    wait(&new, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_keys_that_is_not_valid_is_refused_with_its_line() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("keys");
    std::fs::write(&file, "\nacme plimsoll_this-is-a-key-and-no-hash\n").expect("written");
    let text = format!("[auth]\nkeys_file = {file:?}\n{}", guests_config("tester", ""));
    std::fs::write(folder.path().join("plimsoll.toml"), text).expect("written");
    let (code, text) = run(folder.path(), &["serve", "--config", "plimsoll.toml", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("auth.keys_file") && text.contains("keys:2") && !text.contains("this-is-a-key"), "{text}");
    let (code, text) = run(folder.path(), &["key", "new", "two words"]);
    assert!(code == Some(1) && text.contains("letters, digits"), "{text}");
}

/// The limits of callers count by the names of keys, over HTTP and gRPC: several keys may have one name, and a header names
/// nobody.
#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_callers_count_by_the_name_of_the_key() {
    let folder = TempDir::new().expect("a folder");
    let (first, first_line) = new_key(&folder, "acme");
    let (second, second_line) = new_key(&folder, "acme");
    let (other, other_line) = new_key(&folder, "other");
    let (third, third_line) = new_key(&folder, "third");
    let lines = [first_line, second_line, other_line, third_line].join("\n");
    std::fs::write(folder.path().join("keys"), lines).expect("written");
    let file = folder.path().join("keys");
    let config =
        format!("[auth]\nkeys_file = {file:?}\n[server]\nmax_caller_rate = 0.01\n{}", guests_config("tester", ""));
    let server = Server::start(&config).await;
    assert_eq!(infer(&server, &[("x-api-key", &*first)]).await.status, 200);
    for headers in [
        [("x-api-key", &*first), ("x-plimsoll-caller", "somebody-else")],
        [("x-api-key", &*second), ("x-plimsoll-caller", "")],
    ] {
        let reply = infer(&server, &headers).await;
        assert_eq!((reply.status, reply.code().as_str()), (429, "too_many_requests"), "{}", reply.text);
        assert!(reply.headers.contains_key("retry-after"), "{}", reply.text);
    }
    // Another caller is not limited by that, whatever name its header has.
    assert_eq!(infer(&server, &[("x-api-key", &*other), ("x-plimsoll-caller", "acme")]).await.status, 200);

    let mut client = GrpcInferenceServiceClient::new(channel(&server.grpc_url).await);
    let call = |key: &str| {
        let mut request = Request::new(images("p", &[b"x"], &[]));
        request.metadata_mut().insert("x-api-key", key.parse().expect("text"));
        request
    };
    client.model_infer(call(&third)).await.expect("the first of this caller");
    for key in [&third, &second, &other] {
        let refused = client.model_infer(call(key)).await.expect_err("at its limit");
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        assert_eq!(crate::grpc_calls::problem(&refused)["code"], "too_many_requests", "{refused:?}");
    }
}
