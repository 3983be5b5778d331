//! Components in an OCI registry: push, pull, credentials, and what a registry may not change.

use base64::Engine;
use plimsoll::base::oci::{Credentials, OciError, OciReference, pull, pull_as, push, push_as};
use plimsoll_runtime::identity::digest;
use plimsoll_tests::guest;

use crate::docker_registry::Registry;
use crate::process::without_certificates;

/// A size limit that is larger than every component of the tests.
const LARGE_LIMIT: u64 = 64 << 20;

/// A digest that no manifest has.
const NO_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn component() -> Vec<u8> {
    std::fs::read(guest("noop-preprocess")).expect("built")
}

#[tokio::test]
async fn a_pushed_component_can_be_pulled_by_tag_and_digest() {
    let Some(registry) = Registry::start() else { return };
    let component = component();
    let tagged = registry.reference("team/noop:1.0");
    let digest = push(&tagged, component.clone().into()).await.expect("pushed");
    assert_eq!(push(&tagged, component.clone().into()).await.expect("pushed again"), digest);

    let pinned = tagged.pinned(&digest);
    let by_digest = registry.reference(&format!("team/noop@{digest}"));
    for reference in [&tagged, &pinned, &by_digest] {
        let pulled = pull(reference, component.len() as u64).await.expect("pulled");
        assert!(pulled.bytes == component);
        assert_eq!((pulled.manifest_digest, pulled.reference), (digest.clone(), reference.pinned(&digest).to_string()));
    }

    let manifest = std::fs::read(registry.file(&digest)).expect("stored");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    let config = std::fs::read(registry.file(manifest["config"]["digest"].as_str().expect("text"))).expect("stored");
    let config: serde_json::Value = serde_json::from_slice(&config).expect("JSON");
    assert_eq!(config["layerDigests"][0], manifest["layers"][0]["digest"]);
    assert!(config["component"]["exports"][0].as_str().expect("a name").starts_with("plimsoll:"), "{config}");
}

#[tokio::test]
async fn a_digest_that_differs_from_the_pinned_one_is_rejected() {
    let Some(registry) = Registry::start() else { return };
    let tagged = registry.reference("noop:1");
    let digest = push(&tagged, component().into()).await.expect("pushed");
    let error = pull(&tagged.pinned(NO_DIGEST), LARGE_LIMIT).await.expect_err("refused");
    assert!(matches!(&error, OciError::Digest { expected, found, .. } if expected == NO_DIGEST && *found == digest));
    assert!(error.to_string().contains(NO_DIGEST) && error.to_string().contains(&digest), "{error}");
    // A reference without a tag names an unknown manifest, so there is no other digest to report.
    let error = pull(&registry.reference(&format!("noop@{NO_DIGEST}")), LARGE_LIMIT).await.expect_err("refused");
    assert!(matches!(error, OciError::Unknown { .. }), "{error}");
}

#[tokio::test]
async fn a_pinned_component_can_be_pulled_after_its_tag_has_moved() {
    let Some(registry) = Registry::start() else { return };
    let tagged = registry.reference("noop:1");
    let first = push(&tagged, component().into()).await.expect("pushed");
    let other = std::fs::read(guest("echo-infer")).expect("built");
    let second = push(&tagged, other.into()).await.expect("pushed");
    assert_ne!(first, second);
    assert!(pull(&tagged.pinned(&first), LARGE_LIMIT).await.expect("pulled").bytes == component());
    assert_eq!(pull(&tagged, LARGE_LIMIT).await.expect("pulled").manifest_digest, second);
}

