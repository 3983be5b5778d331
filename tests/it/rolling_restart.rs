//! Hosts behind HAProxy that are restarted one after the other.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use plimsoll_tests::{data, shared_cache};

use crate::batching;
use crate::drain::{Connection, INFER, PATIENCE, Reply};
use crate::haproxy::{HaProxy, program};
use crate::namespaces::{Host, hosts};
use crate::process::{BINARY, Process, Setup};
use crate::wrapped::is_root;

#[test]
fn a_rolling_restart_behind_haproxy_without_retries_fails_no_request() {
    // The drain is long enough for a check of HAProxy on a busy machine, and so is the time in which a check must be answered: it
    // is `inter`, and one that is not drops the host.
    restart_all(&Place(None), "3s", |config| without_retries(&config).replace("inter 1s fall 2", "inter 500ms fall 1"));
}

/// With the checks of the shipped file and the default drain, each host in a network namespace of its own where this machine
/// permits them.
#[test]
fn a_rolling_restart_behind_the_shipped_checks_fails_no_request() {
    restart_all(&Place(Machines::new()), "5s", |config| without_retries(&config));
}

/// The shipped file without retries, so that no failure is hidden.
fn without_retries(config: &str) -> String {
    assert!(config.contains("inter 1s fall 2"), "{config}");
    let config = config.replace("retries 3", "retries 0");
    let kept = |line: &&str| !line.contains("option redispatch") && !line.contains("retry-on");
    let config: String = config.lines().filter(kept).map(|line| format!("{line}\n")).collect();
    let config = config.replace("option http-keep-alive", "option http-keep-alive\n    http-reuse always");
    assert!(config.contains("retries 0") && !config.contains("retry-on"), "{config}");
    config
}

/// Three hosts, and the host on which HAProxy runs: network namespaces, each connected with that of HAProxy.
struct Machines {
    of_proxy: Host,
    of_hosts: [Host; 3],
}

impl Machines {
    /// `None` if this machine cannot have network namespaces; then the reason is printed.
    fn new() -> Option<Self> {
        let found = if is_root() { hosts() } else { None };
        let Some([of_proxy, a, b, c]) = found else {
            println!("no network namespaces: the hosts and HAProxy run beside each other");
            return None;
        };
        let of_hosts = [a, b, c];
        for (host, number) in of_hosts.iter().zip(1..) {
            of_proxy.connect(&format!("host{number}"), host, "proxy", number);
        }
        Some(Self { of_proxy, of_hosts })
    }
}

/// Where the hosts and HAProxy run: on machines of their own, or beside each other.
struct Place(Option<Machines>);

impl Place {
    /// Starts the host with this number, on the address that it had before if there is one.
    fn serve(&self, host: usize, setup: &Setup, before: Option<&str>) -> Process {
        let Some(machines) = &self.0 else {
            return setup.serve_on(before.map_or("127.0.0.1:0", |url| url.trim_start_matches("http://")));
        };
        let listen = format!("10.99.{}.2:8080", host + 1);
        let arguments = ["serve", "--config", &setup.path("plimsoll.toml"), "--listen", &listen];
        Process::spawn(machines.of_hosts[host].command(BINARY).args(arguments))
    }

    /// Starts HAProxy. `None` if it is not installed.
    fn proxy(&self, urls: &[String], change: impl Fn(String) -> String) -> Option<HaProxy> {
        let program = program()?;
        let command = self.0.as_ref().map_or_else(|| Command::new(program), |all| all.of_proxy.command(program));
        Some(HaProxy::start_by(command, urls, change))
    }
}

/// Restarts three hosts one after the other while requests run.
fn restart_all(place: &Place, drain: &str, change: impl Fn(String) -> String) {
    let config = format!("cache_dir = {:?}\n[server]\ndrain = \"{drain}\"\n", shared_cache());
    let config = config + &batching::config("file = \"bundled:digits.onnx\"");
    let setups = [(); 3].map(|()| Setup::with(&config));
    let image = std::fs::read(data("digits/7.jpg")).expect("a digit");
    let mut hosts: Vec<Process> =
        setups.iter().enumerate().map(|(host, setup)| place.serve(host, setup, None)).collect();
    let urls: Vec<_> = hosts.iter().map(Process::url).collect();
    let Some(proxy) = place.proxy(&urls, change) else { return };
    let front = proxy.socket.clone();
    let open = || Connection::open_socket(&front).expect("a connection");

    let (is_over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failures = Mutex::new(Vec::new());
    let count = |reply: Result<Reply, String>| {
        asked.fetch_add(1, Relaxed);
        let failed = match &reply {
            Ok(reply) if reply.status == 200 && reply.body.starts_with("{\"predictions\":[{\"label\":\"7\"") => {
                return reply.closes();
            }
            Ok(reply) => format!("status {}: {}", reply.status, reply.body),
            Err(error) => error.clone(),
        };
        failures.lock().expect("no panic").push(failed);
        true
    };
    let restarted = std::thread::scope(|scope| {
        for is_kept in [true, true, true, false, false, false] {
            let (open, count, is_over, image) = (&open, &count, &is_over, &image);
            scope.spawn(move || {
                let mut connection = open();
                while !is_over.load(Relaxed) {
                    let closes = count(connection.try_send("POST", INFER, image));
                    if closes || !is_kept {
                        connection = open();
                    }
                    // Slower than the machine could, so that the health checks of HAProxy run in time.
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        let restarted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (number, (setup, url)) in setups.iter().zip(&urls).enumerate() {
                let host = &mut hosts[number];
                host.signal("-TERM");
                let (code, log) = host.wait_for_exit();
                assert_eq!(code, Some(0), "{log}");
                *host = place.serve(number, setup, Some(url));
                host.url();
                // The next host may stop only after HAProxy uses this one again.
                wait_for_requests(host);
            }
            let end = Instant::now() + PATIENCE;
            while asked.load(Relaxed) < 2_000 {
                assert!(Instant::now() < end, "only {} requests", asked.load(Relaxed));
                std::thread::sleep(Duration::from_millis(20));
            }
        }));
        is_over.store(true, Relaxed);
        restarted
    });
    if let Err(panic) = restarted {
        std::panic::resume_unwind(panic);
    }
    let failures = failures.into_inner().expect("no panic");
    println!("{} requests, {} failed", asked.load(Relaxed), failures.len());
    assert!(failures.is_empty(), "{} of {} failed: {failures:?}", failures.len(), asked.load(Relaxed));
}

/// Waits until a host has served a request.
fn wait_for_requests(host: &Process) {
    host.wait_for("plimsoll::request");
}
