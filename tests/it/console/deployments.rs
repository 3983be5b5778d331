//! The screen `Deployments`: deploy, roll back and end a canary with the mouse.

use plimsoll_tests::{Site, TempDir, stamped, stamped_reply};

use super::{check_clean, unlocked};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_deployed_and_rolled_back_with_the_mouse() {
    let site = Site::new("");
    let server = site.serve().await;
    let Some(mut browser) = unlocked(&server, "deployments") else { return };
    let uploads = TempDir::new().expect("a folder");
    let file = uploads.path().join("stamp@2.0.wasm");
    std::fs::write(&file, stamped(1)).expect("written");
    browser.find("region", "stamp");
    browser.drop_file("button", "Drop or pick a .wasm file to deploy No file is chosen.", &file);
    browser.wait_for_text("stamp@2.0.wasm");
    browser.click("textbox", "Version");
    browser.write("2.0");
    browser.click("button", "Deploy");
    browser.wait_for_text("stamp 2.0: serving");
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(1));
    browser.click("button", "Roll back: stamp");
    browser.find("dialog", "");
    browser.click("button", "Cancel");
    assert_eq!(server.infer("p", "", "").await.text, stamped_reply(1), "it was cancelled");
    browser.click("button", "Roll back: stamp");
    browser.click("button", "Roll back");
    browser.wait_for_text(": serving");
    server.wait_for_reply(&stamped_reply(0)).await;
    let named = browser.requested().into_iter().any(|url| url.contains("/v1/plugins/stamp/rollback?to="));
    assert!(named, "the call names the version of the question");
    // A pipeline needs the plugin, so it cannot be retired: the server says so.
    browser.click("button", "Retire: stamp");
    browser.click("button", "Retire");
    browser.wait_for_text("409 conflict");
    // What is no component is rejected with a reason.
    std::fs::write(&file, "no component").expect("written");
    browser.choose_file("document.querySelector('main input[type=file]')", &file);
    browser.click("button", "Deploy");
    browser.wait_for_text("422 plugin_refused");
    // A question ends with its screen.
    browser.click("button", "Retire: stamp");
    browser.find("dialog", "");
    browser.eval("location.hash = '#/requests'");
    browser.find("heading", "Requests");
    browser.wait("the question is gone", |browser| browser.all("dialog", "").is_empty().then_some(()));
    check_clean(&mut browser, &server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_a_race_that_can_be_ended() {
    let site = Site::new("canary = { share = \"50%\", requests = 1000 }");
    let server = site.serve().await;
    let put = server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await;
    assert_eq!(put.json()["state"], "canary", "{}", put.text);
    let Some(mut browser) = unlocked(&server, "deployments") else { return };
    browser.find("region", "Canary in p");
    browser.wait_for_text("waits for requests");
    for _ in 0..60 {
        server.infer("p", "", "").await;
    }
    browser.wait_for_text("to the verdict");
    browser.wait_for_text("1.00 × of at most 1.5 ×");
    browser.click("button", "End the canary: stamp");
    browser.click("button", "End the canary");
    server.wait_for_state("stamp", "refused").await;
    browser.wait("the race is over", |browser| browser.all("region", "Canary in p").is_empty().then_some(()));
    browser.wait_for_text("refused");
    check_clean(&mut browser, &server);
}
