//! Registries that name other addresses: credentials stay with the registry, and plain HTTP on this machine.

use std::process::Command;
use std::sync::{Arc, Mutex};

use plimsoll_tests::{TempDir, guest};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A server that answers as `answer` says, and keeps what it was asked for.
struct Answers {
    /// `127.0.0.1:PORT`.
    address: String,
    /// The request lines, and whether the requests had credentials.
    asked: Arc<Mutex<Vec<(String, bool)>>>,
}

impl Answers {
    /// `answer` returns the status line and the headers for a request line.
    async fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let this = Self { address: listener.local_addr().expect("bound").to_string(), asked: Arc::default() };
        let (asked, answer) = (Arc::clone(&this.asked), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
                // A client that goes away ends its connection with an error.
                tokio::spawn(async move { drop(reply(stream, &asked, &*answer).await) });
            }
        });
        this
    }

    fn asked(&self) -> Vec<(String, bool)> {
        self.asked.lock().expect("whole").clone()
    }
}

/// Answers one request, and closes the connection.
async fn reply(
    stream: TcpStream,
    asked: &Mutex<Vec<(String, bool)>>,
    answer: &(dyn Fn(&str) -> String + Send + Sync),
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut first, mut has_credentials, mut length) = (String::new(), false, 0);
    stream.read_line(&mut first).await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line == "\r\n" {
            break;
        }
        let line = line.to_ascii_lowercase();
        has_credentials |= line.starts_with("authorization:");
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let first = first.trim_end().to_owned();
    let head = answer(&first);
    asked.lock().expect("whole").push((first, has_credentials));
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.shutdown().await
}

/// Runs `plimsoll plugin` with credentials for the registry. Returns its exit code and its messages.
async fn plugin(arguments: &[&str], registry: &str) -> (Option<i32>, String) {
    let folder = TempDir::new().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll-under-test"));
    command.arg("plugin").args(arguments).current_dir(folder.path()).env_remove("RUST_LOG");
    command.env("PLIMSOLL_OCI_USERNAME", "user").env("PLIMSOLL_OCI_PASSWORD", "the-secret");
    command.env("DOCKER_CONFIG", folder.path()).env("PLIMSOLL_OCI_REGISTRY", registry);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let output = output.expect("the binary starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A registry whose uploads go to `location`.
async fn registry_with_uploads_at(location: String) -> Answers {
    Answers::start(move |request| match request {
        request if request.starts_with("POST ") => format!("202 Accepted\r\nlocation: {location}"),
        request if request.starts_with("PUT ") => "201 Created".to_owned(),
        _ => "401 Unauthorized\r\nwww-authenticate: Basic realm=\"test\"".to_owned(),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_do_not_follow_an_upload_to_another_server() {
    let file = guest("noop-preprocess");
    let file = file.to_str().expect("text");
    let other = Answers::start(|_| "201 Created".to_owned()).await;
    let registry = registry_with_uploads_at(format!("http://{}/upload", other.address)).await;
    let reference = format!("oci://{}/noop:1", registry.address);
    let (code, log) = plugin(&["push", file, &reference], &registry.address).await;
    assert_eq!(code, Some(0), "{log}");
    let uploads = other.asked();
    assert_eq!(uploads.len(), 2, "{uploads:?}");
    assert!(
        uploads.iter().all(|(request, has)| request.starts_with("PUT /upload?digest=sha256") && !has),
        "{uploads:?}"
    );
    assert!(registry.asked().iter().any(|(request, has)| request.starts_with("PUT ") && *has), "the manifest");

    // Its own address gets them.
    let registry = registry_with_uploads_at("/upload?state=1".to_owned()).await;
    let reference = format!("oci://{}/noop:1", registry.address);
    let (code, log) = plugin(&["push", file, &reference], &registry.address).await;
    assert_eq!(code, Some(0), "{log}");
    let asked = registry.asked();
    let uploads: Vec<_> =
        asked.iter().filter(|(request, _)| request.starts_with("PUT /upload?state=1&digest=")).collect();
    assert!(uploads.len() == 2 && uploads.iter().all(|(_, has)| *has), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_does_not_follow_a_registry_to_another_machine() {
    // An address for documentation (RFC 5737): nothing answers there.
    let elsewhere = "http://192.0.2.1/elsewhere";
    let registry = registry_with_uploads_at(elsewhere.to_owned()).await;
    let file = guest("noop-preprocess");
    let reference = format!("oci://{}/noop:1", registry.address);
    let (code, log) = plugin(&["push", file.to_str().expect("text"), &reference], &registry.address).await;
    assert!(
        code == Some(1) && log.contains(elsewhere) && log.contains("only HTTPS to another machine"),
        "{code:?} {log}"
    );

    let registry = Answers::start(move |_| format!("307 Temporary Redirect\r\nlocation: {elsewhere}")).await;
    let reference = format!("oci://{}/noop:1", registry.address);
    let (code, log) = plugin(&["pull", &reference], &registry.address).await;
    assert!(
        code == Some(1) && log.contains(elsewhere) && log.contains("only HTTPS to another machine"),
        "{code:?} {log}"
    );

    // Another server on this machine is asked, without the credentials.
    let other = Answers::start(|_| "404 Not Found".to_owned()).await;
    let to = format!("307 Temporary Redirect\r\nlocation: http://{}/there", other.address);
    let registry = Answers::start(move |request| match request.contains("/manifests/") {
        true => to.clone(),
        false => "200 OK".to_owned(),
    })
    .await;
    let reference = format!("oci://{}/noop:1", registry.address);
    let (code, log) = plugin(&["pull", &reference], &registry.address).await;
    assert_ne!(code, Some(0), "{log}");
    assert!(registry.asked().iter().any(|(request, has)| request.contains("/manifests/") && *has));
    assert_eq!(other.asked(), [("GET /there HTTP/1.1".to_owned(), false)], "{log}");
}
