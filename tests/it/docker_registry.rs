//! For tests of `oci://` references: a process of Debian's `docker-registry` on a free port of the loopback interface.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use plimsoll::base::oci::OciReference;
use plimsoll_runtime::identity::digest;
use plimsoll_tests::TempDir;

const BINARY: &str = "docker-registry";

/// The entry of the user `user` with the password `password`, as `htpasswd -B` writes it.
const USERS: &str = "user:$2b$04$L/tlWNI.0G1BRB2vdM3CUeQbRzospAPVd4mJPzG3E6fFHHk/m8zoW";

/// A registry process with its own folder. It is killed on drop.
pub(crate) struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    pub(crate) folder: TempDir,
}

impl Registry {
    /// Starts a registry without authentication. If the program is not installed, prints the reason and returns `None`;
    /// the caller then skips its test.
    ///
    /// # Panics
    /// If the program is not installed and `CI` is set.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("")
    }

    pub(crate) fn start_with(more: &str) -> Option<Self> {
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
                plimsoll_tests::skip(reason);
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

    pub(crate) fn reference(&self, rest: &str) -> OciReference {
        format!("oci://{}/{rest}", self.address).parse().expect("a reference")
    }

    /// The file in which the registry stores the blob with a digest.
    pub(crate) fn file(&self, digest: &str) -> PathBuf {
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
    pub(crate) async fn put_manifest(&self, name: &str, tag: &str, config: &str, layers: &[(&str, &[u8])]) {
        self.put_titled(name, tag, config, layers, &[]).await;
    }

    /// As [`Registry::put_manifest`], with the names of files for the first layers. Returns the digest of the manifest.
    pub(crate) async fn put_titled(
        &self,
        name: &str,
        tag: &str,
        config: &str,
        layers: &[(&str, &[u8])],
        titles: &[&str],
    ) -> String {
        let mut described = Vec::new();
        for (index, &(media_type, bytes)) in layers.iter().enumerate() {
            let digest = self.put_blob(name, bytes).await;
            let mut layer = serde_json::json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
            if let Some(title) = titles.get(index) {
                layer["annotations"] = serde_json::json!({ "org.opencontainers.image.title": title });
            }
            described.push(layer);
        }
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": { "mediaType": config, "digest": self.put_blob(name, b"{}").await, "size": 2 },
            "layers": described,
        });
        let manifest = manifest.to_string();
        let url = format!("http://{}/v2/{name}/manifests/{tag}", self.address);
        let put = reqwest::Client::new().put(url).header("content-type", manifest_type).body(manifest.clone());
        assert_eq!(put.send().await.expect("an answer").status(), 201);
        format!("sha256:{}", digest(manifest.as_bytes()))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
