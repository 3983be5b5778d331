//! Bodies that arrive slowly: `server.body_min_rate`, and bodies that keep their bytes from others.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use plimsoll_tests::{Server, guests_config};

const INFER: &str = "/v1/pipelines/p/infer";

/// Sends the head of a request and a part of its body. Then sends `drip` bytes now and then, until it gets a reply or
/// `ends`. Returns the reply.
fn send_slowly(server: &Server, length: usize, first: usize, drip: usize, ends: &Arc<AtomicBool>) -> SlowClient {
    let mut stream = TcpStream::connect(&server.url["http://".len()..]).expect("connected");
    let head =
        format!("POST {INFER} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    let (mut sender, ends) = (stream.try_clone().expect("cloned"), Arc::clone(ends));
    let sending = std::thread::spawn(move || {
        let mut left = length - first;
        let mut is_sent = sender.write_all(&[head.as_bytes(), &vec![0; first]].concat()).is_ok();
        while is_sent && left > 0 && !ends.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
            let next = drip.min(left);
            left -= next;
            is_sent = sender.write_all(&vec![0; next]).is_ok();
        }
        if ends.load(Relaxed) {
            let _ = sender.shutdown(Shutdown::Both);
        }
    });
    let reading = std::thread::spawn(move || {
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        String::from_utf8_lossy(&reply).into_owned()
    });
    (sending, reading)
}

type SlowClient = (std::thread::JoinHandle<()>, std::thread::JoinHandle<String>);

#[tokio::test(flavor = "multi_thread")]
async fn a_body_below_the_minimum_rate_is_ended() {
    let limits = "[server]\nbody_timeout = \"10m\"\nbody_min_rate = \"10KiB\"\n";
    let server = Server::start(&format!("{limits}{}", guests_config("tester", ""))).await;
    let ends = Arc::default();
    // A tenth of the rate, and more than the rate.
    let slow = send_slowly(&server, 100_000, 100, 100, &ends);
    let fast = send_slowly(&server, 1_200_000, 100, 10_000, &ends);
    let reply = slow.1.join().expect("no panic");
    assert!(reply.starts_with("HTTP/1.1 408") && reply.contains("server.body_min_rate"), "{reply}");
    let reply = fast.1.join().expect("no panic");
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

/// Clients send most of large bodies, and the rest above the minimum rate. Together they hold the whole budget. It is theirs
/// until somebody else needs it.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_drip_make_room_for_others() {
    const MIB: usize = 1 << 20;
    let limits = "[server]\nmax_body = \"1MiB\"\nbody_budget = \"4MiB\"\nbody_min_rate = \"1KiB\"\n";
    let server = Server::start(&format!("{limits}{}", guests_config("tester", ""))).await;
    let ends = Arc::new(AtomicBool::new(false));
    let slow: Vec<_> = (0..6).map(|_| send_slowly(&server, MIB, MIB - 100_000, 300, &ends)).collect();
    let used = async || {
        let metrics = server.get("/metrics").await.text;
        let used = metrics.lines().find_map(|line| line.strip_prefix("plimsoll_budget_used_bytes{budget=\"bodies\"} "));
        used.expect("a metric").parse::<usize>().expect("a number")
    };
    crate::wrapped::until("the budget is spent", async || used().await > 3 * MIB).await;
    for size in [1 << 10, MIB, 300_000, MIB] {
        let reply = server.infer("p", "", vec![0; size]).await;
        assert_eq!(reply.status, 200, "{size}: {}", reply.text);
    }
    ends.store(true, Relaxed);
    let replies = slow.into_iter().map(|client| client.1.join().expect("no panic"));
    let refused: Vec<_> = replies.filter(|reply| !reply.is_empty()).collect();
    assert!(refused.iter().any(|reply| reply.contains("while other requests waited")), "{refused:?}");
    for reply in refused {
        assert!(reply.starts_with("HTTP/1.1 408") || reply.starts_with("HTTP/1.1 503"), "{reply}");
    }
}
