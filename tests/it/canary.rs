//! A new version on trial gets its share, and its figures decide.

use plimsoll_tests::{Server, Site, another_version, guest, stamped, stamped_reply};

const RULES: &str = "canary = { share = \"25%\", requests = 40 }";

/// Sends so many requests, and gives how many the new version answered; all must be answered.
async fn requests(server: &Server, count: usize, query: &str, new: &str) -> usize {
    let mut answered = 0;
    for _ in 0..count {
        let reply = server.infer("p", query, "").await;
        answered += usize::from(reply.text == new || reply.status == 500);
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_behaves_is_promoted() {
    let site = Site::new(RULES);
    let server = site.serve().await;
    let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await;
    assert_eq!(put.json()["state"], "canary", "{}", put.text);
    let new = requests(&server, 100, "", &stamped_reply(1)).await;
    assert!((22..=28).contains(&new), "a share of 25%: {new} of 100");
    let view = server.get("/v1/plugins/stamp").await.json();
    assert_eq!(view["versions"][0]["state"], "canary", "{view}");
    assert_eq!(view["canary"][0]["new"]["requests"], new, "{view}");
    requests(&server, 80, "", "").await;
    server.until_reply(&stamped_reply(1)).await;
    server.until_state("stamp", "previous").await;
    assert_eq!(requests(&server, 20, "", &stamped_reply(1)).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_traps_or_needs_more_memory_is_rolled_back_by_itself() {
    // On a machine that is busy the decision comes a request or two late, so the count of failures is not held to 3.
    let reasons =
        [("?do=trap", "requests ended in a trap, a memory limit or a deadline"), ("?do=grow", "p99 high-water mark")];
    for (query, words) in reasons {
        let site = Site::new(RULES);
        let server = site.serve().await;
        let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(9)).await;
        assert_eq!(put.json()["state"], "canary", "{}", put.text);
        requests(&server, 100, query, "").await;
        let refused = server.until_state("stamp", "refused").await;
        assert!(refused["reason"].as_str().expect("text").contains(words), "{refused}");
        for _ in 0..20 {
            assert_eq!(server.infer("p", query, "").await.text, stamped_reply(0));
        }
        // It stays out over a restart, and by hand it can be tried again.
        server.stop().await;
        let server = site.serve().await;
        assert_eq!(requests(&server, 20, "", &stamped_reply(0)).await, 20);
        let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(9)).await;
        assert_eq!(put.json()["state"], "canary", "{}", put.text);
        let back = server.send("POST", "/v1/plugins/stamp/rollback", &[], Vec::new()).await;
        assert_eq!(back.status, 200, "{}", back.text);
        assert_eq!(requests(&server, 20, "", &stamped_reply(0)).await, 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_that_cannot_work_are_refused() {
    for (canary, word) in
        [("\"5\"", "write it as"), ("\"80%\"", "at most 50%"), ("{ share = \"5%\", requests = 0 }", "requests")]
    {
        let site = Site::new("");
        site.write_config(&format!("canary = {canary}"));
        let text = std::fs::read_to_string(&site.config).expect("text");
        let message = Server::refused(&text).await;
        assert!(message.contains(word), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_do_not_come_to_the_version_say_nothing_of_it() {
    let site = Site::new("canary = { share = \"50%\", requests = 20 }\ndefault_chip = \"c\"");
    let other = format!(
        "[plugins.echo-infer]\nfile = {:?}\n[pipelines.p.chips.d]\nplugin = \"echo-infer\"\n",
        guest("echo-infer")
    );
    let text = std::fs::read_to_string(&site.config).expect("text");
    let text = text.replace(&format!("file = {:?}\n", guest("noop-infer")), "");
    std::fs::write(&site.config, text + &other).expect("written");
    let bytes = std::fs::read(guest("noop-infer")).expect("built");
    site.drop_in("noop-infer.wasm", &bytes);
    let server = site.serve().await;
    let put = server.send("PUT", "/v1/plugins/noop-infer", &[], another_version(&bytes, 1)).await;
    assert_eq!(put.json()["state"], "canary", "{}", put.text);
    for _ in 0..100 {
        assert_eq!(server.infer("p", "?chip=d", "").await.status, 200);
    }
    let view = server.get("/v1/plugins/noop-infer").await.json();
    assert_eq!((&view["canary"][0]["new"]["requests"], &view["canary"][0]["old"]["requests"]), (&0.into(), &0.into()));
    requests(&server, 60, "", "").await;
    server.until_state("noop-infer", "previous").await;
}
