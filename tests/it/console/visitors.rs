//! What people do who see the page for the first time, and how they bring an image.

use std::time::Instant;

use plimsoll_tests::Server;
use serde_json::json;

use super::check_clean;
use super::faces::Faces;
use crate::browser::Browser;

/// From the start page to boxes on a picture of one's own: two clicks, and nothing to type or to read.
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_sees_boxes_and_water_lines_after_two_clicks() {
    let faces = Faces::new("face");
    let server = Server::start(&faces.config()).await;
    let Some(mut browser) = Browser::start() else { return };
    let since = Instant::now();
    browser.open(&format!("{}/", server.url));
    browser.eval(
        "addEventListener('click', () => { sessionClicks += 1; }, true); \
         addEventListener('keydown', () => { sessionKeys += 1; }, true); \
         window.sessionClicks = 0; window.sessionKeys = 0; 0",
    );
    browser.call("Page.setInterceptFileChooserDialog", json!({ "enabled": true }));
    browser.click("link", "Try it");
    browser.click("button", "Drop, paste or pick an image It is sent to this server only.");
    browser.choose_in_dialog(&faces.picture);
    browser.wait_for_text("2 of 2");
    browser.find("table", "Stages on native");
    let seen = "[document.querySelectorAll('.boxes rect').length, document.querySelectorAll('.side .water[role=img]').length, \
                sessionClicks, sessionKeys]";
    // The dialog of the browser asks the page for another click on the input.
    assert_eq!(browser.eval(seen), json!([2, 3, 3, 0]));
    println!("a newcomer saw boxes after {:?}", since.elapsed());
    check_clean(&mut browser, &server);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pasted_from_the_clipboard() {
    let faces = Faces::new("face");
    let server = Server::start(&faces.config()).await;
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&format!("{}/#/try", server.url));
    browser.find("combobox", "Pipeline");
    browser.allow_clipboard(&server.url);
    let bytes = std::fs::read(&faces.picture).expect("a picture");
    browser.eval(&format!(
        "navigator.clipboard.write([new ClipboardItem({{ 'image/png': new Blob([new Uint8Array({})], {{ type: 'image/png' }}) }})])\
         .then(() => 0)",
        json!(bytes)
    ));
    browser.paste();
    browser.wait_for_text("2 of 2");
    browser.wait_for_text("200 reply from native.");
    check_clean(&mut browser, &server);
    // A text is no image, so nothing happens.
    browser.eval("navigator.clipboard.writeText('a text').then(() => 0)");
    let before = browser.requested().len();
    browser.paste();
    browser.find("combobox", "Pipeline");
    assert_eq!(browser.requested().len(), before);
}
