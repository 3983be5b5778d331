//! Two operators change the same servers at the same time.

use plimsoll_runtime::identity::digest;
use plimsoll_tests::{stamped, stamped_reply};

use crate::cli::text;
use crate::fleet_hosts::{Host, TOKEN, file, plugin, replies};

/// A change over HTTP. Returns the status and the body.
async fn change(host: &Host, method: reqwest::Method, path: &str, body: Vec<u8>) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let request = client.request(method, format!("{}/v1/plugins/{path}", host.url)).bearer_auth(TOKEN).body(body);
    let reply = request.send().await.expect("a reply");
    (reply.status().as_u16(), reply.text().await.expect("a body"))
}

/// The states of the versions of a plugin.
async fn states(host: &Host, plugin: &str) -> Vec<String> {
    let (_, text) = change(host, reqwest::Method::GET, plugin, Vec::new()).await;
    let view: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let versions = view["versions"].as_array().into_iter().flatten();
    versions.map(|version| version["state"].as_str().expect("a state").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_plugin_that_somebody_else_has_changed_is_refused() {
    let host = Host::new("");
    let digests: Vec<_> = (0..3).map(|mark| digest(&stamped(mark))).collect();
    let (put, post) = (reqwest::Method::PUT, reqwest::Method::POST);
    let path = |of: usize, expected: &str| format!("stamp?sha256={}&version={of}&expect={expected}", digests[of]);
    for wrong in [&*digests[1], "none", "", &digests[0][..5]] {
        let (status, reply) = change(&host, put.clone(), &path(1, wrong), stamped(1)).await;
        assert!(status == 409 && reply.contains("somebody else"), "{wrong}: {status} {reply}");
    }
    assert_eq!(host.reply(), stamped_reply(0));
    // The refused upload was compiled, and is not shown as one that still is.
    assert_eq!(states(&host, "stamp").await, ["serving"]);
    assert_eq!(change(&host, put.clone(), &path(1, &digests[0]), stamped(1)).await.0, 200);
    assert_eq!(host.reply(), stamped_reply(1));
    let rollback = |expected: &str| format!("stamp/rollback?to={}&expect={expected}", digests[0]);
    assert_eq!(change(&host, post.clone(), &rollback(&digests[0]), Vec::new()).await.0, 409);
    assert_eq!(host.reply(), stamped_reply(1));
    assert_eq!(change(&host, post, &rollback(&digests[1]), Vec::new()).await.0, 200);
    assert_eq!(host.reply(), stamped_reply(0));

    // A canary is a change, too.
    let host = Host::with("canary = \"50%\"", "");
    assert_eq!(change(&host, put.clone(), &path(1, &digests[0]), stamped(1)).await.0, 200);
    let (status, reply) = change(&host, put, &path(2, &digests[0]), stamped(2)).await;
    assert!(status == 409 && reply.contains("canary"), "{status} {reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_somebody_else_has_changed_is_not_retired() {
    let host = Host::new("");
    let (put, delete) = (reqwest::Method::PUT, reqwest::Method::DELETE);
    let other = |query: &str| format!("other{query}");
    let digests: Vec<_> = (1..3).map(|mark| digest(&stamped(mark))).collect();
    // A new plugin, which somebody else has deployed already.
    assert_eq!(change(&host, put.clone(), &other(&format!("?expect={}", digests[0])), stamped(1)).await.0, 409);
    assert!(states(&host, "other").await.is_empty(), "nothing of it is left");
    assert_eq!(change(&host, put, &other("?expect=none"), stamped(1)).await.0, 200);
    for wrong in [&*digests[1], "none", ""] {
        let (status, reply) = change(&host, delete.clone(), &other(&format!("?expect={wrong}")), Vec::new()).await;
        assert!(status == 409 && reply.contains("somebody else"), "{wrong}: {status} {reply}");
        assert_eq!(states(&host, "other").await, ["unused"]);
    }
    let (status, reply) = change(&host, delete.clone(), &other(&format!("?expekt={}", digests[0])), Vec::new()).await;
    assert!(status == 400 && reply.contains("did you mean `expect`"), "{status} {reply}");
    assert_eq!(change(&host, delete, &other(&format!("?expect={}", digests[0])), Vec::new()).await.0, 200);
    assert!(states(&host, "other").await.is_empty());
}

#[test]
fn two_operators_at_once_leave_one_version_behind() {
    let hosts = [Host::new(""), Host::new("")];
    let (there, back) = ([&*hosts[0].url, &hosts[1].url], [&*hosts[1].url, &hosts[0].url]);
    let mut refused = 0;
    for round in 0..3 {
        let files = [2 * round + 1, 2 * round + 2].map(|mark| file(&hosts[0].site, mark));
        let deploy = |file: &str, servers: [&str; 2]| plugin(&["deploy", file], &servers);
        let outputs = std::thread::scope(|scope| {
            let one = scope.spawn(|| deploy(&files[0], there));
            [deploy(&files[1], back), one.join().expect("no panic")]
        });
        let messages = outputs.each_ref().map(|output| text(&output.stderr));
        let [one, other] = <[String; 2]>::try_from(replies(&hosts)).expect("two");
        assert_eq!(one, other, "{messages:?}");
        refused += outputs.iter().filter(|output| output.status.code() == Some(1)).count();
        for (output, message) in outputs.iter().zip(&messages) {
            assert!(matches!(output.status.code(), Some(0 | 1)), "{message}");
        }
    }
    println!("{refused} of 6 deployments were refused because of the other one");
}
