//! Deployment over HTTP and by the command line, and the state that survives a restart.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_tests::{Server, Site, guest, guests_config, made_token, stamped, stamped_reply};

use crate::cli::Served;

const BINARY: &str = env!("CARGO_BIN_EXE_plimsoll-under-test");
const TOKEN: &str = "a-token-for-the-tests";

async fn states(server: &Server) -> Vec<String> {
    let plugin = server.get("/v1/plugins/stamp").await.json();
    let versions = plugin["versions"].as_array().expect("a list");
    versions.iter().map(|version| version["state"].as_str().expect("text").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn put_rollback_and_delete_change_what_is_served() {
    let site = Site::new("");
    let server = site.serve().await;
    for mark in 1..=2 {
        let put = server.send("PUT", &format!("/v1/plugins/stamp?version=1.0.{mark}"), &[], stamped(mark)).await;
        assert_eq!((put.status, &put.json()["state"]), (200, &"serving".into()), "{}", put.text);
        assert_eq!(server.infer("p", "", "").await.text, stamped_reply(mark));
    }
    let again = server.send("PUT", "/v1/plugins/stamp?version=1.0.2", &[], stamped(2)).await;
    assert_eq!(again.json()["state"], "unchanged", "{}", again.text);
    assert_eq!(states(&server).await, ["serving", "previous", "previous"]);

    let back = server.send("POST", "/v1/plugins/stamp/rollback", &[], Vec::new()).await;
    assert_eq!((back.status, &back.json()["version"]), (200, &"1.0.1".into()), "{}", back.text);
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(1));
    let back = server.send("POST", "/v1/plugins/stamp/rollback?to=unversioned", &[], Vec::new()).await;
    assert_eq!(back.status, 200, "{}", back.text);
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));
    let back = server.send("POST", "/v1/plugins/stamp/rollback?to=9.9.9", &[], Vec::new()).await;
    assert_eq!((back.status, back.code().as_str()), (409, "conflict"), "{}", back.text);

    let view = server.get("/v1/plugins/stamp").await.json();
    let runs: u64 = view["versions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|version| version["runs"].as_u64().expect("a count"))
        .sum();
    assert_eq!(runs, 8, "two stage runs for each of four requests: {view}");
    assert!(view["versions"][0]["high_water"].as_u64().expect("bytes") > 0, "{view}");

    let delete = server.send("DELETE", "/v1/plugins/stamp", &[], Vec::new()).await;
    assert_eq!((delete.status, delete.code().as_str()), (409, "conflict"), "{}", delete.text);
    assert_eq!(server.send("PUT", "/v1/plugins/other", &[], stamped(7)).await.json()["state"], "unused");
    assert_eq!(server.send("DELETE", "/v1/plugins/other", &[], Vec::new()).await.status, 200);
    assert_eq!(server.send("DELETE", "/v1/plugins/other", &[], Vec::new()).await.status, 404);
    assert_eq!(server.send("PUT", "/v1/plugins/.hidden", &[], stamped(7)).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_module_with_component_metadata_is_converted_to_a_component() {
    let bytes = std::fs::read(guest("core-module")).expect("built");
    assert_eq!(&bytes[..8], b"\0asm\x01\0\0\0", "the guest must be a core module for this test");
    let server = Server::start(&guests_config("tester", "")).await;
    let put = server.send("PUT", "/v1/plugins/tester", &[], bytes.clone()).await;
    assert_eq!((put.status, &put.json()["state"]), (200, &"serving".into()), "{}", put.text);
    let reply = server.infer("p", "", "").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    // The digest is that of the file, not that of the converted component.
    let digest = plimsoll_runtime::identity::digest(&bytes);
    assert!(reply.headers["x-plimsoll-plugins"].to_str().expect("text").contains(&digest[..12]));
    assert_eq!(reply.json()["tensors"][0]["name"], "image", "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_need_the_token_if_one_is_configured() {
    let site = Site::new("");
    std::fs::write(site.folder.path().join("token"), format!("{TOKEN}\n")).expect("written");
    let text = std::fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, text.replace("[server]", "[admin]\ntoken_file = \"token\"\n[server]"))
        .expect("written");
    let server = site.serve().await;
    let rollback = "/v1/plugins/stamp/rollback";
    for headers in [vec![], vec![("authorization", "Bearer another-token-here")], vec![("authorization", TOKEN)]] {
        let reply = server.send("PUT", "/v1/plugins/stamp", &headers, stamped(1)).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "unauthorized"), "{headers:?}: {}", reply.text);
        assert_eq!(server.send("POST", rollback, &headers, Vec::new()).await.status, 401);
        assert_eq!(server.send("DELETE", "/v1/plugins/stamp", &headers, Vec::new()).await.status, 401);
    }
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));
    let bearer = format!("Bearer {TOKEN}");
    let reply = server.send("PUT", "/v1/plugins/stamp", &[("authorization", &bearer)], stamped(1)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_and_rollbacks_survive_a_restart() {
    let site = Site::new("");
    let server = site.serve().await;
    assert_eq!(server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await.status, 200);
    server.stop().await;
    let server = site.serve().await;
    assert_eq!(
        server.infer("p", "", "").await.text,
        stamped_reply(1),
        "a release that was deployed over HTTP is not in the folder, but survives a restart"
    );
    site.drop_in("stamp.wasm", &stamped(2));
    server.wait_for_reply(&stamped_reply(2)).await;
    assert_eq!(server.send("POST", "/v1/plugins/stamp/rollback", &[], Vec::new()).await.status, 200);
    server.stop().await;

    let server = site.serve().await;
    assert_eq!(
        server.infer("p", "", "").await.text,
        stamped_reply(1),
        "the file is still in the folder, but was rolled back"
    );
    assert_eq!(states(&server).await, ["serving", "previous", "previous"]);
    server.stop().await;

    // A bad file that was added while no server ran does not prevent the last good version from serving.
    site.drop_in("stamp.wasm", b"\0asm no more");
    let server = site.serve().await;
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(1));
    assert_eq!(
        server.wait_for_state("stamp", "refused").await["source"],
        site.plugin("stamp.wasm").display().to_string()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_version_serves_after_a_kill_during_a_deployment() {
    let site = Site::new("");
    let client = reqwest::Client::new();
    let mut good = vec![stamped_reply(0)];
    for round in 1..=5u32 {
        // Each round has an empty compiled cache, so that the deployment compiles when the process is killed.
        let text = std::fs::read_to_string(&site.config).expect("text");
        let rest = text.split_once('\n').expect("lines").1.to_owned();
        plimsoll_tests::replace_file(&site.config, format!("cache_dir = \"cache-{round}\"\n{rest}")).expect("written");
        let served = Served::start(&site.config);
        let reply = client.post(format!("{}/v1/pipelines/p/infer", served.url)).send().await.expect("an answer");
        let reply = reply.text().await.expect("text");
        assert!(good.contains(&reply), "round {round}: {reply}");
        let put = client.put(format!("{}/v1/plugins/stamp", served.url)).body(stamped(round));
        let put = put.bearer_auth(made_token(site.folder.path())).send();
        let put = tokio::spawn(put);
        tokio::time::sleep(std::time::Duration::from_millis(u64::from(round) * 15)).await;
        drop(served); // SIGKILL
        // If the kill came before the deployment ended, the previous version serves; otherwise the new one. The reply
        // may be lost even if the deployment succeeded, so without a reply both are allowed.
        match put.await.expect("no panic").is_ok_and(|reply| reply.status() == 200) {
            true => good = vec![stamped_reply(round)],
            false => good.push(stamped_reply(round)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_deploys_lists_and_rolls_back() {
    let site = Site::new("");
    let server = site.serve().await;
    let run = |arguments: &[&str]| {
        let output = Command::new(BINARY)
            .current_dir(site.folder.path())
            .args(["plugin"])
            .args(arguments)
            .args(["--server", &server.url])
            .output();
        let output = output.expect("the binary starts");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    };
    let file = site.folder.path().join("stamp@1.2.3.wasm");
    std::fs::write(&file, stamped(1)).expect("written");
    let file = file.display().to_string();
    let (code, text) = tokio::task::block_in_place(|| run(&["deploy", &file]));
    assert!(code == Some(0) && text.contains("stamp 1.2.3") && text.contains("is serving"), "{text}");
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(1));
    let (code, text) = tokio::task::block_in_place(|| run(&["list"]));
    assert!(code == Some(0) && text.contains("previous") && text.contains("1.2.3"), "{text}");
    let (code, text) = tokio::task::block_in_place(|| run(&["rollback", "stamp"]));
    assert!(code == Some(0) && text.contains("is serving"), "{text}");
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));
    let (code, text) = tokio::task::block_in_place(|| run(&["deploy", &file, "--name", "noop-infer"]));
    assert!(code == Some(1) && text.contains("is not a plugin of kind `infer`"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_highest_version_in_the_folder_serves_also_after_reload_and_restart() {
    let site = Site::new("");
    std::fs::remove_file(site.plugin("stamp.wasm")).expect("there");
    site.drop_in("stamp@1.0.0.wasm", &stamped(1));
    site.drop_in("stamp@2.0.0.wasm", &stamped(2));
    let server = site.serve().await;
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(2));
    site.write_config("deadline = \"9s\"");
    let end = Instant::now() + Duration::from_secs(60);
    while server.get("/v1/pipelines").await.json()["pipelines"][0]["deadline_seconds"] != 9.0 {
        assert!(Instant::now() < end, "the configuration is not reloaded");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(2), "after a reload");
    server.stop().await;
    let server = site.serve().await;
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(2), "after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_changed_while_no_server_ran_is_applied_at_start() {
    let site = Site::new("");
    let cap = async |server: &Server| {
        let plugin = server.get("/v1/plugins/stamp").await.json();
        plugin["stages"][0]["max_memory"].as_u64().expect("bytes")
    };
    site.drop_in("stamp.toml", b"max_memory = \"20MiB\"");
    let server = site.serve().await;
    assert_eq!(cap(&server).await, 20 << 20);
    server.stop().await;
    site.drop_in("stamp.toml", b"max_memory = \"30MiB\"");
    let server = site.serve().await;
    assert_eq!(cap(&server).await, 30 << 20);
    assert_eq!(states(&server).await, ["serving"], "the component is the same, so there is no new version");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_survives_a_restart_with_another_path_to_the_same_configuration() {
    let site = Site::new("");
    let reply = async |served: &Served| {
        let post = reqwest::Client::new().post(format!("{}/v1/pipelines/p/infer", served.url));
        post.send().await.expect("an answer").text().await.expect("text")
    };
    let served = Served::start_in(site.folder.path(), Path::new("plimsoll.toml"));
    site.drop_in("stamp.wasm", &stamped(1));
    let end = Instant::now() + Duration::from_secs(60);
    while reply(&served).await != stamped_reply(1) {
        assert!(Instant::now() < end, "version 1 is not deployed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let back = reqwest::Client::new().post(format!("{}/v1/plugins/stamp/rollback", served.url));
    let back = back.bearer_auth(made_token(site.folder.path()));
    assert_eq!(back.send().await.expect("an answer").status(), 200);
    served.terminate();
    served.wait_for_exit();
    let served = Served::start(&site.config);
    assert_eq!(reply(&served).await, stamped_reply(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_free_slot_still_deploys() {
    let site = Site::new("");
    let text = std::fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, text.replace("[server]\n", "[server]\nmax_concurrency = 1\n"))
        .expect("written");
    let server = Arc::new(site.serve().await);
    // Each request sleeps 300 ms before and 300 ms after the model, while the next waits for its slot.
    let busy: Vec<_> = (0..8)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { server.infer("p", "?do=sleep", "").await.status })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    for mark in 1..=3 {
        let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(mark)).await;
        assert_eq!(put.status, 200, "{}", put.text);
    }
    for request in busy {
        assert_eq!(request.await.expect("no panic"), 200);
    }
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(3));
}
