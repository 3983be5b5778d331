//! Administration needs the token that the server made. The commands find the token.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use plimsoll_tests::{Server, Site, TempDir, guests_config, made_token, stamped, stamped_reply};

use crate::process::Process;
use crate::served_folder::{ServedFolder, command, folder, run};
use crate::wrapped::is_root;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_administration_is_closed_on_the_loopback_interface_too() {
    let site = Site::new("");
    let server = site.serve().await;
    for (method, path) in [
        ("PUT", "/v1/plugins/stamp"),
        ("DELETE", "/v1/plugins/stamp"),
        ("POST", "/v1/plugins/stamp/rollback"),
        ("GET", "/v1/plugins"),
        ("GET", "/v1/plugins/stamp"),
        ("GET", "/v1/memory"),
        ("GET", "/v1/memory/compare?by=chip"),
        ("GET", "/v1/memory/series"),
        ("GET", "/v1/requests"),
        ("GET", "/v1/config"),
        ("GET", "/v1/leaks"),
        ("GET", "/v1/leaks/report/report.json"),
        ("GET", "/v1/recordings"),
        ("GET", "/v1/recordings/018bcfe5-6800-7000-8000-000000000000"),
        ("POST", "/v2/repository/models/p/unload"),
        ("POST", "/v2/repository/models/p/load"),
        // Without the token, the reply does not say that a parameter is wrong.
        ("PUT", "/v1/plugins/stamp?sha265=x"),
    ] {
        for headers in [&[][..], &[("host", "localhost")], &[("authorization", "Bearer not-the-administration-token")]]
        {
            let reply = server.send_plainly(method, path, headers, stamped(1)).await;
            assert_eq!(reply.status, 401, "{method} {path}: {}", reply.text);
            assert_eq!(reply.headers["www-authenticate"], "Bearer realm=\"plimsoll\"", "{method} {path}");
            assert_eq!(reply.json()["code"], "unauthorized");
            assert!(reply.text.contains("admin-token"), "the reply says where the token is: {}", reply.text);
        }
    }
    for (method, path) in [
        ("GET", "/v2/health/live"),
        ("GET", "/v2/health/ready"),
        ("GET", "/metrics"),
        ("GET", "/v1/pipelines"),
        ("GET", "/v2/models/p"),
        ("POST", "/v2/repository/index"),
        ("GET", "/openapi.json"),
    ] {
        let reply = server.send_plainly(method, path, &[], Vec::new()).await;
        assert_eq!(reply.status, 200, "{method} {path}: {}", reply.text);
    }
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0), "nothing was changed");
    // The name of the scheme is case-insensitive.
    let token = server.token.clone().expect("the server made a token");
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let header = format!("{scheme} {token}");
        let reply = server.send_plainly("GET", "/v1/plugins", &[("authorization", &header)], Vec::new()).await;
        assert_eq!(reply.status, 200, "{scheme}: {}", reply.text);
    }
    for wrong in [format!("Basic {token}"), token.clone(), format!("Bearer {token}x"), "Bearer ".into()] {
        let reply = server.send_plainly("GET", "/v1/plugins", &[("authorization", &wrong)], vec![]).await;
        assert_eq!(reply.status, 401, "{wrong}");
    }
    let metrics = server.get("/metrics").await.text;
    let count = |reason: &str| {
        let name = format!("plimsoll_authentication_failures_total{{realm=\"administration\",reason=\"{reason}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&*name));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse::<u32>().expect("a number")
    };
    assert_eq!((count("missing"), count("wrong")), (37, 18));
}

