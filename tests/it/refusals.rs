//! A release that cannot serve is rejected with the reason, and the running version stays in place.

use plimsoll_tests::{Server, Site, TempDir, guest, guests_config, stamped, stamped_reply};

use crate::reload::wait_for_reloads;

/// Deploys a component that must be rejected, and checks that the running version still replies. Returns the reason.
async fn rejection_reason(server: &Server, name: &str, bytes: Vec<u8>) -> String {
    let reply = server.send("PUT", &format!("/v1/plugins/{name}"), &[], bytes).await;
    assert_eq!((reply.status, reply.code().as_str()), (422, "plugin_refused"), "{}", reply.text);
    let reason = reply.json()["detail"].as_str().expect("text").to_owned();
    let shown = server.wait_for_state(name, "refused").await;
    assert!(reason.ends_with(shown["reason"].as_str().expect("text")), "{shown} is not {reason}");
    assert_eq!(server.infer("p", "", "").await.status, 200);
    reason
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(guest(name)).expect("built")
}

#[tokio::test(flavor = "multi_thread")]
async fn components_that_are_not_valid_plugins_are_rejected_with_the_reason() {
    let config = guests_config("tester", "max_memory = \"12MiB\"\ndeadline = \"5s\"")
        .replace("[plugins.tester]\n", "[plugins.tester]\ninit_deadline = \"3s\"\n");
    let server = Server::start(&config).await;
    let whole = bytes("tester");
    let import = wat::parse_file(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/wat/bad-import.wat"));
    // A component that needs more memories, tables or core instances than one stage may have. Otherwise one request of it could
    // take the places of all others.
    let text =
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/wat/two-memories.wat"));
    let text = text.expect("readable");
    const LAST: &str = "(core instance $b (instantiate $b))";
    assert!(text.contains(LAST));
    let greedy = |content: &str, count: usize| {
        let instances =
            (0..count).map(|index| format!("(core instance $x{index} (instantiate $x))")).collect::<String>();
        let text = text.replace(LAST, &format!("{LAST} (core module $x {content}) {instances}"));
        wat::parse_str(text).expect("valid")
    };
    let assert_contains = |reason: &str, words: &[&str]| {
        for word in words {
            assert!(reason.contains(word), "{word:?} is missing in: {reason}");
        }
    };
    for (what, component, words) in [
        ("random bytes", vec![7; 5000], vec!["is not a component"]),
        ("half of a component", whole[..whole.len() / 2].to_vec(), vec!["is not a component"]),
        (
            "a core module without metadata",
            wat::parse_str("(module)").expect("valid"),
            vec!["core module", "wasm32-wasip2"],
        ),
        (
            "another world",
            bytes("echo-infer"),
            vec!["is not a plugin of kind `preprocess`", "plimsoll:stage/preprocess@0.1.0"],
        ),
        ("an unknown import", import.expect("valid"), vec!["plimsoll:stage/teleport@0.1.0"]),
        ("many memories", greedy("(memory 0)", 130), vec!["core module instances", "maximum of 16"]),
        ("memories above the share", greedy("(memory 0)", 4), vec!["memories", "maximum of 4"]),
        ("tables above the share", greedy("(table 0 funcref)", 9), vec!["tables", "maximum of 8"]),
        ("an init that fails", bytes("init-fails"), vec!["`init` failed", "the weights are missing"]),
        ("an init that traps", bytes("init-panics"), vec!["`init` failed", "trap"]),
        ("an init that loops", bytes("init-loops"), vec!["`init` failed", "deadline"]),
        ("an init that needs too much memory", bytes("init-big"), vec!["memory_limit", "12582912"]),
    ] {
        let reason = rejection_reason(&server, "tester", component).await;
        println!("{what}: {reason}");
        assert_contains(&reason, &words);
    }
    let metrics = server.get("/metrics").await.text;
    assert!(metrics.contains("plimsoll_deployments_total{plugin=\"tester\",result=\"refused\"} 12"), "{metrics}");
    let shown = server.get("/v1/plugins/tester").await.json();
    assert_eq!(shown["versions"][0]["state"], "serving");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_fails_on_the_sample_is_rejected() {
    let site = Site::new("sample = \"sample.bin\"");
    std::fs::write(site.folder.path().join("sample.bin"), b"x").expect("written");
    let server = site.serve().await;
    let invalid = bytes("leaker");
    let reason = rejection_reason(&server, "stamp", invalid).await;
    assert!(reason.contains("is not a plugin of kind `postprocess`"), "{reason}");

    // The sample runs through the whole pipeline. This component is a valid preprocess plugin, but fails on the sample.
    let config = guests_config("tester", "")
        .replace("[pipelines.p.preprocess]", "[pipelines.p]\nsample = \"s\"\n[pipelines.p.preprocess]");
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("s"), b"no picture").expect("written");
    let config = config.replace("\"s\"", &format!("{:?}", folder.path().join("s")));
    let server = Server::start(&config).await;
    let reason = rejection_reason(&server, "tester", bytes("leaker")).await;
    assert!(reason.contains("the sample of pipeline `p`") && reason.contains("invalid_input"), "{reason}");
    let reason = rejection_reason(&server, "echo-infer", bytes("tester")).await;
    assert!(reason.contains("is not a plugin of kind `infer`"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_with_a_wrong_digest_or_above_the_size_limit_are_rejected() {
    let site = Site::new("");
    let server = site.serve().await;
    let reply = server.send("PUT", &format!("/v1/plugins/stamp?sha256={}", "0".repeat(64)), &[], stamped(1)).await;
    assert_eq!(reply.status, 422);
    assert!(reply.text.contains("digest mismatch"), "{}", reply.text);

    site.drop_in("stamp.toml", format!("sha256 = \"{}\"", "0".repeat(64)).as_bytes());
    site.drop_in("stamp.wasm", &stamped(1));
    let version = server.wait_for_state("stamp", "refused").await;
    assert!(version["reason"].as_str().expect("text").contains("digest mismatch"), "{version}");
    // With a corrected manifest, the same file is accepted.
    let digest = plimsoll_runtime::identity::digest(&stamped(1));
    site.drop_in("stamp.toml", format!("sha256 = \"{digest}\"").as_bytes());
    server.wait_for_reply(&stamped_reply(1)).await;

    plimsoll_tests::replace_file(
        &site.config,
        std::fs::read_to_string(&site.config)
            .expect("text")
            .replace("[server]", "[deploy]\nmax_plugin = \"4KiB\"\n[server]"),
    )
    .expect("written");
    wait_for_reloads(&server, "served", 1).await;
    let reply = server.send("PUT", "/v1/plugins/stamp", &[], stamped(2)).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "too_large"), "{}", reply.text);
    site.drop_in("other.wasm", &stamped(2));
    let version = server.wait_for_state("other", "refused").await;
    assert!(version["reason"].as_str().expect("text").contains("deploy.max_plugin"), "{version}");
}
