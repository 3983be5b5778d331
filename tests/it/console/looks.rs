//! How the screens look: accessibility by axe-core, narrow windows, and screenshots in `target/console`.

use std::path::{Path, PathBuf};

use plimsoll_tests::{Server, another_version, data, guest};
use serde_json::Value;

use super::faces::Faces;
use super::{check_clean, choose, show, unlocked};
use crate::browser::Browser;

const SCREENS: [&str; 7] =
    ["Overview", "Try it", "Deployments", "Compare", "Recordings and leaks", "Requests", "Reference"];

/// What is wider than the window: the page, and tables whose cells do not fit into their region.
const TOO_WIDE: &str = "(() => { const page = document.documentElement; \
    return [...(page.scrollWidth > page.clientWidth ? [`the page has ${page.scrollWidth} pixels`] : []), \
    ...[...document.querySelectorAll('.scroll')].filter((it) => it.scrollWidth > it.clientWidth + 1) \
    .map((it) => `${it.ariaLabel}: ${it.scrollWidth} of ${it.clientWidth}`)]; })()";

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

/// A server with something to see on every screen.
async fn busy(faces: &Faces) -> Server {
    let file = |name: &str| format!("[plugins.{name}]\nfile = {:?}\n", guest(name));
    let guests = format!(
        "{}{}{}[pipelines.trouble.preprocess]\nplugin = \"tester\"\nmax_memory = \"8MiB\"\n\
         [pipelines.trouble.chips.echo]\nplugin = \"echo-infer\"\n[pipelines.trouble.postprocess]\nplugin = \"echo-postprocess\"\n\
         [pipelines.trouble.record]\ndir = {:?}\n",
        file("tester"),
        file("echo-infer"),
        file("echo-postprocess"),
        faces.folder.path().join("recordings"),
    );
    let demo =
        plimsoll::config::DEMO.replace("default_chip", "canary = { share = \"30%\", requests = 500 }\ndefault_chip");
    let server = Server::start(&format!("{demo}\n{}\n{guests}", faces.config())).await;
    let body = std::fs::read(data("digits/7.jpg")).expect("a picture");
    let picture = std::fs::read(&faces.picture).expect("a picture");
    let component = plimsoll::base::bundled::plugin("classify-postprocess").expect("shipped");
    let put =
        server.send("PUT", "/v1/plugins/classify-postprocess?version=0.2.0", &[], another_version(component, 1)).await;
    assert_eq!(put.status, 200, "{}", put.text);
    for turn in 0..60 {
        for chip in ["native", "wasm"] {
            server.infer("digits", &format!("?chip={chip}"), body.clone()).await;
        }
        server.infer("faces", "", picture.clone()).await;
        if turn % 8 == 0 {
            server.infer("digits", "", "no image").await;
        }
        if turn % 20 == 0 {
            for what in ["grow", "panic", "alloc&bytes=3000000", "ok"] {
                server.infer("trouble", &format!("?do={what}"), body.clone()).await;
            }
        }
    }
    server
}

/// Shows a screen with what a visitor would look at.
fn visit(browser: &mut Browser, screen: &str, faces: &Faces) {
    show(browser, screen);
    match screen {
        "Overview" => drop(browser.find("table", "Water lines")),
        "Try it" => {
            browser.find("combobox", "Pipeline");
            if browser.all("table", "Stages on native").is_empty() {
                browser.eval("pipeline.value = 'faces'; pipeline.dispatchEvent(new Event('change'))");
                choose(browser, &faces.picture);
            }
            browser.find("table", "Stages on native");
        }
        "Deployments" => drop(browser.find("region", "Canary in digits")),
        "Compare" => browser.wait_for_text("Mean high-water marks of digits"),
        "Recordings and leaks" => browser.wait_for_text("memory_limit"),
        "Requests" => browser.wait_for_text("trap"),
        _ => drop(browser.find("heading", "Routes")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_screen_is_accessible_fits_into_narrow_windows_and_has_a_screenshot() {
    let faces = Faces::new("face");
    let server = busy(&faces).await;
    let Some(mut browser) = unlocked(&server, "overview") else { return };
    let axe = std::fs::read_to_string(target().join("axe/axe_playwright_python/axe.min.js"));
    if axe.is_err() {
        plimsoll_tests::skip(
            "axe-core is missing: python3 -m pip install --no-deps --target target/axe axe-playwright-python==0.1.8",
        );
    }
    let folder = target().join("console");
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut found = Vec::new();
    for colours in ["light", "dark"] {
        browser.colours(colours);
        if let Ok(axe) = &axe {
            // The form for the token, in a page that does not have it.
            if let Some(mut locked) = Browser::start() {
                locked.colours(colours);
                locked.open(&format!("{}/#/overview", server.url));
                locked.find("textbox", "Administration token");
                found.extend(
                    violations(&mut locked, axe).into_iter().map(|text| format!("token form, {colours}: {text}")),
                );
            }
            // A question before a change.
            show(&mut browser, "Deployments");
            browser.click("button", "End the canary: classify-postprocess");
            browser.find("dialog", "");
            found.extend(violations(&mut browser, axe).into_iter().map(|text| format!("dialog, {colours}: {text}")));
            std::fs::write(folder.join(format!("dialog-{colours}.png")), browser.screenshot()).expect("written");
            browser.click("button", "Cancel");
        }
        for screen in SCREENS {
            browser.size(1400, 1000);
            visit(&mut browser, screen, &faces);
            let name = format!("{}-{colours}", screen.to_lowercase().replace(' ', "-"));
            std::fs::write(folder.join(format!("{name}.png")), browser.screenshot()).expect("written");
            if let Ok(axe) = &axe {
                found.extend(
                    violations(&mut browser, axe).into_iter().map(|text| format!("{screen}, {colours}: {text}")),
                );
            }
            // 200 % in a window of 1400 pixels, a usual screen, and 4K.
            for (width, height, zoom) in [(1400, 1000, 2), (1920, 1080, 1), (3840, 2160, 1), (320, 800, 1)] {
                browser.zoom(width, height, zoom);
                let wide = browser.eval(TOO_WIDE);
                if wide != serde_json::json!([]) {
                    found.push(format!("{screen} in a window of {width} pixels at {zoom}00 %: {wide}"));
                }
            }
            std::fs::write(folder.join(format!("{name}-narrow.png")), browser.screenshot()).expect("written");
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    check_clean(&mut browser, &server);
}

/// What axe-core finds, with the elements.
fn violations(browser: &mut Browser, axe: &str) -> Vec<String> {
    if browser.eval("typeof axe") == "undefined" {
        browser.call("Runtime.evaluate", serde_json::json!({ "expression": axe }));
    }
    let found = browser.eval(
        "axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] }).then(({ violations }) => \
         violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, nodes: nodes.slice(0, 3).map(({ html, any }) => \
         `${html.slice(0, 160)} ${any[0]?.message ?? ''}`) })))",
    );
    found.as_array().expect("a list").iter().map(Value::to_string).collect()
}
