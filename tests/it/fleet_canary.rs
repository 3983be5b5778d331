//! A canary that several servers decide together (`[fleet] peers`).

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use plimsoll_runtime::identity::digest;
use plimsoll_tests::{TempDir, guests_config, stamped_reply};
use serde_json::Value;

use crate::cli::text;
use crate::fleet_hosts::{Host, TOKEN, file, plugin, urls};
use crate::process::{BINARY, PATIENCE};

/// A canary with so many requests that none of the servers gets them alone.
const RULES: &str = "canary = { share = \"50%\", requests = 30 }";

/// Addresses that are free now.
fn free(count: usize) -> Vec<String> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("free")).collect();
    listeners.iter().map(|it| it.local_addr().expect("bound").to_string()).collect()
}

fn peers(addresses: &[String], timeout: &str) -> String {
    let peers: Vec<_> = addresses.iter().map(|address| format!("http://{address}")).collect();
    format!("[fleet]\npeers = {peers:?}\ntimeout = \"{timeout}\"\n")
}

/// Servers with the same configuration, which names all of them.
fn fleet(count: usize) -> Vec<Host> {
    let addresses = free(count);
    let more = peers(&addresses, "30s");
    addresses.iter().map(|address| Host::on(address, RULES, &more)).collect()
}

/// `GET path` with a token. Returns the status and the body.
async fn get_text(url: &str, path: &str, token: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let reply = client.get(format!("{url}{path}")).bearer_auth(token).send().await.expect("a reply");
    (reply.status().as_u16(), reply.text().await.expect("a body"))
}

async fn get(url: &str, path: &str, token: &str) -> (u16, Value) {
    let (status, body) = get_text(url, path, token).await;
    (status, serde_json::from_str(&body).expect("JSON"))
}

/// The newest version of the plugin that the server lists first.
async fn newest(host: &Host) -> Value {
    get(&host.url, "/v1/plugins/stamp", TOKEN).await.1["versions"][0].clone()
}

