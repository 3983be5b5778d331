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

/// Replies of plugins with any form, and reasons of rejected versions, are shown as text.
#[tokio::test(flavor = "multi_thread")]
async fn replies_of_any_form_and_reasons_are_only_text() {
    let server = demo().await;
    let evil = "<img src=x onerror=window.hacked=1>";
    // The message of the parser has the name of the section.
    let name = [&[evil.len() as u8][..], evil.as_bytes()].concat();
    let section = [&[0, name.len() as u8][..], &name].concat();
    let put = server.send("PUT", "/v1/plugins/bad?version=1", &[], [b"\0asm\x0d\0\x01\0", &section[..]].concat()).await;
    assert_eq!(put.status, 422, "{}", put.text);
    let Some(mut browser) = unlocked(&server, "deployments") else { return };
    browser.wait_for_text("refused");
    show(&mut browser, "Try it");
    browser.find("combobox", "Pipeline");
    let text = json!(evil);
    let replies = [
        json!({ "detections": 5 }),
        json!({ "detections": [null] }),
        json!({ "detections": [{ "label": evil, "box": "x" }] }),
        json!({ "predictions": { "label": evil } }),
        json!({ "predictions": [{ "label": evil, "probability": evil }] }),
        json!({ "embedding": [evil] }),
        json!({ "segments": [{ "label": evil, "rle": { "counts": evil } }], "width": 1e9, "height": 1e9 }),
        json!([evil]),
        text.clone(),
    ];
    let show_reply = |reply: String| {
        format!(
            "import('/console/try-result.js').then(({{ shownReply }}) => {{ const reply = {{ chip: 'native', status: 200, \
             milliseconds: 1, marks: {{}}, times: {{}}, plugins: {{}}, headers: [['x', {text}]], {reply} }}; \
             const parts = [shownReply(reply, {{ chips: {{}}, preprocess: null, postprocess: null }}, \
             URL.createObjectURL(new Blob()))].flat(Infinity); \
             document.querySelector('#results').replaceChildren(...parts.filter(Boolean)); \
             return document.querySelector('#results').textContent; }})"
        )
    };
    for reply in replies {
        let shown = browser.eval(&show_reply(format!("type: 'application/json', json: {reply}")));
        // The header is below the reply.
        assert!(shown.as_str().expect("text").contains(evil), "{reply}: {shown}");
    }
    for kind in ["text/html", "image/svg+xml", "text/xml"] {
        let markup = json!(format!("<svg xmlns='http://www.w3.org/2000/svg' onload='window.hacked=1'>{evil}</svg>"));
        browser.eval(&show_reply(format!("type: '{kind}', text: {markup}")));
        browser.wait_for_text("onload='window.hacked=1'");
    }
    assert_eq!(
        browser.eval("[typeof window.hacked, document.querySelectorAll('[src=x], [onerror], [onload]').length]"),
        json!(["undefined", 0])
    );
    // A plugin can reply with any number of results.
    for (reply, drawn) in [
        (
            "{ detections: Array(3000).fill({ label: 'a', score: 1, box: [0, 0, 1, 1] }), width: 9, height: 9 }",
            ".found li",
        ),
        ("{ predictions: Array(3000).fill({ label: 'a', probability: 0.1 }) }", ".bars li"),
        ("{ items: Array(3000).fill({ text: 'a' }) }", ".found li"),
    ] {
        let shown = browser.eval(&show_reply(format!("type: 'application/json', json: {reply}")));
        assert!(shown.as_str().expect("text").contains("Only the first 1000 results are shown."), "{reply}");
        assert_eq!(browser.eval(&format!("document.querySelectorAll('{drawn}').length")), 1000, "{reply}");
    }
    assert_eq!(browser.errors(), Vec::<serde_json::Value>::new());
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
    for directive in ["img-src", "connect-src", "TrustedHTML"] {
        browser.wait(&format!("the browser refuses what {directive} forbids"), |browser| {
            browser.errors().iter().any(|error| error.to_string().contains(directive)).then_some(())
        });
    }
}
