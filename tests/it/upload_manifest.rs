//! A component that is deployed over HTTP has the manifest in the plugin folder, as a file of the same name has.

use std::process::Command;

use plimsoll_runtime::identity::digest;
use plimsoll_tests::{Server, Site, TempDir, stamped, stamped_reply};

const BINARY: &str = env!("CARGO_BIN_EXE_plimsoll-under-test");

/// The cap of the plugin `stamp`, in MiB.
async fn cap(server: &Server) -> u64 {
    let plugin = server.get("/v1/plugins/stamp").await.json();
    plugin["stages"][0]["max_memory"].as_u64().expect("bytes") >> 20
}

async fn put(server: &Server, query: &str, bytes: Vec<u8>) -> plimsoll_tests::Reply {
    server.send("PUT", &format!("/v1/plugins/stamp{query}"), &[], bytes).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_over_http_keeps_the_limits_of_the_manifest_also_over_a_restart() {
    let site = Site::new("");
    site.drop_in("stamp.toml", b"max_memory = \"20MiB\"");
    site.drop_in("stamp@1.5.toml", b"max_memory = \"30MiB\"");
    let server = site.serve().await;
    let same = put(&server, "", stamped(0)).await;
    assert_eq!(same.json()["state"], "unchanged", "the file has the same bytes and manifest: {}", same.text);

    let reply = put(&server, "", stamped(1)).await;
    assert_eq!((reply.status, &reply.json()["state"]), (200, &"serving".into()), "{}", reply.text);
    assert_eq!(reply.json()["manifest"], site.plugin("stamp.toml").display().to_string());
    assert_eq!(cap(&server).await, 20);
    server.stop().await;
    let server = site.serve().await;
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(1));
    assert_eq!(cap(&server).await, 20);

    let reply = put(&server, "?version=1.5", stamped(2)).await;
    assert_eq!(reply.json()["manifest"], site.plugin("stamp@1.5.toml").display().to_string(), "{}", reply.text);
    assert_eq!(cap(&server).await, 30, "a manifest with the version takes precedence");
    let back = server.send("POST", "/v1/plugins/stamp/rollback", &[], Vec::new()).await;
    assert_eq!((back.status, cap(&server).await), (200, 20), "{}", back.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_refused_if_the_manifest_pins_another_digest_or_is_not_valid() {
    let site = Site::new("");
    site.drop_in("stamp.toml", format!("sha256 = \"{}\"", digest(&stamped(0))).as_bytes());
    site.drop_in("other.toml", b"max_memroy = \"20MiB\"");
    let server = site.serve().await;
    let refused = |reply: &plimsoll_tests::Reply, words: &[&str]| {
        assert_eq!((reply.status, reply.code().as_str()), (422, "plugin_refused"), "{}", reply.text);
        assert!(words.iter().all(|word| reply.text.contains(word)), "{words:?}: {}", reply.text);
    };
    let pinned = put(&server, "", stamped(1)).await;
    refused(&pinned, &["digest mismatch", "stamp.toml", "change `sha256` there"]);
    // The digest of the request does not replace the one in the manifest.
    let both = put(&server, &format!("?sha256={}", digest(&stamped(1))), stamped(1)).await;
    refused(&both, &["digest mismatch", "stamp.toml"]);
    let wrong = put(&server, &format!("?sha256={}", "0".repeat(64)), stamped(0)).await;
    refused(&wrong, &["digest mismatch", "the request pins"]);
    let invalid = server.send("PUT", "/v1/plugins/other", &[], stamped(1)).await;
    refused(&invalid, &["other.toml", "max_memroy"]);
    for version in ["..%2F..%2Fother", "a%2Fb"] {
        let reply = put(&server, &format!("?version={version}"), stamped(1)).await;
        refused(&reply, &["the version"]);
        assert!(!reply.text.contains("max_memroy"), "no file outside of the plugin folder is read: {}", reply.text);
    }
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_the_plugin_folder_does_not_drop_the_limits_of_the_manifest() {
    let site = Site::new("");
    site.drop_in("stamp.toml", b"max_memory = \"20MiB\"");
    let server = site.serve().await;
    let (plugins, away) = (site.folder.path().join("plugins"), site.folder.path().join("away"));
    std::fs::rename(&plugins, &away).expect("renamed");
    let missing = put(&server, "", stamped(1)).await;
    std::fs::create_dir(&plugins).expect("made");
    let empty = put(&server, "", stamped(1)).await;
    for reply in [missing, empty] {
        assert_eq!((reply.status, reply.code().as_str()), (500, "internal"), "{}", reply.text);
        assert!(reply.text.contains("stamp.toml") && reply.text.contains("restore the folder"), "{}", reply.text);
    }
    assert_eq!((server.infer("p", "", "").await.text, cap(&server).await), (stamped_reply(0), 20));

    // A manifest that was removed alone counts as removed.
    std::fs::write(plugins.join("notes.txt"), "none").expect("written");
    let reply = put(&server, "", stamped(1)).await;
    assert_eq!((reply.status, &reply.json()["state"]), (200, &"serving".into()), "{}", reply.text);
    assert_ne!(cap(&server).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_prints_which_manifest_is_used() {
    let site = Site::new("");
    let server = site.serve().await;
    let deploy = |folder: &TempDir| {
        let file = folder.path().join("stamp.wasm");
        let token = server.token.clone().expect("the server made one");
        let mut command = Command::new(BINARY);
        command.args(["plugin", "deploy"]).arg(file).args(["--server", &server.url]).env("PLIMSOLL_ADMIN_TOKEN", token);
        tokio::task::spawn_blocking(move || command.output().expect("the binary starts"))
    };
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("stamp.wasm"), stamped(1)).expect("written");
    std::fs::write(folder.path().join("stamp.toml"), "max_memory = \"20MiB\"").expect("written");
    let output = deploy(&folder).await.expect("no panic");
    let warning = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{warning}");
    assert!(warning.contains("stamp.toml is not used") && warning.contains("plugin folder"), "{warning}");

    site.drop_in("stamp.toml", b"max_memory = \"30MiB\"");
    std::fs::write(folder.path().join("stamp.wasm"), stamped(2)).expect("written");
    let output = deploy(&folder).await.expect("no panic");
    let (printed, warning) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{warning}");
    assert!(printed.contains(&*site.plugin("stamp.toml").display().to_string()), "{printed}");
    assert!(!warning.contains("is not used"), "{warning}");
}
