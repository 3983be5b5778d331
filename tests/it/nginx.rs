//! The server behind nginx, with nginx's default headers, with kept-alive connections, and with bodies that nginx passes
//! on as they come.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use plimsoll_tests::{Site, TempDir, stamped, stamped_reply};

/// nginx in front of a server. It ends on drop.
struct Nginx {
    child: Child,
    url: String,
    folder: TempDir,
}

impl Nginx {
    /// Starts nginx. `None` if it is not installed; then the reason is printed.
    ///
    /// # Panics
    /// If it is not installed and `CI` is set, or does not start after five attempts.
    async fn start(upstream: &str, location: &str) -> Option<Self> {
        if !["/usr/sbin/nginx", "/usr/bin/nginx"].iter().any(|path| Path::new(path).exists()) {
            plimsoll_tests::skip("nginx is not installed (Debian package `nginx-light`)");
            return None;
        }
        // The port is only free until another test takes it; nginx ends if it cannot have it.
        let mut reasons = Vec::new();
        for _ in 0..5 {
            match Self::try_start(upstream, location).await {
                Ok(this) => return Some(this),
                Err(reason) => reasons.push(reason),
            }
        }
        panic!("nginx does not start: {reasons:?}");
    }

    /// Starts nginx on a port that was free just now. The error is what nginx wrote.
    async fn try_start(upstream: &str, location: &str) -> Result<Self, String> {
        let folder = TempDir::new().expect("a folder");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("free").local_addr().expect("bound").port();
        let upstream = upstream.trim_start_matches("http://");
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {};\n", folder.path().join(name).display()));
        let text = format!(
            "daemon off;\nuser root;\nworker_processes 1;\npid {pid};\nerror_log stderr;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n{temporary}access_log off;\nclient_max_body_size 64m;\n\
             upstream plimsoll {{ server {upstream}; keepalive 8; }}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://plimsoll; {location} }} }}\n}}\n",
            pid = folder.path().join("pid").display(),
            temporary = temporary.concat(),
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, text).expect("written");
        let log = folder.path().join("stderr");
        let mut command = Command::new("nginx");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg("-p").arg(folder.path()).arg("-c").arg(&file);
        let child = command.stderr(std::fs::File::create(&log).expect("created")).spawn().expect("nginx starts");
        let mut this = Self { child, url: format!("http://127.0.0.1:{port}"), folder };
        let written = || std::fs::read_to_string(&log).unwrap_or_default();
        for _ in 0..3_000 {
            if let Some(status) = this.child.try_wait().expect("a child") {
                return Err(format!("{status}: {}", written()));
            }
            // nginx writes the file once it listens. Something else may answer on the port.
            if this.folder.path().join("pid").exists()
                && tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
            {
                return Ok(this);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("it does not listen after a minute: {}", written()))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // SIGTERM, so that the master ends its workers.
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        }
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outer_client_behind_nginx_cannot_administrate_without_the_token() {
    let site = Site::new("");
    site.add_to_server("hosts = [\"plimsoll\"]");
    let server = site.serve().await;
    // nginx's default `Host` is the name of the upstream; some set it to an address of the loopback interface.
    for location in ["", "proxy_set_header Host localhost;", "proxy_set_header Host $host;"] {
        let Some(nginx) = Nginx::start(&server.url, location).await else { return };
        let client = reqwest::Client::new();
        let url = |path: &str| format!("{}{path}", nginx.url);
        let requests = [
            client.put(url("/v1/plugins/stamp")).body(stamped(1)),
            client.delete(url("/v1/plugins/stamp")),
            client.post(url("/v1/plugins/stamp/rollback")),
            client.post(url("/v2/repository/models/p/unload")),
            client.post(url("/v2/repository/models/p/load")),
        ];
        for request in requests {
            let reply = request.send().await.expect("an answer");
            assert_eq!(reply.status(), 401, "{location}: {}", reply.url());
            assert!(reply.headers().contains_key("www-authenticate"), "{:?}", reply.headers());
        }
        let reply = client.post(url("/v1/pipelines/p/infer")).send().await.expect("an answer");
        assert_eq!(reply.text().await.expect("text"), stamped_reply(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_through_nginx_fails_with_kept_alive_connections_and_unbuffered_bodies() {
    let site = Site::new("");
    site.add_to_server("hosts = [\"plimsoll\"]");
    let server = site.serve().await;
    let kept = "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_request_buffering off;";
    let Some(nginx) = Nginx::start(&server.url, kept).await else { return };
    let url = format!("{}/v1/pipelines/p/infer", nginx.url);
    let clients: Vec<_> = (0..4)
        .map(|number: usize| {
            let url = url.clone();
            tokio::spawn(async move {
                let client = reqwest::Client::new();
                for size in 0..100 {
                    let body = vec![b'x'; (size * 4_001 + number) % 300_000];
                    let reply = client.post(&url).body(body).send().await.expect("an answer");
                    assert_eq!(reply.status(), 200, "{size}");
                    assert_eq!(reply.text().await.expect("text"), stamped_reply(0));
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("every request is answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nginx_sends_must_be_listed_and_the_reply_names_the_key() {
    let site = Site::new("");
    let server = site.serve().await;
    let Some(nginx) = Nginx::start(&server.url, "").await else { return };
    let url = format!("{}/v1/pipelines/p/infer", nginx.url);
    let reply = reqwest::Client::new().post(url).send().await.expect("an answer");
    assert_eq!(reply.status(), 421);
    let text = reply.text().await.expect("text");
    assert!(text.contains("`plimsoll` is not a known name") && text.contains("[server] hosts"), "{text}");
}