/// Waits until the version with this digest has this state on a server.
async fn wait_for(host: &Host, digest: &str, state: &str) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let view = get(&host.url, "/v1/plugins/stamp", TOKEN).await.1;
        let versions = view["versions"].as_array().expect("versions");
        if let Some(version) = versions.iter().find(|it| it["digest"] == digest && it["state"] == state) {
            return version.clone();
        }
        let fleet = get(&host.url, "/v1/fleet", TOKEN).await.1;
        assert!(Instant::now() < end, "{}: not {state}: {view}\n{fleet}", host.url);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn deploy(hosts: &[Host], mark: u32) -> String {
    let output = plugin(&["deploy", &file(&hosts[0].site, mark)], &urls(hosts));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    digest(&plimsoll_tests::stamped(mark))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_promoted_on_all_servers_over_the_sum_of_their_requests() {
    let hosts = fleet(3);
    let digest = deploy(&hosts, 1);
    // The last server has far fewer requests than the canary wants.
    let mut new = [0; 3];
    assert!(hosts[2].reply().starts_with("MARK"));
    for at in (0..2).cycle().take(2_000) {
        if new.iter().sum::<u64>() == 29 {
            break;
        }
        new[at] += u64::from(hosts[at].reply() == stamped_reply(1));
    }
    assert!(new.iter().all(|own| *own < 29), "{new:?}");
    // 29 or 30 of the 30 requests, with that of the last server.
    while newest(&hosts[0]).await["state"] == "canary" {
        new[0] += u64::from(hosts[0].reply() == stamped_reply(1));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for host in &hosts {
        wait_for(host, &digest, "serving").await;
        assert_eq!(host.reply(), stamped_reply(1));
    }
    let report = get(&hosts[2].url, "/v1/fleet", TOKEN).await.1;
    let decided = &report["canaries"][0];
    assert_eq!((decided["state"].as_str(), decided["digest"].as_str()), (Some("promoted"), Some(&*digest)), "{report}");
    assert!(decided["new"]["requests"].as_u64().expect("a number") <= 1, "{report}");
    let states: Vec<_> = report["peers"].as_array().expect("peers").iter().map(|peer| &peer["state"]).collect();
    assert_eq!(states.iter().filter(|state| **state == "answers").count(), 2, "{report}");
    assert!(states.contains(&&Value::from("this server")), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_is_rolled_back_on_all_servers_also_where_it_had_no_request() {
    let hosts = fleet(3);
    let digest = deploy(&hosts, 9);
    let mut failures = 0;
    for at in (0..2).cycle().take(2_000) {
        if newest(&hosts[0]).await["state"] != "canary" {
            break;
        }
        failures += usize::from(hosts[at].reply_to("?do=trap") != stamped_reply(0));
    }
    assert!(failures >= 3, "{failures}");
    for host in &hosts {
        let refused = wait_for(host, &digest, "refused").await;
        let reason = refused["reason"].as_str().expect("a reason");
        assert!(reason.contains("requests ended in a trap"), "{reason}");
        for _ in 0..20 {
            assert_eq!(host.reply_to("?do=trap"), stamped_reply(0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_left_out_and_this_is_shown() {
    let addresses = free(3);
    let more = peers(&addresses, "2s");
    let mut hosts: Vec<Host> = addresses[..2].iter().map(|address| Host::on(address, RULES, &more)).collect();
    let gone = format!("http://{}", addresses[2]);
    let digest = deploy(&hosts, 1);
    for at in (0..2).cycle().take(200) {
        hosts[at].reply();
    }
    for host in &hosts {
        wait_for(host, &digest, "serving").await;
        host.process.wait_for("the server is left out");
        let report = get(&host.url, "/v1/fleet", TOKEN).await.1;
        let peer = report["peers"].as_array().expect("peers").iter().find(|peer| peer["peer"] == *gone);
        let peer = peer.unwrap_or_else(|| panic!("{report}"));
        assert!(peer["state"] == "left out" && peer["reason"].is_string(), "{report}");
        let scrape = get_text(&host.url, "/metrics", TOKEN).await.1;
        assert!(scrape.contains(&format!("plimsoll_fleet_peer_up{{peer=\"{gone}\"}} 0")), "{scrape}");
    }

    // A server that is killed is left out, too, and its counts stay.
    let digest = deploy(&hosts, 2);
    let mut killed = hosts.pop().expect("two");
    let mut counted = 0;
    while counted < 20 {
        counted += usize::from(killed.reply() == stamped_reply(2));
    }
    let end = Instant::now() + PATIENCE;
    let sums = async |host: &Host| get(&host.url, "/v1/plugins/stamp", TOKEN).await.1["canary"][0]["new"].clone();
    while sums(&hosts[0]).await["requests"].as_u64().unwrap_or(0) < 20 {
        assert!(Instant::now() < end, "{}", sums(&hosts[0]).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    killed.process.child.kill().expect("killed");
    killed.process.wait_for_exit();
    let mut own = 0;
    while newest(&hosts[0]).await["state"] == "canary" {
        own += usize::from(hosts[0].reply() == stamped_reply(2));
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(if own < 12 { 0 } else { 200 })).await;
    }
    wait_for(&hosts[0], &digest, "serving").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_a_configuration_ends_is_rolled_back_on_the_other_servers() {
    let hosts = fleet(2);
    let digest = deploy(&hosts, 1);
    hosts.iter().for_each(|host| drop(host.reply()));
    let config = std::fs::read_to_string(&hosts[0].site.config).expect("text");
    assert!(config.contains(RULES));
    plimsoll_tests::replace_file(&hosts[0].site.config, config.replace(RULES, "")).expect("written");
    for host in &hosts {
        let refused = wait_for(host, &digest, "refused").await;
        let reason = refused["reason"].as_str().expect("a reason");
        assert!(reason.contains("the configuration has no canary for it any more"), "{reason}");
        assert_eq!(host.reply(), stamped_reply(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_the_fleet_opens_only_its_report() {
    let hosts = fleet(2);
    let key = digest(format!("plimsoll fleet\0{TOKEN}").as_bytes());
    for (token, path, status) in [
        (&*key, "/v1/fleet", 200),
        (TOKEN, "/v1/fleet", 200),
        ("wrong", "/v1/fleet", 401),
        (&*key, "/v1/plugins", 401),
        (&*key, "/v1/memory", 401),
        (&*key, "/v1/config", 401),
    ] {
        assert_eq!(get(&hosts[0].url, path, token).await.0, status, "{path}");
    }
    let alone = Host::new("");
    assert_eq!(get(&alone.url, "/v1/fleet", TOKEN).await.0, 404);
}

#[test]
fn a_fleet_without_a_common_token_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("plimsoll.toml");
    let config = format!("[fleet]\npeers = [\"http://127.0.0.1:9\"]\n{}", guests_config("tester", ""));
    std::fs::write(&path, config).expect("written");
    let mut command = Command::new(BINARY);
    command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&path);
    let output = command.env_remove("PLIMSOLL_ADMIN_TOKEN").output().expect("the binary starts");
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{message}");
    assert!(message.contains("fleet.peers") && message.contains("token_file"), "{message}");
}
