//! Texts of callers, plugins and models in the page, and what other code could try.

use plimsoll_tests::{Server, guests_config};
use serde_json::json;

use super::faces::Faces;
use super::{check_clean, choose, demo, show, unlocked};
use crate::browser::Browser;

/// Callers, plugins and models choose these texts. The page shows them and nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn texts_of_callers_plugins_and_models_are_only_text() {
    const EVIL: &str = "<img src=x onerror=window.hacked=1>";
    let faces = Faces::new(EVIL);
    let table = format!("[pipelines.p.record]\ndir = {:?}\n", faces.folder.path().join("recordings"));
    let server = Server::start(&(guests_config("tester", "max_memory = \"32MiB\"") + &table + &faces.config())).await;
    let id = "<svg/onload=window.hacked=1>";
    let headers = [("x-request-id", id), ("x-plimsoll-caller", EVIL), ("content-type", "text/html")];
    let evil = "%3Cimg%20src%3Dx%20onerror%3Dwindow.hacked%3D1%3E";
    server.send("POST", &format!("/v1/pipelines/p/infer?do=panic&{evil}={evil}"), &headers, EVIL.into()).await;
    let Some(mut browser) = unlocked(&server, "requests") else { return };
    browser.wait_for_text(id);
    browser.wait_for_text(EVIL);
    show(&mut browser, "Compare");
    browser.click("radio", "callers");
    browser.wait_for_text(EVIL);
    browser.click("radio", "top callers");
    browser.wait_for_text(EVIL);
    show(&mut browser, "Recordings and leaks");
    browser.wait_for_text("trap");
    browser.eval("document.querySelector('.recording button').click()");
    browser.wait_for_text("The browser cannot show this input.");
    browser.wait_for_text(EVIL);

    show(&mut browser, "Try it");
    let name = format!("{EVIL}'; alert(1) #.png");
    let file = faces.folder.path().join(&name);
    std::fs::copy(&faces.picture, &file).expect("copied");
    browser.eval("pipeline.value = 'faces'; pipeline.dispatchEvent(new Event('change'))");
    choose(&mut browser, &file);
    browser.wait_for_text(&format!("{EVIL} 95.0 %"));
    browser.wait_for_text("'\\''; alert(1) #.png'");
    // The name of a plugin is refused, and the problem names it.
    show(&mut browser, "Deployments");
    browser.find("region", "tester");
    browser.choose_file("document.querySelector('main input[type=file]')", &file);
    browser.eval(&format!("plugin.value = {}", json!(EVIL)));
    browser.click("button", "Deploy");
    browser.wait_for_text("is not a valid plugin name");
    browser.wait_for_text(EVIL);
    assert_eq!(
        browser.eval("[typeof window.hacked, document.querySelectorAll('[src=x], [onerror], [onload]').length]"),
        json!(["undefined", 0])
    );
    check_clean(&mut browser, &server);
}

/// What a page of another site could try.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_runs_no_other_code_and_no_html() {
    let server = demo().await;
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&server.url);
    browser.find("textbox", "Administration token");
    let refused = "(() => { try { document.body.innerHTML = '<b>x</b>'; return false; } catch { return true; } })()";
    assert_eq!(browser.eval(refused), true, "texts never become HTML");
    browser.eval(
        "document.body.append(Object.assign(document.createElement('img'), { src: 'http://127.0.0.1:9/x.png' }))",
    );
    browser.eval("fetch('http://127.0.0.1:9/').catch(() => 0)");
    let refused = |browser: &mut Browser| browser.errors().len() >= 3;
    browser.wait("the browser refuses both", |browser| refused(browser).then_some(()));
}