#[test]
fn the_token_is_made_once_for_its_owner_and_the_commands_find_it() {
    let folder = folder("");
    let (served, elsewhere) = (ServedFolder::serve(folder.path(), &[]), TempDir::new().expect("a folder"));
    let file = folder.path().join(".plimsoll/admin-token");
    let token = made_token(folder.path());
    assert!(token.len() >= 43 && mode(&file) == 0o600, "{:o}", mode(&file));
    let log = served.wait_for("administration: needs the token in");
    assert!(log.contains(".plimsoll/admin-token") && !log.contains(&token), "{log}");

    let server = ["--server", &served.url];
    for arguments in [&["plugin", "list"][..], &["top", "--once"]] {
        let (code, text) = run(folder.path(), &[arguments, &server].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {text}");
        // In another folder, the message names the options for the token. With one of them the token is found.
        let (code, text) = run(elsewhere.path(), &[arguments, &server].concat());
        assert_eq!(code, Some(1), "{text}");
        for words in [".plimsoll/admin-token", "--config", "--data-dir", "PLIMSOLL_ADMIN_TOKEN", "--token-file"] {
            assert!(text.contains(words), "no {words} in: {text}");
        }
        let config = folder.path().join("plimsoll.toml");
        let config = config.to_str().expect("text");
        for found in [
            ["--config", config],
            ["--data-dir", file.parent().and_then(Path::to_str).expect("text")],
            ["--token-file", file.to_str().expect("text")],
        ] {
            let (code, text) = run(elsewhere.path(), &[arguments, &server, &found].concat());
            assert_eq!(code, Some(0), "{found:?}: {text}");
        }
    }
    std::fs::create_dir(elsewhere.path().join(".plimsoll")).expect("made");
    std::fs::write(elsewhere.path().join(".plimsoll/admin-token"), "of-another-server").expect("written");
    let (code, text) = run(elsewhere.path(), &["plugin", "list", "--server", &served.url]);
    assert!(code == Some(1) && text.contains("is not the right one"), "{text}");
    drop(served);

    let served = ServedFolder::serve(folder.path(), &[]);
    assert_eq!(made_token(folder.path()), token, "the token stays over a restart");
    drop(served);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("set");
    let served = ServedFolder::serve(folder.path(), &[]);
    let log = served.wait_for("a new administration token");
    let new = made_token(folder.path());
    assert!(new != token && mode(&file) == 0o600 && !log.contains(&new), "{log}");
    drop(served);
    // A user who made the file before the server did knows the token.
    if is_root() {
        for path in [&*file, file.parent().expect("a folder")] {
            std::os::unix::fs::chown(path, Some(54_321), None).expect("root may do that");
        }
        let served = ServedFolder::serve(folder.path(), &[]);
        served.wait_for("belongs to the user 54321");
        served.wait_for("a new administration token");
        let own = std::fs::metadata(&file).expect("there");
        assert!(made_token(folder.path()) != new && own.uid() == 0 && mode(&file) == 0o600);
    }
}

#[test]
fn a_server_without_a_configuration_makes_a_token_that_the_commands_find() {
    let folder = TempDir::new().expect("a folder");
    let mut demo = command(folder.path());
    demo.args(["serve", "--listen", "127.0.0.1:0"]).env("PLIMSOLL_CACHE_DIR", plimsoll_tests::shared_cache());
    let process = Process::with_own_environment(&mut demo);
    let url = process.url();
    let file = folder.path().join(".plimsoll/admin-token");
    assert!(made_token(folder.path()).len() >= 43 && mode(&file) == 0o600, "{:o}", mode(&file));
    let (code, text) = run(folder.path(), &["plugin", "list", "--server", &url]);
    assert!(code == Some(0) && text.contains("image-preprocess"), "{text}");
    let elsewhere = TempDir::new().expect("a folder");
    assert_eq!(run(elsewhere.path(), &["plugin", "list", "--server", &url]).0, Some(1));
}

#[test]
fn the_token_goes_only_to_servers_on_this_machine() {
    let folder = TempDir::new().expect("a folder");
    std::fs::create_dir(folder.path().join(".plimsoll")).expect("made");
    std::fs::write(folder.path().join(".plimsoll/admin-token"), "the-secret-of-this-machine").expect("written");
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("free");
    let port = listener.local_addr().expect("bound").port();
    let asked = std::thread::spawn(move || {
        let mut heads = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut head = [0; 4096];
            let length = stream.read(&mut head).expect("a head");
            heads.push(String::from_utf8_lossy(&head[..length]).to_lowercase());
            let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
        }
        heads
    });
    // Connects to this machine, but is not an address of the loopback interface.
    let (code, text) = run(folder.path(), &["plugin", "list", "--server", &format!("http://0.0.0.0:{port}")]);
    assert!(code == Some(1) && text.contains("no token was sent"), "{text}");
    let (code, text) = run(folder.path(), &["plugin", "list", "--server", &format!("http://127.0.0.1:{port}")]);
    assert!(code == Some(1) && text.contains("is not the right one"), "{text}");
    let heads = asked.join().expect("no panic");
    assert!(!heads[0].contains("authorization") && heads[1].contains("the-secret-of-this-machine"), "{heads:?}");
}

