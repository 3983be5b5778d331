//! A canary gets its share of the requests. Its outcomes decide if it is promoted or rolled back.

use plimsoll_tests::{Server, Site, another_version, guest, stamped, stamped_reply};
use serde_json::json;

use crate::reload::wait_for_reloads;

const RULES: &str = "canary = { share = \"25%\", requests = 40 }";

/// Sends `count` requests. Returns how many were answered by the new version: its reply is `new`, or the status is 500.
async fn send_requests(server: &Server, count: usize, query: &str, new: &str) -> usize {
    let mut answered = 0;
    for _ in 0..count {
        let reply = server.infer("p", query, "").await;
        answered += usize::from(reply.text == new || reply.status == 500);
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_without_failures_is_promoted() {
    let site = Site::new(RULES);
    let server = site.serve().await;
    let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await;
    assert_eq!(put.json()["state"], "canary", "{}", put.text);
    let new = send_requests(&server, 100, "", &stamped_reply(1)).await;
    assert!((8..=45).contains(&new), "the share is about 25%: {new} of 100");
    let view = server.get("/v1/plugins/stamp").await.json();
    assert_eq!(view["versions"][0]["state"], "canary", "{view}");
    assert_eq!(view["canary"][0]["new"]["requests"], new, "{view}");
    send_requests(&server, 200, "", "").await;
    server.wait_for_state("stamp", "previous").await;
    assert_eq!(send_requests(&server, 20, "", &stamped_reply(1)).await, 20);
}

/// Otherwise one caller could promote any version: both would fail as often, with no memory at all.
#[tokio::test(flavor = "multi_thread")]
async fn time_outs_of_callers_decide_no_canary() {
    let site = Site::new(RULES);
    let server = site.serve().await;
    let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(9)).await;
    assert_eq!(put.json()["state"], "canary", "{}", put.text);
    let input = json!({ "name": "image", "datatype": "BYTES", "shape": [1], "data": ["x"] });
    let hurried = json!({ "parameters": { "timeout": 1 }, "inputs": [input] });
    for _ in 0..200 {
        let reply = server.infer_json("p", &hurried).await;
        assert_eq!(reply.status, 504, "{}", reply.text);
    }
    let view = server.get("/v1/plugins/stamp").await.json();
    assert_eq!(view["versions"][0]["state"], "canary", "{view}");
    assert_eq!(view["canary"][0]["new"]["requests"], 0, "{view}");
    assert_eq!(view["canary"][0]["old"]["requests"], 0, "{view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_traps_or_needs_more_memory_is_rolled_back_automatically() {
    // On a busy machine the decision comes one or two requests late, so the number of failures is not checked.
    let reasons =
        [("?do=trap", "requests ended in a trap, a memory limit or a deadline"), ("?do=grow", "p99 high-water mark")];
    for (query, words) in reasons {
        let site = Site::new(RULES);
        let server = site.serve().await;
        let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(9)).await;
        assert_eq!(put.json()["state"], "canary", "{}", put.text);
        send_requests(&server, 200, query, "").await;
        let version = server.wait_for_state("stamp", "refused").await;
        assert!(version["reason"].as_str().expect("text").contains(words), "{version}");
        for _ in 0..20 {
            assert_eq!(server.infer("p", query, "").await.text, stamped_reply(0));
        }
        // The version stays rejected after a restart, but it can be deployed again by hand.
        server.stop().await;
        let server = site.serve().await;
        assert_eq!(send_requests(&server, 20, "", &stamped_reply(0)).await, 20);
        let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(9)).await;
        assert_eq!(put.json()["state"], "canary", "{}", put.text);
        // The end of another canary, for example of one that was promoted meanwhile, changes nothing.
        let gone = server.send("POST", "/v1/plugins/stamp/rollback?canary=000000000000", &[], Vec::new()).await;
        assert_eq!((gone.status, gone.code().as_str()), (409, "conflict"), "{}", gone.text);
        let back = server.send("POST", "/v1/plugins/stamp/rollback", &[], Vec::new()).await;
        assert_eq!(back.status, 200, "{}", back.text);
        assert_eq!(send_requests(&server, 20, "", &stamped_reply(0)).await, 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unload_is_no_way_around_a_canary_and_no_candidate_is_lost_without_a_trace() {
    let site = Site::new(RULES);
    let server = site.serve().await;
    let put = async |mark: u32| {
        let reply = server.send("PUT", "/v1/plugins/stamp", &[], stamped(mark)).await;
        reply.json()["state"].as_str().expect("a state").to_owned()
    };
    assert_eq!(put(1).await, "canary");
    assert_eq!(put(2).await, "canary");
    let replaced = server.wait_for_state("stamp", "refused").await;
    assert!(replaced["reason"].as_str().expect("text").contains("before its canary was decided"), "{replaced}");

    let change = async |what: &str| {
        let reply = server.send("POST", &format!("/v2/repository/models/p/{what}"), &[], Vec::new()).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    };
    change("unload").await;
    assert_eq!(put(3).await, "canary", "the canary begins when the pipeline is loaded");
    change("load").await;
    let new = send_requests(&server, 40, "", &stamped_reply(3)).await;
    assert!((1..=30).contains(&new), "the share is about 25%: {new} of 40");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_canary_settings_are_rejected() {
    for (canary, word) in
        [("\"5\"", "write it as"), ("\"80%\"", "at most 50%"), ("{ share = \"5%\", requests = 0 }", "requests")]
    {
        let site = Site::new("");
        site.write_config(&format!("canary = {canary}"));
        let text = std::fs::read_to_string(&site.config).expect("text");
        let message = Server::rejection(&text).await;
        assert!(message.contains(word), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_a_chip_without_the_plugin_do_not_count_for_its_canary() {
    let site = Site::new("canary = { share = \"50%\", requests = 20 }\ndefault_chip = \"c\"");
    let other = format!(
        "[plugins.echo-infer]\nfile = {:?}\n[pipelines.p.chips.d]\nplugin = \"echo-infer\"\n",
        guest("echo-infer")
    );
    let text = std::fs::read_to_string(&site.config).expect("text");
    let text = text.replace(&format!("file = {:?}\n", guest("noop-infer")), "");
    plimsoll_tests::replace_file(&site.config, text + &other).expect("written");
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
    send_requests(&server, 100, "", "").await;
    server.wait_for_state("noop-infer", "previous").await;
}

/// A reload continues a canary with its figures if nothing of it has changed. Otherwise it begins again.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_a_running_canary_unless_its_rules_change() {
    let site = Site::new("canary = { share = \"25%\", requests = 400 }");
    let server = site.serve().await;
    let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await;
    assert_eq!(put.json()["state"], "canary", "{}", put.text);
    let new = send_requests(&server, 40, "", &stamped_reply(1)).await;
    let requests = async || {
        let view = server.get("/v1/plugins/stamp").await.json();
        view["canary"][0]["new"]["requests"].as_u64().unwrap_or_else(|| panic!("no canary: {view}"))
    };
    assert_eq!(requests().await, new as u64);
    let text = std::fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, text.replace("[server]", "[deploy]\npoll = \"3s\"\n[server]"))
        .expect("written");
    wait_for_reloads(&server, "served", 1).await;
    assert_eq!(requests().await, new as u64, "nothing of the canary has changed");
    let more = send_requests(&server, 40, "", &stamped_reply(1)).await;
    assert_eq!(requests().await, (new + more) as u64);
    let text = std::fs::read_to_string(&site.config).expect("text");
    plimsoll_tests::replace_file(&site.config, text.replace("requests = 400", "requests = 300")).expect("written");
    wait_for_reloads(&server, "served", 2).await;
    assert_eq!(requests().await, 0, "a canary with other rules begins again");
    let back = server.send("POST", "/v1/plugins/stamp/rollback", &[], Vec::new()).await;
    assert_eq!(back.status, 200, "{}", back.text);
}

/// In the pipelines of which nothing has changed, it continues. The others begin with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_of_another_pipeline_keeps_a_running_canary() {
    let site = Site::new("canary = { share = \"25%\", requests = 400 }");
    let text = std::fs::read_to_string(&site.config).expect("text");
    let pipeline = &text[text.find("[pipelines.p]").expect("a pipeline")..];
    let named = |name: &str| pipeline.replace("pipelines.p", &format!("pipelines.{name}"));
    let write = |pipelines: &[String]| {
        plimsoll_tests::replace_file(&site.config, format!("{text}{}", pipelines.concat())).expect("written");
    };
    write(&[named("q"), named("r")]);
    let server = site.serve().await;
    let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await;
    assert_eq!(put.json()["state"], "canary", "{}", put.text);
    let mut new = send_requests(&server, 40, "", &stamped_reply(1)).await as u64;
    let canaries = async || {
        let view = server.get("/v1/plugins/stamp").await.json();
        let canaries = view["canary"].as_array().unwrap_or_else(|| panic!("no canary: {view}")).clone();
        let figures =
            |it: &serde_json::Value| (it["pipeline"].as_str().map(str::to_owned), it["new"]["requests"].as_u64());
        canaries.iter().map(figures).collect::<std::collections::BTreeMap<_, _>>()
    };
    let expected = |figures: &[(&str, u64)]| {
        figures.iter().map(|(name, requests)| (Some((*name).to_owned()), Some(*requests))).collect()
    };
    assert_eq!(canaries().await, expected(&[("p", new), ("q", 0), ("r", 0)]));
    // One pipeline has other rules, one is new, one is removed.
    write(&[named("q").replace("requests = 400", "requests = 300"), named("s")]);
    wait_for_reloads(&server, "served", 1).await;
    assert_eq!(canaries().await, expected(&[("p", new), ("q", 0), ("s", 0)]));
    new += send_requests(&server, 40, "", &stamped_reply(1)).await as u64;
    assert_eq!(canaries().await, expected(&[("p", new), ("q", 0), ("s", 0)]));
    let mut of_new_pipeline = 0;
    for _ in 0..40 {
        of_new_pipeline += u64::from(server.infer("s", "", "").await.text == stamped_reply(1));
    }
    assert_eq!(canaries().await, expected(&[("p", new), ("q", 0), ("s", of_new_pipeline)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_keeps_its_version_also_after_a_restart_if_callers_are_divided() {
    let site = Site::new("canary = { share = \"50%\", requests = 100000, by = \"caller\" }");
    let server = site.serve().await;
    let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await;
    assert_eq!(put.json()["state"], "canary", "{}", put.text);
    let is_new = async |server: &Server, caller: &str| {
        let headers = [("x-plimsoll-caller", caller)];
        let reply = server.send("POST", "/v1/pipelines/p/infer", &headers, Vec::new()).await;
        assert!([stamped_reply(0), stamped_reply(1)].contains(&reply.text), "{}", reply.text);
        let images =
            serde_json::json!({ "inputs": [{ "name": "image", "datatype": "BYTES", "shape": [1], "data": [""] }] });
        let other = server.send("POST", "/v2/models/p/infer", &headers, images.to_string().into()).await;
        assert_eq!(other.headers["x-plimsoll-plugins"], reply.headers["x-plimsoll-plugins"], "{caller}");
        reply.text == stamped_reply(1)
    };
    let mut sides = Vec::new();
    for caller in 0..40 {
        let caller = format!("caller-{caller}");
        let side = is_new(&server, &caller).await;
        for _ in 0..2 {
            assert_eq!(is_new(&server, &caller).await, side, "{caller}");
        }
        sides.push(side);
    }
    let new = sides.iter().filter(|is_new| **is_new).count();
    assert!((8..=32).contains(&new), "{new} of 40");
    // Requests without a caller are selected one by one.
    let new = send_requests(&server, 100, "", &stamped_reply(1)).await;
    assert!((25..=75).contains(&new), "{new} of 100");
    server.stop().await;
    let server = site.serve().await;
    for (caller, side) in sides.into_iter().enumerate() {
        assert_eq!(is_new(&server, &format!("caller-{caller}")).await, side, "{caller}");
    }
}
