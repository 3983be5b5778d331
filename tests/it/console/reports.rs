//! What the page shows of other programs' files, and commands that it offers: they are run here as they stand.

use std::path::Path;
use std::process::Command;

use plimsoll_tests::{TempDir, data, guest, made_token, shared_cache};
use serde_json::Value;

use super::{choose, demo, unlock};
use crate::browser::Browser;
use crate::leak::{Laboratory, corpus};
use crate::process::BINARY;
use crate::served_folder::ServedFolder;

/// A folder with the demo and `more`, and a process that serves it.
fn served(more: &str) -> (TempDir, ServedFolder) {
    let folder = TempDir::new().expect("a folder");
    let config = format!("cache_dir = {:?}\n{}\n{more}", shared_cache(), plimsoll::config::DEMO);
    std::fs::write(folder.path().join("plimsoll.toml"), config).expect("written");
    let served = ServedFolder::serve(folder.path(), &[]);
    (folder, served)
}

/// The text that can be copied under this name.
fn copyable(browser: &mut Browser, name: &str) -> String {
    let script = format!("document.querySelector('pre[aria-label^={}]')?.textContent ?? null", serde_json::json!(name));
    browser.wait(name, |browser| browser.eval(&script).as_str().map(str::to_owned))
}

/// Runs a command of the page in a shell. `plimsoll` is the program under test.
fn shell(folder: &Path, command: &str) -> (bool, Vec<u8>, String) {
    let programs = TempDir::new().expect("a folder");
    std::os::unix::fs::symlink(BINARY, programs.path().join("plimsoll")).expect("a link");
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh").args(["-c", command]).current_dir(folder).env("PATH", path).output();
    let output = output.expect("a shell");
    (output.status.success(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_image_is_shown_and_the_offered_command_runs_it_again() {
    let (folder, served) = served("[pipelines.digits.record]\n");
    let picture = std::fs::read(data("digits/7.jpg")).expect("a picture");
    let url = format!("{}/v1/pipelines/digits/infer", served.url);
    let reply = reqwest::Client::new().post(url).body(picture).send().await.expect("a reply");
    assert_eq!(reply.status(), 200);
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&format!("{}/#/recordings", served.url));
    unlock(&mut browser, &made_token(folder.path()));
    browser.wait_for_text("high_water preprocess");
    let id = "document.querySelector('.recording')?.getAttribute('aria-label')?.replace('Recording ', '')";
    let id = browser.eval(id).as_str().expect("an id").to_owned();
    assert_eq!(browser.eval("document.querySelectorAll('.thumbnail img').length"), 0, "only if somebody asks for it");
    browser.click("button", &format!("Show the input {id}"));
    browser.wait("the thumbnail", |browser| {
        let widths = browser.eval("[...document.querySelectorAll('.thumbnail img')].map((it) => it.naturalWidth)");
        (widths.as_array().is_some_and(|widths| widths.len() == 1) && widths[0].as_u64() > Some(0)).then_some(())
    });
    let command = copyable(&mut browser, "Replay of digits");
    let other = TempDir::new().expect("a folder");
    let (is_done, printed, log) = shell(other.path(), &command);
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(is_done, "{command}: {printed}{log}");
    for stage in ["preprocess", "infer", "postprocess"] {
        assert!(printed.lines().any(|line| line.contains(stage) && line.matches(" ok ").count() == 2), "{printed}");
    }
    assert_eq!(browser.errors(), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_the_leak_laboratory_is_shown_with_its_charts_and_holders() {
    let corpus = corpus();
    let laboratory = Laboratory::new();
    let output = laboratory.run(&guest("large_images"), corpus.path(), &[]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let (folder, served) = served("");
    let place = folder.path().join(".plimsoll/leak-reports/large");
    std::fs::create_dir_all(&place).expect("a folder");
    for file in std::fs::read_dir(laboratory.out("")).expect("a report") {
        let file = file.expect("an entry");
        std::fs::copy(file.path(), place.join(file.file_name())).expect("copied");
    }
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&format!("{}/#/recordings", served.url));
    unlock(&mut browser, &made_token(folder.path()));
    browser.find("region", "Leak report large");
    browser.find("table", "Leaks of large");
    let report = laboratory.report();
    let leaks = report["leaks"].as_array().expect("leaks");
    assert!(!leaks.is_empty(), "{report}");
    for leak in leaks {
        browser.wait_for_text(leak["place"].as_str().expect("text"));
        let holder = leak["holders"][0].as_str().expect("what holds the memory");
        browser.wait_for_text(holder);
        assert!(holder.contains("large_images::PREVIEWS"), "{leak}");
    }
    browser.click("button", "Show the charts of large");
    browser.wait("both charts", |browser| {
        let widths = browser.eval("[...document.querySelectorAll('img.chart')].map((it) => it.naturalWidth)");
        let widths = widths.as_array().cloned().unwrap_or_default();
        (widths.len() == 2 && widths.iter().all(|width| width.as_u64() > Some(100))).then_some(())
    });
    // The chain from the static to the survivors, as in the file.
    browser.find("region", "What holds the memory of large");
    let chains = browser.eval(
        "[...document.querySelectorAll('.chain > li')].map((root) => [root.querySelector('strong').textContent, \
         [...root.querySelectorAll('li')].filter((it) => !it.querySelector('li')).map((it) => it.textContent)])",
    );
    let dot = std::fs::read_to_string(place.join("retention.dot")).expect("a graph");
    let chains = chains.as_array().expect("a list");
    let root =
        chains.iter().find(|chain| chain[0].as_str().is_some_and(|root| root.contains("large_images::PREVIEWS")));
    let root = root.unwrap_or_else(|| panic!("{chains:?}\n{dot}"));
    let survivors = root[1].as_array().expect("what it holds");
    assert!(
        !survivors.is_empty() && survivors.iter().all(|it| it.as_str().is_some_and(|it| it.contains("allocated by:"))),
        "{root}"
    );
    let steps = browser.eval("document.querySelectorAll('.chain li').length");
    assert_eq!(steps.as_u64(), Some(dot.matches("[label=").count() as u64), "{dot}");
    assert_eq!(browser.errors(), Vec::<Value>::new());
}

/// The same request in other languages gets the same reply.
#[tokio::test(flavor = "multi_thread")]
async fn the_offered_requests_run_as_they_stand() {
    let server = demo().await;
    let folder = TempDir::new().expect("a folder");
    // A name with which a careless text would do something else.
    let picture = folder.path().join("a 'seven' $(x) \"7\".jpg");
    std::fs::copy(data("digits/7.jpg"), &picture).expect("copied");
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&format!("{}/#/try", server.url));
    choose(&mut browser, &picture);
    browser.wait_for_text("native, wasm agree");
    let bytes = std::fs::read(&picture).expect("a picture");
    let wanted = server.infer("digits", "?chip=native", bytes).await.json();
    for (language, program, file) in
        [("curl", "curl", "request.sh"), ("Python", "python3", "request.py"), ("JavaScript", "node", "request.mjs")]
    {
        let text = copyable(&mut browser, language);
        if !Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success()) {
            plimsoll_tests::skip(&format!("{program} is missing, so the request for {language} is not run"));
            continue;
        }
        std::fs::write(folder.path().join(file), &text).expect("written");
        let runner = if language == "curl" { "sh" } else { program };
        let (is_done, printed, log) = shell(folder.path(), &format!("exec {runner} {file}"));
        assert!(is_done, "{text}\n{log}");
        let reply: Value = serde_json::from_slice(&printed).unwrap_or_else(|error| panic!("{error}: {text}\n{log}"));
        assert_eq!(reply, wanted, "{text}");
    }
}
