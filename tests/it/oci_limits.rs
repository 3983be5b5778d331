//! Credentials are sent only to the registries that are named, and manifests and tokens are read up to a limit.

use std::process::Command;
use std::sync::{Arc, Mutex};

use plimsoll::base::oci::{Credentials, OciReference, pull_as};
use plimsoll_tests::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What a registry demands.
#[derive(Debug, Clone, Copy)]
enum Demands {
    Password,
    /// A token of its own service.
    Token,
}

/// A registry that demands a password or a token. It answers a manifest, and a request for a token, with `bytes` bytes.
struct Registry {
    /// `127.0.0.1:PORT`.
    address: String,
    /// The values of `Authorization` that it received.
    authorizations: Arc<Mutex<Vec<String>>>,
    /// The bytes of manifests and tokens that it could send.
    sent: Arc<Mutex<u64>>,
}

impl Registry {
    async fn start(demands: Demands, bytes: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let this = Self { address, authorizations: Arc::default(), sent: Arc::default() };
        let (authorizations, sent) = (Arc::clone(&this.authorizations), Arc::clone(&this.sent));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (authorizations, sent) = (Arc::clone(&authorizations), Arc::clone(&sent));
                // A client that goes away ends its connection with an error.
                tokio::spawn(async move { drop(answer(stream, demands, bytes, &authorizations, &sent).await) });
            }
        });
        this
    }
}

/// Answers one request and closes the connection.
async fn answer(
    stream: TcpStream,
    demands: Demands,
    bytes: u64,
    authorizations: &Mutex<Vec<String>>,
    sent: &Mutex<u64>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line == "\r\n" {
            break;
        }
        head.push(line);
    }
    let authorization = head.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("authorization").then(|| value.trim().to_owned())
    });
    authorizations.lock().expect("whole").extend(authorization);
    let is_asked_for = |part: &str| head.first().is_some_and(|line| line.contains(part));
    if !is_asked_for("/manifests/") && !is_asked_for("/token") {
        let scheme = match demands {
            Demands::Password => "Basic realm=\"test\"".to_owned(),
            Demands::Token => {
                let address = stream.get_ref().local_addr()?;
                format!("Bearer realm=\"http://{address}/token\",service=\"test\"")
            }
        };
        let challenge = format!(
            "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: {scheme}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        return stream.write_all(challenge.as_bytes()).await;
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let block = [b' '; 64 << 10];
    while *sent.lock().expect("whole") < bytes {
        stream.write_all(&block).await?;
        *sent.lock().expect("whole") += block.len() as u64;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_read_up_to_a_limit() {
    let error = too_large(Demands::Password).await;
    assert!(error.contains("manifest") && error.contains("4194304 bytes"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_read_up_to_a_limit() {
    let error = too_large(Demands::Token).await;
    assert!(error.contains("token service") && error.contains("1048576 bytes"), "{error}");
}

/// The error of a pull from a registry that answers with a gibibyte.
async fn too_large(demands: Demands) -> String {
    let registry = Registry::start(demands, 1 << 30).await;
    let reference: OciReference = format!("{}/noop:1", registry.address).parse().expect("a reference");
    let error = pull_as(&reference, 64 << 20, Credentials::basic("user", "password")).await.expect_err("too large");
    // The rest fits into the buffers of the connection.
    let sent = *registry.sent.lock().expect("whole");
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_the_environment_go_only_to_the_registries_that_are_named() {
    let folder = TempDir::new().expect("a folder");
    let pulled = async |registries: Option<&str>| {
        let registry = Registry::start(Demands::Password, 2).await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll-under-test"));
        command.args(["plugin", "pull", &format!("oci://{}/noop:1", registry.address)]).current_dir(folder.path());
        command.env("PLIMSOLL_OCI_USERNAME", "user").env("PLIMSOLL_OCI_PASSWORD", "the-secret");
        command.env("DOCKER_CONFIG", folder.path()).env_remove("PLIMSOLL_OCI_REGISTRY").env_remove("RUST_LOG");
        if let Some(registries) = registries {
            command.env("PLIMSOLL_OCI_REGISTRY", registries.replace("ADDRESS", &registry.address));
        }
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
        let log = String::from_utf8_lossy(&output.expect("the binary starts").stderr).into_owned();
        assert!(!log.contains("the-secret"), "{log}");
        let authorizations = registry.authorizations.lock().expect("whole").clone();
        (authorizations, log)
    };
    for named in ["ADDRESS", "registry.example, ADDRESS"] {
        let (authorizations, log) = pulled(Some(named)).await;
        assert!(authorizations.iter().any(|value| value.starts_with("Basic ")), "{named}: {log}");
    }
    for other in [Some("registry.example"), Some("127.0.0.1"), None] {
        let (authorizations, log) = pulled(other).await;
        assert_eq!(authorizations, [""; 0], "{other:?}: {log}");
        assert!(other.is_some() || log.contains("PLIMSOLL_OCI_REGISTRY"), "the mend is missing in {log}");
    }
}