#[tokio::test]
async fn unknown_tags_and_names_are_reported() {
    let Some(registry) = Registry::start() else { return };
    push(&registry.reference("noop:1"), component().into()).await.expect("pushed");
    for name in ["noop:2", "other:1"] {
        let error = pull(&registry.reference(name), LARGE_LIMIT).await.expect_err("not there");
        assert!(matches!(error, OciError::Unknown { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("/{name}: ")), "{error}");
    }
}

#[tokio::test]
async fn changed_bytes_in_the_registry_are_detected() {
    let Some(registry) = Registry::start() else { return };
    let tagged = registry.reference("noop:1");
    let manifest = push(&tagged, component().into()).await.expect("pushed");
    let layer = format!("sha256:{}", digest(&component()));

    let mut changed = component();
    *changed.last_mut().expect("not empty") ^= 1;
    std::fs::write(registry.file(&layer), &changed).expect("written");
    let error = pull(&tagged, LARGE_LIMIT).await.expect_err("refused");
    let found = format!("sha256:{}", digest(&changed));
    assert!(error.to_string().contains(&layer) && error.to_string().contains(&found), "{error}");

    std::fs::write(registry.file(&layer), &changed[..changed.len() / 2]).expect("written");
    pull(&tagged, LARGE_LIMIT).await.expect_err("refused");
    std::fs::write(registry.file(&layer), component()).expect("written");
    pull(&tagged, LARGE_LIMIT).await.expect("the layer is restored");

    let text = std::fs::read_to_string(registry.file(&manifest)).expect("stored");
    std::fs::write(registry.file(&manifest), text.replace("\"annotations\"", "\"annotation5\"")).expect("written");
    for reference in [&tagged, &tagged.pinned(&manifest)] {
        let error = pull(reference, LARGE_LIMIT).await.expect_err("refused");
        assert!(matches!(&error, OciError::Digest { expected, .. } if *expected == manifest), "{error:?}");
    }
}

#[tokio::test]
async fn artifacts_that_are_not_components_are_rejected() {
    let Some(registry) = Registry::start() else { return };
    let wasm = "application/vnd.wasm.config.v0+json";
    let component = component();
    let layer = ("application/wasm", component.as_slice());
    for (config, layers, part) in [
        ("application/vnd.oci.image.config.v1+json", vec![layer], "its config is"),
        (wasm, vec![("text/plain", b"text".as_slice())], "its layer is `text/plain`"),
        (wasm, vec![layer, layer], "2 layers"),
    ] {
        registry.put_manifest("other", "1", config, &layers).await;
        let error = pull(&registry.reference("other:1"), LARGE_LIMIT).await.expect_err("refused");
        assert!(matches!(error, OciError::NotWasm { .. }) && error.to_string().contains(part), "{error}");
    }
    // The same upload with a valid manifest is accepted.
    registry.put_manifest("other", "1", wasm, &[layer]).await;
    assert!(pull(&registry.reference("other:1"), LARGE_LIMIT).await.expect("pulled").bytes == component);

    let error = push(&registry.reference("text:1"), b"text"[..].into()).await.expect_err("refused");
    assert!(matches!(error, OciError::NotWasm { .. }), "{error}");
}

#[tokio::test]
async fn a_component_above_the_size_limit_is_rejected() {
    let Some(registry) = Registry::start() else { return };
    let tagged = registry.reference("noop:1");
    push(&tagged, component().into()).await.expect("pushed");
    let size = component().len() as u64;
    let error = pull(&tagged, size - 1).await.expect_err("refused");
    assert!(matches!(error, OciError::TooLarge { size: found, limit, .. } if found == size && limit == size - 1));

    // The layer has more bytes than the manifest declares. The limit applies to the real size.
    let layer = registry.file(&digest(&component()));
    std::fs::write(layer, [component(), component()].concat()).expect("written");
    let error = pull(&tagged, size).await.expect_err("refused");
    assert!(error.to_string().contains("more than the"), "{error}");
}

#[tokio::test]
async fn an_unreachable_registry_is_reported_with_the_reason() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let reference: OciReference = format!("{address}/noop:1").parse().expect("a reference");
    let error = pull(&reference, LARGE_LIMIT).await.expect_err("unreachable");
    assert!(matches!(error, OciError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains(&reference.to_string()), "{error}");

    // Names below `invalid` never exist (RFC 2606).
    let reference: OciReference = "registry.invalid/noop:1".parse().expect("a reference");
    let error = push(&reference, component().into()).await.expect_err("unreachable");
    assert!(matches!(error, OciError::UnknownHost { .. }), "{error:?}");
}

#[tokio::test]
async fn credentials_are_used_and_wrong_ones_are_reported() {
    let Some(registry) = Registry::start_with("auth: {htpasswd: {realm: test, path: \"USERS\"}}\n") else { return };
    let tagged = registry.reference("noop:1");
    let right = Credentials::basic("user", "password");
    let digest = push_as(&tagged, component().into(), right.clone()).await.expect("pushed");
    let pulled = pull_as(&tagged, LARGE_LIMIT, right).await.expect("pulled");
    assert_eq!((pulled.manifest_digest, pulled.bytes == component()), (digest, true));

    for wrong in [Credentials::basic("user", "secret"), Credentials::anonymous()] {
        let pulled = pull_as(&tagged, LARGE_LIMIT, wrong.clone()).await.expect_err("refused");
        let pushed = push_as(&tagged, component().into(), wrong).await.expect_err("refused");
        for error in [pulled, pushed] {
            assert!(matches!(error, OciError::Unauthorized { .. }), "{error:?}");
            let message = error.to_string();
            assert!(message.contains("docker login") && message.contains("PLIMSOLL_OCI_PASSWORD"), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}

#[tokio::test]
async fn a_registry_on_this_machine_needs_no_ca_certificates() {
    let htpasswd = "auth: {htpasswd: {realm: test, path: \"USERS\"}}\n";
    for (more, password) in [("", ""), (htpasswd, "password")] {
        let Some(registry) = Registry::start_with(more) else { return };
        let (file, reference) = (guest("noop-preprocess"), format!("oci://{}/team/noop:1.0", registry.address));
        let pulled = registry.folder.path().join("pulled.wasm");
        let (file, pulled_path) = (file.to_str().expect("text"), pulled.to_str().expect("text"));
        let run = |password: &str, arguments: &[&str]| {
            // As `docker login` writes it.
            let login = base64::engine::general_purpose::STANDARD.encode(format!("user:{password}"));
            let logins = match password {
                "" => serde_json::json!({}),
                _ => serde_json::json!({ "auths": { registry.address.as_str(): { "auth": login } } }),
            };
            std::fs::write(registry.folder.path().join("config.json"), logins.to_string()).expect("written");
            let mut command = without_certificates();
            command.args(arguments).env("DOCKER_CONFIG", registry.folder.path());
            let output = command.output().expect("the binary starts");
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (code, message) = run(password, &["plugin", "push", file, &reference]);
        assert_eq!(code, Some(0), "{message}");
        let (code, message) = run(password, &["plugin", "pull", &reference, "--out", pulled_path]);
        assert_eq!(code, Some(0), "{message}");
        assert!(std::fs::read(&pulled).expect("pulled") == component());
        // The messages are those of the other client.
        let unknown = format!("oci://{}/team/noop:2.0", registry.address);
        let (code, message) = run(password, &["plugin", "pull", &unknown, "--out", pulled_path]);
        assert!(code == Some(1) && message.contains("no such artifact"), "{message}");
        if !more.is_empty() {
            let (code, message) = run("wrong", &["plugin", "pull", &reference, "--out", pulled_path]);
            assert!(code == Some(1) && message.contains("docker login"), "{message}");
        }
    }
    let (code, message) = {
        let output = without_certificates().args(["plugin", "pull", "oci://registry.invalid/noop:1"]).output();
        let output = output.expect("the binary starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(code == Some(1) && message.contains("CA certificates") && !message.contains("panicked"), "{message}");
}
