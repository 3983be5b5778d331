//! What people do who see the page for the first time, and how they bring an image.

use std::process::Command;
use std::time::Instant;

use plimsoll_tests::{Server, TempDir, shared_cache};
use serde_json::json;

use super::check_clean;
use super::faces::Faces;
use crate::browser::Browser;
use crate::process::BINARY;
use crate::served_folder::ServedFolder;

/// From `plimsoll serve` to boxes on a picture of one's own: two clicks, and nothing to type or to read. The time is printed.
/// With the variable `PLIMSOLL_STOPWATCH`, this program is started, and nothing is compiled before:
///
/// ```sh
/// PLIMSOLL_STOPWATCH=target/release/plimsoll cargo test --workspace --test it -- --nocapture a_newcomer_sees
/// ```
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_sees_boxes_and_water_lines_after_two_clicks() {
    let faces = Faces::new("face");
    let folder = TempDir::new().expect("a folder");
    let program = std::env::var_os("PLIMSOLL_STOPWATCH").map(|path| std::path::absolute(path).expect("a path"));
    let cache = match &program {
        Some(_) => String::new(),
        None => format!("cache_dir = {:?}\n", shared_cache()),
    };
    std::fs::write(folder.path().join("plimsoll.toml"), cache + &faces.config()).expect("written");
    let Some(mut browser) = Browser::start() else { return };
    let since = Instant::now();
    let mut command = match program {
        Some(program) => Command::new(program),
        None => Command::new(BINARY),
    };
    command.current_dir(folder.path()).env_remove("RUST_LOG");
    let server = ServedFolder::start(command, &[]);
    let serves = since.elapsed();
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
    println!("a newcomer saw boxes {:?} after the start of the server, which served after {serves:?}", since.elapsed());
    let own = format!("{}/", server.url);
    let foreign = browser.requested().into_iter().find(|url| !url.starts_with(&own) && !url.starts_with("blob:"));
    assert_eq!(foreign, None);
    assert_eq!(browser.errors(), Vec::<serde_json::Value>::new());
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
