//! Hosts behind HAProxy that are restarted one after the other.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use plimsoll_tests::{data, shared_cache};

use crate::batching;
use crate::drain::{Connection, INFER, PATIENCE, Reply};
use crate::haproxy::HaProxy;
use crate::process::{Process, Setup};

#[test]
fn a_rolling_restart_behind_haproxy_without_retries_fails_no_request() {
    // The drain is long enough for a check of HAProxy on a busy machine, and so is the time in which a check must be answered: it
    // is `inter`, and one that is not drops the host.
    restart_all("3s", |config| without_retries(&config).replace("inter 1s fall 2", "inter 500ms fall 1"));
}

/// With the checks of the shipped file and the default drain.
#[test]
fn a_rolling_restart_behind_the_shipped_checks_fails_no_request() {
    restart_all("5s", |config| without_retries(&config));
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

/// Restarts three hosts one after the other while requests run.
fn restart_all(drain: &str, change: impl Fn(String) -> String) {
    let config = format!("cache_dir = {:?}\n[server]\ndrain = \"{drain}\"\n", shared_cache());
    let config = config + &batching::config("file = \"bundled:digits.onnx\"");
    let setups = [(); 3].map(|()| Setup::with(&config));
    let image = std::fs::read(data("digits/7.jpg")).expect("a digit");
    let mut hosts: Vec<Process> = setups.iter().map(Setup::serve).collect();
    let urls: Vec<_> = hosts.iter().map(Process::url).collect();
    let Some(proxy) = HaProxy::start(&urls, change) else { return };
    let front = proxy.http.clone();

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
