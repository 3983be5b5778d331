//! The console in a real browser: every screen by role and text, an image, a deployment, and texts of foreign origin.

mod deployments;
mod drawn;
mod faces;
mod figures;
mod files;
mod foreign_texts;
mod looks;
mod polls;
mod reports;
mod steps;
mod try_it;
mod visitors;

use std::path::Path;

use plimsoll_tests::{Server, TempDir, data};
use serde_json::{Value, json};

use crate::browser::Browser;

/// Opens the console at a screen, and gives it the token.
fn unlocked(server: &Server, screen: &str) -> Option<Browser> {
    let mut browser = Browser::start()?;
    browser.open(&format!("{}/#/{screen}", server.url));
    unlock(&mut browser, server.token.as_deref().expect("a token"));
    Some(browser)
}

fn unlock(browser: &mut Browser, token: &str) {
    browser.click("textbox", "Administration token");
    browser.write(token);
    browser.click("button", "Unlock");
}

fn show(browser: &mut Browser, screen: &str) {
    browser.click("link", screen);
    browser.find("heading", screen);
}

/// All requests went to the server, and nothing failed in the page.
fn check_clean(browser: &mut Browser, server: &Server) {
    let foreign: Vec<_> = browser.requested().into_iter().filter(|url| !is_own(url, server)).collect();
    assert_eq!(foreign, [""; 0]);
    assert_eq!(browser.errors(), Vec::<Value>::new(), "errors of the page");
}

fn is_own(url: &str, server: &Server) -> bool {
    let own = format!("{}/", server.url);
    url.starts_with(&own) || url.starts_with("blob:") || url.starts_with("about:")
}

async fn demo() -> Server {
    Server::start(plimsoll::config::DEMO).await
}

async fn digit(server: &Server, chip: &str) {
    let body = std::fs::read(data("digits/7.jpg")).expect("a picture");
    assert_eq!(server.infer("digits", &format!("?chip={chip}"), body).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_screen_shows_what_the_server_did() {
    let server = demo().await;
    for chip in ["native", "wasm", "native"] {
        digit(&server, chip).await;
    }
    assert_eq!(server.infer("digits", "", "no image").await.status, 415);
    let Some(mut browser) = unlocked(&server, "overview") else { return };
    browser.find("heading", "Water lines");
    browser.find("table", "Water lines");
    assert_eq!(browser.all("row", "").len(), 1 + 2 + 1 + 7, "requests of two chips, and seven series");
    assert!(browser.eval("document.querySelectorAll('.water[role=img]').length") == 7);
    for text in ["image-preprocess@", "infer-wasm@", "unsupported_media_type", "Resident memory", "0 of 32"] {
        browser.wait_for_text(text);
    }
    browser.click("radio", "since start");
    browser.wait_for_text("why?");
    browser.eval("document.querySelector('tbody a').click()");
    browser.find("heading", "Compare");
    browser.wait_for_text("Only pipeline digits");
    browser.wait_for_text("native");
    browser.click("radio", "top callers");
    browser.wait_for_text("x-plimsoll-caller");
    browser.click("radio", "shadow chips");
    browser.wait_for_text("No pipeline has a shadow chip");

    show(&mut browser, "Requests");
    browser.find("table", "The latest 4 requests, the newest first");
    assert_eq!(browser.all("row", "").len(), 1 + 4);
    browser.eval("outcome.value = 'unsupported_media_type'; outcome.dispatchEvent(new Event('change'))");
    browser.wait("one request", |browser| (browser.all("row", "").len() == 2).then_some(()));

    show(&mut browser, "Deployments");
    browser.find("region", "classify-postprocess");
    browser.wait_for_text("bundled");
    show(&mut browser, "Recordings and leaks");
    browser.wait_for_text("No pipeline records inputs");
    show(&mut browser, "Reference");
    browser.find("heading", "Routes");
    browser.wait_for_text("POST /v1/pipelines/{pipeline}/infer");
    browser.wait_for_text("rten");
    check_clean(&mut browser, &server);
}

/// Chooses an image on the screen `Try it`.
fn choose(browser: &mut Browser, file: &Path) {
    browser.find("combobox", "Pipeline");
    browser.choose_file("document.querySelector('main input[type=file]')", file);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_shows_nothing_and_the_right_one_is_only_in_memory() {
    let server = demo().await;
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&server.url);
    unlock(&mut browser, "not-the-administration-token");
    browser.find("alert", "");
    browser.wait_for_text("The server refused the token");
    assert!(!browser.text().contains("Water lines"));
    unlock(&mut browser, server.token.as_deref().expect("a token"));
    browser.find("heading", "Water lines");
    let stored = "[localStorage.length, sessionStorage.length, document.cookie, location.href.includes('token')]";
    assert_eq!(browser.eval(stored), json!([0, 0, "", false]));
    browser.click("button", "Forget the token");
    browser.find("textbox", "Administration token");
    unlock(&mut browser, server.token.as_deref().expect("a token"));
    browser.find("heading", "Water lines");
    browser.open(&format!("{}/?", server.url));
    browser.find("textbox", "Administration token");
    check_clean(&mut browser, &server);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_used_with_the_keyboard_alone() {
    let server = demo().await;
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&server.url);
    browser.find("textbox", "Administration token");
    let focused =
        |browser: &mut Browser| browser.eval("document.activeElement.textContent").as_str().map(str::to_owned);
    let mut passed = Vec::new();
    while !passed.contains(&"Compare".to_owned()) {
        browser.press("Tab", 9);
        passed.extend(focused(&mut browser));
        assert!(passed.len() < 10, "{passed:?}");
    }
    assert_eq!(passed[..3], ["Skip to the screen", " Plimsoll", "Overview"]);
    browser.press("Enter", 13);
    browser.find("heading", "Compare");
    assert_eq!(focused(&mut browser).as_deref(), Some("Compare"), "the heading has the focus");
    // The next stop is the token.
    browser.press("Tab", 9);
    browser.write(server.token.as_deref().expect("a token"));
    browser.press("Enter", 13);
    browser.wait_for_text("No stage has run yet.");
    check_clean(&mut browser, &server);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_with_keys_and_administration_elsewhere_are_told_so() {
    let folder = TempDir::new().expect("a folder");
    let keys = folder.path().join("keys");
    let digest = plimsoll_runtime::identity::digest(b"the-key-of-the-browser");
    std::fs::write(&keys, format!("browser sha256:{digest}\n")).expect("written");
    let server = Server::start(&format!("{}\n[auth]\nkeys_file = {keys:?}\n", plimsoll::config::DEMO)).await;
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&format!("{}/#/try", server.url));
    browser.click("textbox", "Key of a caller");
    browser.write("the-key-of-the-browser");
    browser.click("button", "Unlock");
    choose(&mut browser, &data("digits/7.jpg"));
    browser.wait_for_text("native, wasm agree");
    let apart = Server::start(&format!("{}\n[admin]\nlisten = \"127.0.0.1:0\"\n", plimsoll::config::DEMO)).await;
    browser.open(&format!("{}/#/try", apart.admin_url));
    browser.wait_for_text("Callers of this server have another address");
}
