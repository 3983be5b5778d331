//! Traces over encrypted connections, compressed: the collector is behind HAProxy, which ends TLS and asks for a certificate.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use plimsoll_tests::TempDir;

use crate::collector::{Collector, server_span};
use crate::haproxy::{free_port, program};
use crate::process::PATIENCE;
use crate::tls::{have, make_authority, make_certificate};
use crate::traces::{post, serve, setup};

/// Is killed on drop.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends TLS in front of a collector. Returns the address. The certificate is `server.pem`, and callers need one of `ca.pem`.
fn encrypted(haproxy: &str, folder: &Path, collector: &Collector, alpn: &str) -> (Killed, String) {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("text");
    std::fs::write(folder.join("both.pem"), read("server.pem") + &read("server.key")).expect("written");
    let (port, to, at) = (free_port(), collector.url.trim_start_matches("http://"), folder.display());
    let config = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\nfrontend tls\n \
         bind 127.0.0.1:{port} ssl crt {at}/both.pem alpn {alpn} verify required ca-file {at}/ca.pem\n \
         default_backend collector\nbackend collector\n server collector {to}\n"
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, config).expect("written");
    let mut command = Command::new(haproxy);
    let child = command.args(["-db", "-f"]).arg(&file).stdout(Stdio::null()).spawn().expect("haproxy starts");
    let (child, end) = (Killed(child), Instant::now() + PATIENCE);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "haproxy does not listen");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    (child, format!("https://localhost:{port}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_exported_encrypted_and_compressed_and_only_to_a_collector_of_the_authority() {
    if !have(&["openssl"]) {
        return;
    }
    let Some(haproxy) = program() else { return };
    let folder = TempDir::new().expect("a folder");
    for name in ["ca", "other"] {
        make_authority(folder.path(), name);
    }
    for name in ["server", "client"] {
        make_certificate(folder.path(), "ca", name);
    }
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let setup = setup();
    for (protocol, alpn, encoding) in
        [("http/protobuf", "http/1.1", "content-encoding"), ("grpc", "h2", "grpc-encoding")]
    {
        let collector = Collector::start().await;
        let (_haproxy, endpoint) = encrypted(haproxy, folder.path(), &collector, alpn);
        let (client, key) = (path("client.pem"), path("client.key"));
        let variables = |authority: &'static str| {
            [
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".to_owned()),
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", path(authority)),
                ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", client.clone()),
                ("OTEL_EXPORTER_OTLP_CLIENT_KEY", key.clone()),
            ]
        };
        for (authority, is_trusted) in [("ca.pem", true), ("other.pem", false)] {
            let variables = variables(authority);
            let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
            let process = serve(&setup, &endpoint, &variables);
            assert_eq!(post(&process.url(), "", &[]).await.status(), 200);
            if is_trusted {
                let spans = collector.wait_for(4).await;
                assert_eq!(server_span(&spans).name, "POST /v1/pipelines/{pipeline}/infer");
                let calls = collector.calls();
                assert!(
                    calls.iter().all(|call| call.headers[encoding] == "gzip"),
                    "{protocol}: {:?}",
                    calls[0].headers
                );
            } else {
                process.wait_for("traces are lost");
                assert_eq!(collector.spans().len(), 4, "{protocol}: nothing came after those before");
            }
        }
    }
}

#[test]
fn variables_without_effect_are_named_and_files_that_cannot_be_used_end_the_start() {
    let setup = setup();
    let folder = TempDir::new().expect("a folder");
    let wrong = folder.path().join("wrong.pem");
    std::fs::write(&wrong, "no certificate").expect("written");
    let wrong = wrong.to_str().expect("text");
    let name = "OTEL_EXPORTER_OTLP_CERTIFICATE";
    for (endpoint, value, words) in [
        ("https://localhost:9", "/nowhere/ca.pem", "cannot be read"),
        ("https://localhost:9", wrong, "must be in PEM"),
        ("http://localhost:9", wrong, "https://HOST:PORT"),
    ] {
        let (code, log) = serve(&setup, endpoint, &[(name, value)]).wait_for_exit();
        assert!(code == Some(64) && log.contains(name) && log.contains(words), "{code:?}: {log}");
    }
    let variables = [("OTEL_EXPORTER_OTLP_HEADER", "a=hunter2"), ("OTEL_METRICS_EXPORTER", "otlp")];
    let process = serve(&setup, "http://127.0.0.1:9", &variables);
    let log = process.wait_for("have no effect");
    assert!(log.contains("OTEL_EXPORTER_OTLP_HEADER, OTEL_METRICS_EXPORTER"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}
