//! Hosts behind HAProxy with the configuration that is shipped, `host/deploy/haproxy/haproxy.cfg`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use plimsoll::serve::grpc::inference::ServerReadyRequest;
use plimsoll::serve::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use plimsoll_tests::{TempDir, guests_config, shared_cache};

use crate::batching::metric;
use crate::documents::{Page, repository};
use crate::drain::{Connection, INFER, PATIENCE, READY};
use crate::process::{Process, Setup, text};

/// HAProxy in front of hosts. It is killed on drop.
pub(crate) struct HaProxy {
    child: Child,
    /// The addresses for HTTP and for gRPC.
    http: String,
    grpc: String,
    /// A unix socket for HTTP, which is reached from other network namespaces, too.
    pub(crate) socket: PathBuf,
    _folder: TempDir,
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program. `None` if it is not installed; then the reason is printed.
pub(crate) fn program() -> Option<&'static str> {
    // Debian installs it in /usr/sbin, which the `PATH` of an ordinary user may not contain.
    let is_there = |program: &&str| {
        Command::new(program).arg("-v").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let found = ["haproxy", "/usr/sbin/haproxy"].into_iter().find(is_there);
    if found.is_none() {
        plimsoll_tests::skip("haproxy is missing (Debian package haproxy)");
    }
    found
}

impl HaProxy {
    /// Starts HAProxy in front of hosts and waits until it answers. `change` changes the shipped configuration. `None` if
    /// HAProxy is not installed.
    fn start(hosts: &[String], change: impl Fn(String) -> String) -> Option<Self> {
        Some(Self::start_by(Command::new(program()?), hosts, change))
    }

    /// As [`HaProxy::start`], by a command that starts HAProxy with the arguments that are added to it.
    pub(crate) fn start_by(mut command: Command, hosts: &[String], change: impl Fn(String) -> String) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("haproxy.cfg");
        let (http, grpc) = (free_port(), free_port());
        let socket = folder.path().join("http.sock");
        std::fs::write(&file, change(shipped(&[http, grpc], &socket, hosts))).expect("written");
        command.args(["-db", "-f"]).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("haproxy starts");
        let [http, grpc] = [http, grpc].map(|port| format!("http://127.0.0.1:{port}"));
        let this = Self { child, http, grpc, socket, _folder: folder };
        let end = Instant::now() + PATIENCE;
        let answers = || {
            Connection::open_socket(&this.socket)
                .is_ok_and(|mut to| to.try_request("GET", READY).is_ok_and(|reply| reply.status == 200))
        };
        while !answers() {
            assert!(Instant::now() < end, "haproxy does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        this
    }
}

/// `host/deploy/haproxy/haproxy.cfg` with other ports, a unix socket beside that for HTTP, and these three hosts.
fn shipped(frontends: &[u16; 2], socket: &Path, hosts: &[String]) -> String {
    let mut config = Page::read("host/deploy/haproxy/haproxy.cfg").text;
    for (port, frontend) in ["127.0.0.1:8000", "127.0.0.1:8001"].iter().zip(frontends) {
        assert!(config.contains(port), "{port}");
        config = config.replace(port, &format!("127.0.0.1:{frontend}"));
    }
    let http = format!("bind 127.0.0.1:{}\n", frontends[0]);
    assert!(config.contains(&http), "{http}");
    config = config.replace(&http, &format!("{http}    bind {}\n", socket.display()));
    for (port, host) in ["127.0.0.1:8081", "127.0.0.1:8082", "127.0.0.1:8083"].iter().zip(hosts) {
        assert!(config.contains(port), "{port}");
        config = config.replace(port, host.trim_start_matches("http://"));
    }
    config
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

#[test]
fn the_shipped_file_is_valid() {
    let Some(program) = program() else { return };
    let file = repository().join("host/deploy/haproxy/haproxy.cfg");
    let checked = Command::new(program).args(["-c", "-f"]).arg(file).output().expect("haproxy starts");
    let printed = text(&checked.stdout) + &text(&checked.stderr);
    assert!(checked.status.success() && !printed.contains("[WARNING]") && !printed.contains("[ALERT]"), "{printed}");
}

/// The requests that each host has counted, after all of them together have counted `total`.
fn counts(urls: &[String], total: f64) -> Vec<f64> {
    let name = "plimsoll_requests_total{";
    let of = |url: &String| {
        let scrape = Connection::open(url).try_request("GET", "/metrics").expect("a reply").body;
        scrape.lines().filter(|line| line.starts_with(name)).map(|line| metric(line, name)).sum()
    };
    let end = Instant::now() + PATIENCE;
    loop {
        let counts: Vec<f64> = urls.iter().map(of).collect();
        if counts.iter().sum::<f64>() >= total {
            return counts;
        }
        // The text of the metrics is kept for a moment.
        assert!(Instant::now() < end, "{counts:?} instead of {total}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A request of a caller. Returns its status.
fn infer(front: &str, caller: &str) -> u16 {
    let mut connection = Connection::open(front);
    let reply = connection.try_send_with("POST", INFER, &format!("x-plimsoll-caller: {caller}\r\n"), &[]);
    reply.expect("a reply").status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_reaches_one_host_and_another_one_when_that_is_gone_and_grpc_passes() {
    let config = format!("cache_dir = {:?}\n{}", shared_cache(), guests_config("tester", ""));
    let setups = [(); 3].map(|()| Setup::with(&config));
    let mut hosts: Vec<Process> = setups.iter().map(Setup::serve).collect();
    let urls: Vec<_> = hosts.iter().map(Process::url).collect();
    // As shipped, but for the ports.
    let Some(proxy) = HaProxy::start(&urls, |config| config) else { return };
    for _ in 0..20 {
        assert_eq!(infer(&proxy.http, "alice"), 200);
    }
    let hers = counts(&urls, 20.0);
    let host = hers.iter().position(|count| *count == 20.0).unwrap_or_else(|| panic!("not one host: {hers:?}"));
    for caller in 0..30 {
        assert_eq!(infer(&proxy.http, &format!("caller-{caller}")), 200);
    }
    let all = counts(&urls, 50.0);
    let others = all.iter().zip(&hers).filter(|(all, hers)| all > hers);
    assert!(others.count() >= 2, "callers are divided: {hers:?} {all:?}");

    let channel = tonic::transport::Channel::from_shared(proxy.grpc.clone()).expect("a URL");
    let mut client = GrpcInferenceServiceClient::new(channel.connect().await.expect("a server"));
    assert!(client.server_ready(ServerReadyRequest {}).await.expect("a reply").into_inner().ready);

    // It is killed: no check has seen that when the next request comes.
    hosts[host].child.kill().expect("killed");
    hosts[host].wait_for_exit();
    for _ in 0..5 {
        assert_eq!(infer(&proxy.http, "alice"), 200);
    }
}
