//! Components in an OCI registry: Debian's `docker-registry`, on a free port of the loopback interface.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use plimsoll::base::oci::{Credentials, OciError, OciReference, pull, pull_as, push, push_as};
use plimsoll_runtime::identity::digest;
use plimsoll_tests::{TempDir, guest};

use crate::start_stop::without_certificates;

/// A size limit that is larger than every component of the tests.
const LARGE_LIMIT: u64 = 64 << 20;

const BINARY: &str = "docker-registry";

/// The entry of the user `user` with the password `password`, as `htpasswd -B` writes it.
const USERS: &str = "user:$2b$04$L/tlWNI.0G1BRB2vdM3CUeQbRzospAPVd4mJPzG3E6fFHHk/m8zoW";

/// A digest that no manifest has.
const NO_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// A registry process with its own folder. It is killed on drop.
struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`.
    address: String,
    folder: TempDir,
}

impl Registry {
    /// Starts a registry without authentication. If the program is not installed, prints the reason and returns `None`;
    /// the caller then skips its test.
    ///
    /// # Panics
    /// If the program is not installed and `CI` is set.
    fn start() -> Option<Self> {
        Self::start_with("")
    }

    fn start_with(more: &str) -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        std::fs::write(folder.path().join("users"), USERS).expect("written");
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: true}}}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n\
             storage: {{filesystem: {{rootdirectory: {:?}}}}}\n{more}",
            folder.path()
        );
        std::fs::write(&config, text.replace("USERS", &folder.path().join("users").to_string_lossy()))
            .expect("written");
        let spawned = Command::new(BINARY).arg("serve").arg(&config).stderr(Stdio::piped()).spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let reason = "docker-registry is not installed (Debian: apt-get install docker-registry)";
                assert!(std::env::var_os("CI").is_none(), "{reason}, and CI must not skip");
                eprintln!("SKIPPED: {reason}");
                return None;
            }
            Err(error) => panic!("{BINARY}: {error}"),
        };
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let address = loop {
            let mut line = String::new();
            assert_ne!(lines.read_line(&mut line).expect("text"), 0, "the registry ended before it listened");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split('"').next().expect("an address").to_owned();
            }
        };
        // The registry would block on a full pipe, so its log is read to the end.
        std::thread::spawn(move || lines.read_to_string(&mut String::new()));
        Some(Self { child, address, folder })
    }

    fn reference(&self, rest: &str) -> OciReference {
        format!("oci://{}/{rest}", self.address).parse().expect("a reference")
    }

    /// The file in which the registry stores the blob with a digest.
    fn file(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
        self.folder.path().join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    /// Uploads a blob with plain HTTP requests. Returns its digest.
    async fn put_blob(&self, name: &str, bytes: &[u8]) -> String {
        let client = reqwest::Client::new();
        let upload = client.post(format!("http://{}/v2/{name}/blobs/uploads/", self.address)).send().await;
        let location = upload.expect("an answer").headers()["location"].to_str().expect("a URL").to_owned();
        let digest = format!("sha256:{}", digest(bytes));
        let put = client.put(location).query(&[("digest", &digest)]).body(bytes.to_vec()).send().await;
        assert_eq!(put.expect("an answer").status(), 201);
        digest
    }

    /// Uploads a manifest with these layers, and the layers, with plain HTTP requests.
    async fn put_manifest(&self, name: &str, tag: &str, config: &str, layers: &[(&str, &[u8])]) {
        let mut described = Vec::new();
        for &(media_type, bytes) in layers {
            let digest = self.put_blob(name, bytes).await;
            described.push(serde_json::json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }));
        }
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": { "mediaType": config, "digest": self.put_blob(name, b"{}").await, "size": 2 },
            "layers": described,
        });
        let url = format!("http://{}/v2/{name}/manifests/{tag}", self.address);
        let put = reqwest::Client::new().put(url).header("content-type", manifest_type).body(manifest.to_string());
        assert_eq!(put.send().await.expect("an answer").status(), 201);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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
