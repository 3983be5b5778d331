//! `plimsoll plugin` with several servers: all of them change, or none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use plimsoll_tests::{stamped, stamped_reply};

use crate::cli::text;
use crate::fleet_hosts::{Host, file, larger, most, plugin, replies, urls};

#[test]
fn a_deployment_and_a_rollback_reach_every_server_and_skew_is_shown() {
    let hosts: Vec<Host> = (0..3).map(|_| Host::new("")).collect();
    let output = plugin(&["deploy", &file(&hosts[0].site, 1)], &[&urls(&hosts).join(",")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(replies(&hosts), [1, 1, 1].map(stamped_reply));
    let printed = text(&output.stdout);
    assert_eq!(printed.matches("is serving").count(), 3, "{printed}");
    assert!(hosts.iter().all(|host| printed.contains(&format!("{}:\n", host.url))), "{printed}");

    let listed = text(&plugin(&["list"], &urls(&hosts)).stdout);
    assert!(listed.contains("all 3 servers serve the same versions") && !listed.contains("skew"), "{listed}");
    assert_eq!(plugin(&["deploy", &file(&hosts[0].site, 2)], &[&hosts[2].url]).status.code(), Some(0));
    let listed = text(&plugin(&["list"], &urls(&hosts)).stdout);
    let skew = listed.lines().find(|line| line.starts_with("skew: stamp: ")).unwrap_or_else(|| panic!("{listed}"));
    assert!(
        skew.contains(&format!("on {}, {}; ", hosts[0].url, hosts[1].url)) && skew.ends_with(&hosts[2].url),
        "{skew}"
    );

    // They would not return to one version.
    let output = plugin(&["rollback", "stamp"], &urls(&hosts));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let message = text(&output.stderr);
    assert!(message.contains("nothing was changed on any server") && message.contains("--to"), "{message}");
    assert_eq!(replies(&hosts), [1, 1, 2].map(stamped_reply));
    // A deployment ends the skew: two servers have the version already.
    assert_eq!(plugin(&["deploy", &file(&hosts[0].site, 1)], &urls(&hosts)).status.code(), Some(0));
    assert_eq!(replies(&hosts), [1, 1, 1].map(stamped_reply));

    // All of them have version 0.
    let zero = plimsoll_runtime::identity::digest(&stamped(0));
    let output = plugin(&["rollback", "stamp", "--to", &zero[..12]], &urls(&hosts));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(replies(&hosts), [0, 0, 0].map(stamped_reply));

    let output = plugin(&["list"], &[&hosts[0].url, &hosts[0].url]);
    assert!(text(&output.stderr).contains("named twice"), "{}", text(&output.stderr));
    let output = plugin(&["list"], &[&hosts[0].url.replace("http://", "dns:")]);
    assert!(output.status.success() && text(&output.stdout).contains("stamp"), "{}", text(&output.stderr));
    let output = plugin(&["list"], &["dns:does-not-exist.invalid:80"]);
    assert!(text(&output.stderr).contains("dns:HOST:PORT"), "{}", text(&output.stderr));
}

#[test]
fn a_deployment_that_one_server_rejects_is_taken_back_on_the_others() {
    let hosts = [Host::new(""), Host::new(""), Host::new(&format!("[deploy]\nmax_plugin = {}\n", most()))];
    let larger = larger(&hosts[0].site);
    let output = plugin(&["deploy", &larger], &urls(&hosts));
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(["deploy.max_plugin", "no server was changed"].iter().all(|words| message.contains(words)), "{message}");
    assert_eq!(replies(&hosts), [0, 0, 0].map(stamped_reply));

    // A plugin that was not there before is gone again.
    let output = plugin(&["deploy", &larger, "--name", "other"], &urls(&hosts));
    assert!(text(&output.stderr).contains("no server was changed"), "{}", text(&output.stderr));
    let listed = text(&plugin(&["list"], &urls(&hosts)).stdout);
    assert!(listed.contains("all 3 servers serve the same versions"), "{listed}");
    assert!(!listed.lines().any(|line| line.starts_with("other") && line.contains("unused")), "{listed}");
}

#[test]
fn a_canary_is_ended_if_one_server_rejects_it_and_a_change_waits_for_it() {
    let canary = "canary = \"5%\"";
    let mut hosts = vec![Host::with(canary, ""), Host::with(canary, "")];
    assert_eq!(plugin(&["deploy", &file(&hosts[0].site, 1)], &urls(&hosts)).status.code(), Some(0));
    let states = |hosts: &[Host]| {
        let listed = text(&plugin(&["list"], &urls(hosts)).stdout);
        ["canary", "serving", "refused"].map(|state| {
            listed.lines().filter(|line| line.starts_with("stamp ") && line.contains(&format!(" {state} "))).count()
        })
    };
    assert_eq!(states(&hosts), [2, 2, 0]);
    let output = plugin(&["deploy", &file(&hosts[0].site, 2)], &urls(&hosts));
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("nothing was changed on any server") && message.contains("has a canary"), "{message}");
    assert_eq!(states(&hosts), [2, 2, 0]);
    // The message names the canary. The command ends it, and nothing else: sent twice, it does not roll back what serves.
    let digest = plimsoll_runtime::identity::digest(&plimsoll_tests::stamped(1));
    let command = format!("plimsoll plugin rollback stamp --canary {} --server {}", &digest[..12], hosts[1].url);
    assert!(message.contains(&command), "{message}");
    let end = || plugin(&["rollback", "stamp", "--canary", &digest[..12]], &urls(&hosts));
    let output = end();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(states(&hosts)[..2], [0, 2]);
    let again = end();
    let message = text(&again.stderr);
    assert!(again.status.code() == Some(1) && message.contains("has no canary"), "{message}");
    assert_eq!(states(&hosts)[..2], [0, 2]);

    hosts.push(Host::with(canary, &format!("[deploy]\nmax_plugin = {}\n", most())));
    let larger = larger(&hosts[0].site);
    let output = plugin(&["deploy", &larger], &urls(&hosts));
    assert!(text(&output.stderr).contains("no server was changed"), "{}", text(&output.stderr));
    assert_eq!(states(&hosts), [0, 3, 2], "no canary is left, and only the two before were rolled back");
}

#[test]
fn nothing_is_changed_if_a_server_does_not_answer_at_the_start() {
    let hosts: Vec<Host> = (0..2).map(|_| Host::new("")).collect();
    let gone = TcpListener::bind("127.0.0.1:0").expect("free").local_addr().expect("bound");
    let gone = format!("http://{gone}");
    let output = plugin(&["deploy", &file(&hosts[0].site, 1)], &[&hosts[0].url, &hosts[1].url, &gone]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("nothing was changed on any server") && message.contains(&gone), "{message}");
    assert_eq!(replies(&hosts), [0, 0].map(stamped_reply));
}

/// When the proxy kills its server.
#[derive(Clone, Copy, Debug)]
enum Kill {
    /// When the component arrives, before the server gets it.
    Before,
    /// After the server has deployed it, before the reply is passed on.
    After,
}

/// A proxy in front of a host, which kills it during the first deployment and then starts it again. Returns its address.
fn killing_proxy(host: Arc<Mutex<Host>>, kill: Kill) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let upstream = host.lock().expect("no panic").url.trim_start_matches("http://").to_owned();
    std::thread::spawn(move || {
        let mut has_killed = false;
        for client in listener.incoming() {
            let mut client = client.expect("a client");
            let Some(request) = read_request(&mut client) else { continue };
            let is_deployment = request.starts_with(b"PUT ") && !has_killed;
            if is_deployment && matches!(kill, Kill::Before) {
                has_killed = true;
                kill_and_restart(&host);
                continue;
            }
            let reply = TcpStream::connect(&upstream).ok().and_then(|mut server| {
                server.write_all(&request).ok()?;
                let mut reply = Vec::new();
                server.read_to_end(&mut reply).ok()?;
                Some(reply)
            });
            if is_deployment {
                has_killed = true;
                assert!(reply.is_some_and(|reply| reply.starts_with(b"HTTP/1.1 200")), "the server deploys it");
                kill_and_restart(&host);
                continue;
            }
            let _ = client.write_all(&reply.unwrap_or_default());
        }
    });
    address
}

