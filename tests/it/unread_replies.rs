//! Clients that read nothing of their replies cannot make the server keep more of them than its budget.

use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use plimsoll_tests::{guests_config, shared_cache};

use crate::drain::Connection;
use crate::process::{PATIENCE, Process, Setup};

const REPLY: u64 = 16_000_000;
const CLIENTS: usize = 40;

fn resident(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line").trim();
    line.trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// 40 replies of 16 MB are 640 MB. The budget has two of them.
#[test]
fn replies_that_nobody_reads_take_no_more_memory_than_their_budget() {
    let limits = "max_concurrency = 2\nmax_queue = 100\nreply_budget = \"32MiB\"\nbudget_wait = \"100ms\"\nreply_timeout = \"10m\"\n\
                  reply_min_rate = \"0B\"\ndrain = \"0s\"";
    let config = format!("cache_dir = {:?}\n[server]\n{limits}\n{}", shared_cache(), guests_config("tester", ""));
    let setup = Setup::with(&config);
    let process = setup.serve();
    let url = process.url();
    let path = format!("/v1/pipelines/p/infer?post=big&bytes={REPLY}");
    // The memory of guests, and of one reply, is there from now on.
    let read = Connection::open(&url).try_send("POST", &path, &[]).expect("a reply");
    assert_eq!((read.status, read.body.len() as u64), (200, REPLY));
    let before = resident(&process);
    let mut unread = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = TcpStream::connect(url.trim_start_matches("http://")).expect("connected");
        write!(stream, "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").expect("sent");
        unread.push(stream);
    }
    // All were handled: a reply that is sent, or a refusal.
    let end = Instant::now() + PATIENCE;
    let counted = || {
        let metrics = Connection::open(&url).try_request("GET", "/metrics").expect("a reply").body;
        let total = metrics.lines().find_map(|line| {
            line.strip_prefix("plimsoll_requests_total{pipeline=\"p\",chip=\"echo\",outcome=\"ok\"} ")?.parse().ok()
        });
        total.unwrap_or(0)
    };
    while counted() < CLIENTS + 1 {
        assert!(Instant::now() < end, "only {} of {CLIENTS} requests ran", counted());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let grown = resident(&process).saturating_sub(before);
    println!("{} MiB more for {CLIENTS} replies of {REPLY} bytes", grown >> 20);
    assert!(grown < 160 << 20, "{grown} bytes more");
    // The others are not harmed.
    let small = Connection::open(&url).try_send("POST", "/v1/pipelines/p/infer", &[]).expect("a reply");
    assert_eq!(small.status, 200, "{}", small.body);
    drop(unread);
}
