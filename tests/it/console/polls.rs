//! What the page costs the server: one request for each poll, none while it is hidden, and no memory.

use plimsoll_tests::{TempDir, data, made_token, shared_cache};

use super::{demo, digit, unlocked};
use crate::browser::Browser;
use crate::served_folder::ServedFolder;

/// The polls of a page that is open for an hour.
const POLLS: usize = 1_800;

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_is_one_request_and_a_hidden_page_sends_none() {
    let server = demo().await;
    let Some(mut browser) = unlocked(&server, "overview") else { return };
    browser.find("heading", "Water lines");
    let polls = |browser: &mut Browser| -> Vec<String> {
        browser.requested().into_iter().filter(|url| url.contains("/v1/")).collect()
    };
    let before = polls(&mut browser).len();
    browser.wait("three polls", |browser| (polls(browser).len() >= before + 3).then_some(()));
    let sent = polls(&mut browser).split_off(before);
    assert!(sent.iter().all(|url| url.ends_with("/v1/memory?series=1m")), "{sent:?}");
    browser.eval("Object.defineProperty(document, 'hidden', { value: true, configurable: true })");
    // A poll may be under way. After it there is none in the time of three.
    let hidden = polls(&mut browser).len();
    std::thread::sleep(std::time::Duration::from_millis(6_500));
    assert!(polls(&mut browser).len() <= hidden + 1, "a hidden page polls");
    let hidden = polls(&mut browser).len();
    browser.eval("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))");
    browser.wait("it polls again", |browser| (polls(browser).len() > hidden).then_some(()));
}

/// The server logs and counts each call without a token.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_a_token_asks_for_no_data() {
    let server = demo().await;
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&server.url);
    browser.find("textbox", "Administration token");
    std::thread::sleep(std::time::Duration::from_millis(4_500));
    let asked: Vec<_> = browser.requested().into_iter().filter(|url| url.contains("/v1/")).collect();
    assert_eq!(asked, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_new_figures_keeps_its_place_and_a_selection() {
    let server = demo().await;
    digit(&server, "native").await;
    let Some(mut browser) = unlocked(&server, "overview") else { return };
    browser.size(900, 900);
    browser.find("table", "Water lines");
    let table = "document.querySelectorAll('.scroll')[1]";
    browser.eval(&format!("{table}.scrollLeft = 150; window.before = {table}; 0"));
    let place = browser.eval(&format!("{table}.scrollLeft"));
    assert!(place.as_f64() > Some(0.0), "the table is wider than the window");
    digit(&server, "native").await;
    let is_new = format!("{table} !== window.before");
    browser.wait("new figures", |browser| (browser.eval(&is_new) == true).then_some(()));
    assert_eq!(browser.eval(&format!("{table}.scrollLeft")), place);
    browser.eval(&format!("getSelection().selectAllChildren({table}.querySelector('tbody td')); 0"));
    digit(&server, "native").await;
    browser.wait("the selection is kept", |browser| {
        (browser.eval("document.querySelectorAll('.held').length") == 1).then_some(())
    });
    assert_ne!(browser.eval("getSelection().toString()"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_polls_does_not_move_the_memory_of_the_server() {
    let folder = TempDir::new().expect("a folder");
    let config = format!("cache_dir = {:?}\n{}", shared_cache(), plimsoll::config::DEMO);
    std::fs::write(folder.path().join("plimsoll.toml"), config).expect("written");
    let served = ServedFolder::serve(folder.path(), &[]);
    let client = reqwest::Client::new();
    let image = std::fs::read(data("digits/7.jpg")).expect("a picture");
    for turn in 0..250 {
        let chip = if turn % 2 == 0 { "native" } else { "wasm" };
        let url = format!("{}/v1/pipelines/digits/infer?chip={chip}", served.url);
        assert!(client.post(url).body(image.clone()).send().await.expect("a reply").status().is_success());
    }
    let token = made_token(folder.path());
    let get = async |path: &str| {
        let reply = client.get(format!("{}{path}", served.url)).bearer_auth(&token).send().await.expect("a reply");
        assert_eq!(reply.status(), 200, "{path}");
        reply.bytes().await.expect("a body")
    };
    let polls =
        ["/v1/memory?series=1m", "/v1/memory?series=1s", "/v1/requests", "/v1/plugins", "/v1/memory/compare?by=chip"];
    let resident = async || {
        let report: serde_json::Value = serde_json::from_slice(&get("/v1/memory").await).expect("JSON");
        report["process"]["resident_bytes"].as_i64().expect("a number")
    };
    // As many as are measured: under load threads touch memory for the first time late.
    for turn in 0..POLLS {
        get(polls[turn % polls.len()]).await;
    }
    let before = resident().await;
    for turn in 0..POLLS {
        get(polls[turn % polls.len()]).await;
    }
    let grown = resident().await - before;
    println!("{POLLS} polls: {grown} bytes more are resident");
    assert!(grown < 1 << 20, "{grown} bytes");
}
