//! `plimsoll plugin` with several servers, of which one does not answer in time, or is changed by somebody else.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use plimsoll_tests::stamped_reply;

use crate::cli::text;
use crate::fleet::read_request;
use crate::fleet_hosts::{Host, TOKEN, file, plugin};
use crate::process::BINARY;

/// A proxy in front of a server. `change` gets every deployment before the server does; if it returns false, the client
/// gets no reply, and the server no request.
fn proxy(url: &str, change: impl Fn() -> bool + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let upstream = url.trim_start_matches("http://").to_owned();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for client in listener.incoming() {
            let mut client = client.expect("a client");
            let Some(request) = read_request(&mut client) else { continue };
            if request.starts_with(b"PUT ") && !change() {
                held.push(client);
                continue;
            }
            let mut server = TcpStream::connect(&upstream).expect("the server runs");
            server.write_all(&request).expect("sent");
            let mut reply = Vec::new();
            server.read_to_end(&mut reply).expect("a reply");
            let _ = client.write_all(&reply);
        }
    });
    address
}

#[test]
fn a_deployment_that_is_interrupted_is_taken_back_and_the_server_that_may_still_change_is_named() {
    let hosts: Vec<Host> = (0..3).map(|_| Host::new("")).collect();
    let (sender, held) = mpsc::channel();
    let holds = proxy(&hosts[1].url, move || {
        let _ = sender.send(());
        false
    });
    let mut command = Command::new(BINARY);
    command.args(["plugin", "deploy", &file(&hosts[0].site, 1)]).env("PLIMSOLL_ADMIN_TOKEN", TOKEN);
    command.args(["--server", &hosts[0].url, "--server", &holds, "--server", &hosts[2].url]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    held.recv().expect("the second server gets the component");
    assert_eq!(hosts[0].reply(), stamped_reply(1), "the first server has changed");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    let output = child.wait_with_output().expect("it ends");
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("interrupted") && message.contains("may still make it"), "{message}");
    assert!(message.contains(&format!("could not be taken back on {holds}")), "{message}");
    assert_eq!(hosts.iter().map(Host::reply).collect::<Vec<_>>(), [0, 0, 0].map(stamped_reply));
}

#[test]
fn servers_that_somebody_else_changes_meanwhile_are_named_and_left() {
    let hosts: Vec<Host> = (0..2).map(|_| Host::new("")).collect();
    let (url, other) = (hosts[0].url.clone(), file(&hosts[0].site, 2));
    // While the second server gets the component, somebody deploys another one to the first.
    let busy = proxy(&hosts[1].url, move || plugin(&["deploy", &other], &[&url]).status.success());
    let output = plugin(&["deploy", &file(&hosts[0].site, 1)], &[&hosts[0].url, &busy]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(&format!("{} serves", hosts[0].url)) && message.contains("somebody else"), "{message}");
    assert_eq!(hosts.iter().map(Host::reply).collect::<Vec<_>>(), [2, 1].map(stamped_reply));

    // The same, and the second server never answers: what somebody else has deployed is not undone.
    let (url, other) = (hosts[0].url.clone(), file(&hosts[0].site, 4));
    let gone = TcpListener::bind("127.0.0.1:0").expect("free").local_addr().expect("bound");
    let gone = format!("http://{gone}");
    let output = plugin(&["list"], &[&hosts[0].url, &gone]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let (listed, message) = (text(&output.stdout), text(&output.stderr));
    assert!(listed.contains("stamp") && message.contains(&gone), "what answers is listed: {listed} {message}");
    let failing = proxy(&hosts[1].url, move || {
        assert!(plugin(&["deploy", &other], &[&url]).status.success());
        panic!("the connection is cut");
    });
    let output = plugin(&["deploy", &file(&hosts[0].site, 3)], &[&hosts[0].url, &failing]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("somebody else has changed it meanwhile"), "{message}");
    assert_eq!(hosts[0].reply(), stamped_reply(4));
}

#[test]
fn a_rollback_to_a_version_that_one_server_serves_already_reaches_the_others() {
    let hosts: Vec<Host> = (0..2).map(|_| Host::new("")).collect();
    let urls = [hosts[0].url.as_str(), hosts[1].url.as_str()];
    assert_eq!(plugin(&["deploy", &file(&hosts[0].site, 1)], &urls[..1]).status.code(), Some(0));
    let listed = text(&plugin(&["list"], &urls[1..]).stdout);
    let line = listed.lines().find(|line| line.starts_with("stamp ") && line.contains("serving")).expect("it serves");
    let digest = line.split_whitespace().nth(3).expect("a digest");
    let output = plugin(&["rollback", "stamp", "--to", digest], &urls);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(hosts.iter().map(Host::reply).collect::<Vec<_>>(), [0, 0].map(stamped_reply));
}

/// A proxy that does not wait for the reply says nothing about the server: it may still change.
#[test]
fn a_change_that_a_proxy_has_no_reply_of_is_taken_back_when_it_comes() {
    for answer in ["", "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\n<h1/>"] {
        let hosts: Vec<Host> = (0..2).map(|_| Host::new("")).collect();
        let impatient = impatient_proxy(&hosts[1].url, answer);
        let output = plugin(&["deploy", &file(&hosts[0].site, 1)], &[&hosts[0].url, &impatient]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains("no server was changed"), "{message}");
        assert_eq!(hosts.iter().map(Host::reply).collect::<Vec<_>>(), [0, 0].map(stamped_reply), "{message}");
        let listed = text(&plugin(&["list"], &[&hosts[1].url]).stdout);
        assert!(!listed.contains(" previous "), "it was taken back: {listed}");
    }
}

/// A proxy that gives every deployment this answer, and only then passes it on.
fn impatient_proxy(url: &str, answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let upstream = url.trim_start_matches("http://").to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("a client");
            let upstream = upstream.clone();
            std::thread::spawn(move || {
                let Some(request) = read_request(&mut client) else { return };
                let is_deployment = request.starts_with(b"PUT ");
                let mut client = Some(client);
                if is_deployment {
                    let _ = client.take().map(|mut client| client.write_all(answer.as_bytes()));
                    // The first question comes before the change.
                    std::thread::sleep(std::time::Duration::from_millis(700));
                }
                let mut server = TcpStream::connect(&upstream).expect("the server runs");
                server.write_all(&request).expect("sent");
                let mut reply = Vec::new();
                server.read_to_end(&mut reply).expect("a reply");
                let _ = client.map(|mut client| client.write_all(&reply));
            });
        }
    });
    address
}