fn kill_and_restart(host: &Mutex<Host>) {
    let mut host = host.lock().expect("no panic");
    host.process.child.kill().expect("killed");
    host.process.wait_for_exit();
    host.restart();
}

/// The next request of a connection, with a line so that the server closes the connection.
pub(crate) fn read_request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 65536];
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        match client.read(&mut buffer) {
            Ok(length) if length > 0 => bytes.extend_from_slice(&buffer[..length]),
            _ => return None,
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let length =
        text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
    while bytes.len() < head + 4 + length {
        let count = client.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    }
    Some([&bytes[..head], b"\r\nconnection: close", &bytes[head..]].concat())
}

#[test]
fn a_server_that_is_killed_during_a_deployment_leaves_all_on_the_old_version() {
    for (kill, words) in [(Kill::Before, "may still make it"), (Kill::After, "no server was changed")] {
        let (first, last) = (Host::new(""), Host::new(""));
        let killed = Arc::new(Mutex::new(Host::new("")));
        let proxy = killing_proxy(Arc::clone(&killed), kill);
        let output = plugin(&["deploy", &file(&first.site, 1)], &[&first.url, &proxy, &last.url]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{kill:?}: {message}");
        assert!(message.contains(words) && message.contains(&proxy), "{kill:?}: {message}");
        let mut killed = killed.lock().expect("no panic");
        assert_eq!([&first, &*killed, &last].map(Host::reply), [0, 0, 0].map(stamped_reply), "{kill:?}");
        // The thread of the proxy keeps it.
        killed.process.child.kill().expect("killed");
    }
}
