//! Hosts behind HAProxy that are restarted one after the other.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use plimsoll_tests::{data, shared_cache};

use crate::batching;
use crate::documents::Page;
use crate::drain::{Connection, INFER, PATIENCE, Reply};
use crate::process::{Process, Setup};

/// HAProxy in front of hosts. It is killed on drop.
struct HaProxy {
    child: Child,
    _folder: plimsoll_tests::TempDir,
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns `None` if HAProxy is not installed. `checks`: how often it asks for the health of a host.
fn haproxy(frontend: u16, hosts: &[String], checks: &str) -> Option<HaProxy> {
    // Debian installs it in /usr/sbin, which the `PATH` of an ordinary user may not contain.
    let is_there = |program: &&str| {
        Command::new(program).arg("-v").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let Some(program) = ["haproxy", "/usr/sbin/haproxy"].into_iter().find(is_there) else {
        plimsoll_tests::skip("haproxy is missing (Debian package haproxy)");
        return None;
    };
    let folder = plimsoll_tests::TempDir::new().expect("a folder");
    let file = folder.path().join("haproxy.cfg");
    let config = shipped(&[frontend, free_port()], hosts);
    // Without retries, so that no failure is hidden.
    let config = config.replace(SHIPPED_CHECKS, checks).replace("retries 3", "retries 0");
    let kept = |line: &&str| !line.contains("option redispatch") && !line.contains("retry-on");
    let config: String = config.lines().filter(kept).map(|line| format!("{line}\n")).collect();
    let config = config.replace("option http-keep-alive", "option http-keep-alive\n    http-reuse always");
    assert!(config.contains(checks) && config.contains("retries 0") && !config.contains("retry-on"), "{config}");
    std::fs::write(&file, config).expect("written");
    let child = Command::new(program)
        .args(["-db", "-f"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("haproxy starts");
    Some(HaProxy { child, _folder: folder })
}

/// `host/deploy/haproxy/haproxy.cfg` with other ports and these three hosts.
fn shipped(frontends: &[u16; 2], hosts: &[String]) -> String {
    let mut config = Page::read("host/deploy/haproxy/haproxy.cfg").text;
    for (port, frontend) in ["127.0.0.1:8000", "127.0.0.1:8001"].iter().zip(frontends) {
        assert!(config.contains(port), "{port}");
        config = config.replace(port, &format!("127.0.0.1:{frontend}"));
    }
    for (port, host) in ["127.0.0.1:8081", "127.0.0.1:8082", "127.0.0.1:8083"].iter().zip(hosts) {
        assert!(config.contains(port), "{port}");
        config = config.replace(port, host.trim_start_matches("http://"));
    }
    config
}

/// A port that is free now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

/// The health checks of `haproxy.cfg`.
const SHIPPED_CHECKS: &str = "inter 1s fall 2";

#[test]
fn a_rolling_restart_behind_haproxy_without_retries_fails_no_request() {
    // Long enough for a check of HAProxy on a busy machine.
    restart_in_turn("drain = \"3s\"", "inter 100ms fall 1");
}

/// With the shipped checks and the default drain.
#[test]
fn a_rolling_restart_behind_the_shipped_haproxy_fails_no_request() {
    restart_in_turn("", SHIPPED_CHECKS);
}

/// Restarts three hosts one after the other while clients send requests, of which none may fail.
fn restart_in_turn(drain: &str, checks: &str) {
    let config = format!("cache_dir = {:?}\n[server]\n{drain}\n", shared_cache());
    let config = config + &batching::config("file = \"bundled:digits.onnx\"");
    let setups = [(); 3].map(|()| Setup::with(&config));
    let image = std::fs::read(data("digits/7.jpg")).expect("a digit");
    let mut hosts: Vec<Process> = setups.iter().map(Setup::serve).collect();
    let urls: Vec<_> = hosts.iter().map(Process::url).collect();
    let front = free_port();
    let Some(_proxy) = haproxy(front, &urls, checks) else { return };
    let front = format!("http://127.0.0.1:{front}");
    let end = Instant::now() + PATIENCE;
    while !TcpStream::connect(front.trim_start_matches("http://"))
        .is_ok_and(|_| Connection::open(&front).try_send("POST", INFER, &image).is_ok_and(|reply| reply.status == 200))
    {
        assert!(Instant::now() < end, "haproxy does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }

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
            let (front, count, is_over, image) = (&front, &count, &is_over, &image);
            scope.spawn(move || {
                let mut connection = Connection::open(front);
                while !is_over.load(Relaxed) {
                    let closes = count(connection.try_send("POST", INFER, image));
                    if closes || !is_kept {
                        connection = Connection::open(front);
                    }
                    // Slower than the machine could, so that the health checks of HAProxy run in time.
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
        let restarted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for ((host, setup), url) in hosts.iter_mut().zip(&setups).zip(&urls) {
                host.signal("-TERM");
                let (code, log) = host.wait_for_exit();
                assert_eq!(code, Some(0), "{log}");
                *host = setup.serve_on(url.trim_start_matches("http://"));
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