/// A route of administration that is added later is asked too, because each states in the OpenAPI document that it needs the
/// token.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_that_is_documented_with_the_token_needs_it() {
    let site = Site::new("");
    let server = site.serve().await;
    let document = server.get("/openapi.json").await.json();
    let mut asked = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let parts = path.split('/').map(|part| if part.starts_with('{') { "stamp" } else { part });
        let filled = parts.collect::<Vec<_>>().join("/");
        for (method, operation) in operations.as_object().expect("operations") {
            let needs_token = |security: &serde_json::Value| security.get("token").is_some();
            if !operation["security"].as_array().is_some_and(|all| all.iter().any(needs_token)) {
                continue;
            }
            let reply = server.send_plainly(&method.to_uppercase(), &filled, &[], Vec::new()).await;
            assert_eq!(reply.status, 401, "{method} {path}: {}", reply.text);
            asked.push(filled.clone());
        }
    }
    for known in ["/v1/plugins", "/v1/chips/compare", "/v1/config", "/v1/recordings"] {
        assert!(asked.iter().any(|path| path == known), "{known} states no token: {asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn administration_reports_and_metrics_can_have_a_port_of_their_own() {
    let config = format!("[admin]\nlisten = \"127.0.0.1:0\"\n{}", guests_config("tester", ""));
    let server = Server::start(&config).await;
    let token = server.token.clone().expect("a token");
    let ask = async |base: &str, method: &str, path: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = server.client.request(method, format!("{base}{path}")).bearer_auth(&token);
        request.send().await.expect("an answer").status().as_u16()
    };
    for (method, path) in [
        ("GET", "/v1/plugins"),
        ("GET", "/v1/plugins/tester"),
        ("GET", "/v1/memory"),
        ("GET", "/v1/memory/compare?by=chip"),
        ("GET", "/v1/memory/series"),
        ("GET", "/v1/requests"),
        ("GET", "/v1/config"),
        ("GET", "/v1/leaks"),
        ("GET", "/v1/recordings"),
        ("GET", "/metrics"),
        ("POST", "/v2/repository/models/p/load"),
    ] {
        assert_eq!(ask(&server.url, method, path).await, 404, "{path}");
        assert_eq!(ask(&server.admin_url, method, path).await, 200, "{path}");
    }
    assert_eq!(ask(&server.url, "PUT", "/v1/plugins/tester").await, 404);
    for (method, path) in [("POST", "/v1/pipelines/p/infer"), ("GET", "/v2/models/p"), ("GET", "/v1/pipelines")] {
        assert_eq!(ask(&server.url, method, path).await, 200, "{path}");
        assert_eq!(ask(&server.admin_url, method, path).await, 404, "{path}");
    }
    for path in ["/v2/health/ready", "/v2/health/live", "/openapi.json"] {
        assert_eq!(ask(&server.url, "GET", path).await, 200, "{path}");
        assert_eq!(ask(&server.admin_url, "GET", path).await, 200, "{path}");
    }
    let anonymous = server.client.get(format!("{}/v1/memory", server.admin_url)).send().await.expect("an answer");
    assert_eq!(anonymous.status(), 401, "the token is needed there too");

    use plimsoll::serve::grpc::inference::RepositoryModelLoadRequest;
    use plimsoll::serve::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
    for (url, code) in [(&server.url, tonic::Code::Unimplemented), (&server.admin_url, tonic::Code::Ok)] {
        let mut client = GrpcInferenceServiceClient::new(crate::grpc_calls::channel(url).await);
        let load = RepositoryModelLoadRequest { model_name: "p".into(), ..Default::default() };
        let mut load = tonic::Request::new(load);
        load.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("text"));
        let found = client.repository_model_load(load).await;
        if let Err(status) = &found {
            assert_eq!(crate::grpc_calls::problem(status)["code"], "method_not_allowed", "{status:?}");
        }
        assert_eq!(found.map_or_else(|status| status.code(), |_| tonic::Code::Ok), code, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_can_be_guessed_is_refused_with_the_key_that_sets_it() {
    let file = TempDir::new().expect("a folder");
    let path = file.path().join("token");
    std::fs::write(&path, "short").expect("written");
    let message = Server::rejection(&format!("[admin]\ntoken_file = {path:?}\n{}", guests_config("tester", ""))).await;
    assert!(message.contains("admin.token_file") && message.contains("too short"), "{message}");

    let folder = folder("");
    let mut command = command(folder.path());
    command.args(["serve", "--config", "plimsoll.toml"]).env("PLIMSOLL_ADMIN_TOKEN", "short");
    let output = command.output().expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("PLIMSOLL_ADMIN_TOKEN") && !text.contains("admin.token_file"), "{text}");
}

/// Some tools unset a variable by setting it to an empty text.
#[test]
fn an_empty_variable_is_no_token() {
    let folder = folder("");
    let mut command = command(folder.path());
    command.env("PLIMSOLL_ADMIN_TOKEN", "");
    let served = ServedFolder::start(command, &[]);
    let log = served.wait_for("administration: needs the token in");
    assert!(log.contains(".plimsoll/admin-token"), "{log}");
    let (code, text) = run(folder.path(), &["plugin", "list", "--server", &served.url]);
    assert_eq!(code, Some(0), "{text}");
}
