//! The figures of the page are those of the server: marks, caps and their places on the scale, comparisons, versions.

use plimsoll_tests::{Server, Site, guest, guests_config, stamped};
use serde_json::{Value, json};

use super::{check_clean, digit, show, unlocked};
use crate::browser::Browser;
use crate::shadow::settled;
use crate::steps_pipelines::{GATHER, IN, config, rows};

/// A number of bytes as the page writes it.
fn bytes(count: u64) -> String {
    let (unit, name) = match count {
        0..1024 => return format!("{count} B"),
        1024..0x10_0000 => (10, "KiB"),
        0x10_0000..0x4000_0000 => (20, "MiB"),
        _ => (30, "GiB"),
    };
    let value = count as f64 / f64::from(1 << unit);
    let digits = if unit == 10 || value >= 100.0 || value.fract() == 0.0 {
        0
    } else if value < 10.0 {
        2
    } else {
        1
    };
    format!("{value:.digits$} {name}")
}

/// The place of a number of bytes on the logarithmic scale of the page, in percent.
fn place(value: u64, most: u64) -> f64 {
    let steps = |value: u64| (value as f64 / 65536.0).log2();
    (100.0 * steps(value.max(65536)) / steps(most.max(131_072))).clamp(0.0, 100.0)
}

/// What the table of water lines shows of each row: the texts of its cells, and the places of the marks.
fn shown(browser: &mut Browser) -> Vec<Value> {
    let script = "[...[...document.querySelectorAll('caption')].find((it) => it.textContent === 'Water lines').parentElement.tBodies[0].rows]\
                  .map((row) => ({ cells: [...row.cells].map((cell) => cell.innerText.split('\\n').map((line) => line.trim()).filter(Boolean)), \
                  alarm: row.querySelector('.water').classList.contains('alarm'), \
                  places: Object.fromEntries(['cap', 'max', 'median', 'recommended'].map((name) => \
                  [name, parseFloat(row.querySelector(`.water i.${name}`)?.style.left ?? '-1')])) }))";
    browser.eval(script).as_array().expect("rows").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_water_lines_are_those_of_the_report_and_only_a_met_cap_is_red() {
    let server = Server::start(&guests_config("tester", "max_memory = \"32MiB\"")).await;
    for query in ["?do=ok", "?do=alloc&bytes=1000000", "?do=alloc&bytes=1200000", "?do=invalid"] {
        server.infer("p", query, "").await;
    }
    let Some(mut browser) = unlocked(&server, "overview") else { return };
    browser.find("table", "Water lines");
    browser.click("radio", "since start");
    browser.wait("four rows", |browser| (shown(browser).len() == 4).then_some(()));
    assert!(shown(&mut browser).iter().all(|row| row["alarm"] == false), "{:?}", shown(&mut browser));
    assert_eq!(server.infer("p", "?do=grow", "").await.code(), "memory_limit");
    let rows = browser.wait("a red row", |browser| {
        let rows = shown(browser);
        rows.iter().any(|row| row["alarm"] == true).then_some(rows)
    });
    let report = server.get("/v1/memory").await.json();
    let stages = report["stages"].as_array().expect("rows");
    assert_eq!(rows.len(), stages.len(), "{rows:?}");
    let most = stages.iter().filter_map(|row| row["max_memory"].as_u64()).max().expect("a cap");
    for (row, stage) in rows.iter().zip(stages) {
        let number = |name: &str| stage[name].as_u64().expect("a number");
        let cell = |at: usize| row["cells"][at][0].as_str().expect("text").to_owned();
        let wanted = [bytes(number("p50")), bytes(number("p99")), bytes(number("max")), bytes(number("max_memory"))];
        assert_eq!([3, 4, 5, 6].map(cell), wanted, "{row} {stage}");
        assert_eq!(
            (cell(0), cell(7)),
            (stage["stage"].as_str().expect("text").to_owned(), number("count").to_string())
        );
        for (mark, figure) in [("cap", "max_memory"), ("max", "max"), ("median", "p50")] {
            let found = row["places"][mark].as_f64().expect("a number");
            assert!((found - place(number(figure), most)).abs() < 0.01, "{mark}: {row} {stage}");
        }
        assert_eq!(row["alarm"], stage["outcome"] == "memory_limit", "{row}");
        let advice = report["advice"].as_array().expect("advice").iter();
        let advice = advice.clone().find(|it| it["stage"] == stage["stage"] && it["digest"] == stage["digest"]);
        let recommended = advice.expect("advice for each stage")["recommended"].as_u64().expect("a number");
        assert_eq!(row["cells"][6][1], format!("try {}", bytes(recommended)), "{row}");
        let found = row["places"]["recommended"].as_f64().expect("a number");
        assert!((found - place(recommended, most)).abs() < 0.01, "{recommended}: {row}");
    }
    assert_eq!(rows.iter().filter(|row| row["alarm"] == true).count(), 1, "{rows:?}");
    // The row leads to the comparison that can tell, with the sentence and the difference of the report.
    browser.eval("document.querySelector('.water.alarm').closest('tr').querySelector('a').click()");
    browser.find("heading", "Compare");
    let compared = server.get("/v1/memory/compare?by=outcome&pipeline=p").await.json();
    let sentences =
        compared["stages"].as_array().expect("stages").iter().flat_map(|it| it["pairs"].as_array().expect("pairs"));
    let sentences: Vec<_> = sentences.map(|pair| pair["sentence"].as_str().expect("text").to_owned()).collect();
    assert!(!sentences.is_empty(), "{compared}");
    for sentence in sentences {
        browser.wait_for_text(&sentence);
    }
    check_clean(&mut browser, &server);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outputs_of_a_shadow_chip_are_compared_on_the_page() {
    let shadow = "[pipelines.digits]\nshadow = { chip = \"wasm\", share = \"100%\" }";
    let server = Server::start(&plimsoll::config::DEMO.replace("[pipelines.digits]", shadow)).await;
    digit(&server, "native").await;
    let Some(mut browser) = unlocked(&server, "compare") else { return };
    browser.click("radio", "shadow chips");
    browser.wait_for_text("digits: wasm also computes 100.0 % of the requests of native.");
    browser.wait_for_text("1 runs compared");
    browser.find("table", "Differences of the outputs of native and wasm in digits");
    let report = server.get("/v1/chips/compare").await.json();
    let output = &report["comparisons"][0]["outputs"][0];
    browser.wait_for_text(output["name"].as_str().expect("text"));
    let cells = browser.eval("[...document.querySelector('main tbody tr').cells].map((cell) => cell.innerText)");
    let largest = cells[3].as_str().and_then(|text| text.parse::<f64>().ok()).expect("a number");
    let wanted = output["relative"]["max"].as_f64().expect("a number");
    assert!((largest - wanted).abs() <= wanted * 0.01, "{cells} {output}");
    assert_eq!((&cells[1], &cells[4]), (&json!("1"), &json!("100.00 %")), "{cells}");
    check_clean(&mut browser, &server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_version_has_its_reason_and_an_unused_plugin_is_retired() {
    let site = Site::new("");
    let server = site.serve().await;
    let spare = std::fs::read(guest("noop-infer")).expect("built");
    assert_eq!(server.send("PUT", "/v1/plugins/spare", &[], spare).await.status, 200);
    let wrong = std::fs::read(guest("leaker")).expect("built");
    assert_eq!(server.send("PUT", "/v1/plugins/stamp", &[], wrong).await.status, 422);
    let rejected = server.wait_for_state("stamp", "refused").await;
    let Some(mut browser) = unlocked(&server, "deployments") else { return };
    browser.find("table", "Versions of stamp");
    let reasons = browser.eval("[...document.querySelectorAll('tr.refused')].map((row) => row.cells[7].textContent)");
    assert_eq!(reasons, json!([rejected["reason"]]));
    assert!(rejected["reason"].as_str().expect("text").contains("not a plugin of kind"), "{rejected}");
    let states = browser.eval(
        "[...document.querySelectorAll('[aria-label=\"stamp\"] tbody tr')].map((row) => row.cells[0].textContent)",
    );
    assert_eq!(states, json!(["serving", "refused"]));
    browser.click("button", "Retire: spare");
    browser.click("button", "Retire");
    browser.wait("it is retired", |browser| browser.all("button", "Retire: spare").is_empty().then_some(()));
    let view = server.get("/v1/plugins/spare").await;
    assert!(view.status == 404 || view.json()["version"].is_null(), "{}", view.text);
    assert_eq!(server.infer("p", "", "").await.text, plimsoll_tests::stamped_reply(0));
    // The same file again, now by mouse, is not needed: the table shows what the server says of each version.
    assert_eq!(server.send("PUT", "/v1/plugins/stamp", &[], stamped(1)).await.status, 200);
    browser.wait("two versions more", |browser| {
        let rows = browser.eval("document.querySelectorAll('[aria-label=\"stamp\"] tbody tr').length");
        (rows == 3).then_some(())
    });
    show(&mut browser, "Reference");
    let config = server.get("/v1/config").await.json();
    for (name, version) in config["versions"].as_object().expect("versions") {
        browser.wait_for_text(&format!("{name}\n{}", version.as_str().expect("text")));
    }
    let shown = browser.eval("document.querySelector('pre[aria-label=Configuration]').textContent");
    assert_eq!(shown, config["toml"], "the configuration in force");
    assert!(shown.as_str().expect("text").contains("[pipelines.p"), "{shown}");
    check_clean(&mut browser, &server);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outputs_of_a_shadow_of_a_step_are_compared_on_the_page() {
    let split =
        r#"{ name = "split", kind = "transform", plugin = "transformer", items = true, config = { split = true } }"#;
    let model = r#"{ name = "model", kind = "infer", chips = { a = { plugin = "echo-infer" }, b = { plugin = "echo-infer", config = { parameter = "b" } } }, shadow = { chip = "b", share = "100%" } }"#;
    let server = Server::start(&config("default_chip = \"a\"", &[IN, split, model, GATHER])).await;
    for query in ["", "?b=panic"] {
        assert_eq!(server.infer("p", query, rows(3)).await.status, 200, "{query}");
    }
    settled(&server, 6).await;
    let Some(mut browser) = unlocked(&server, "compare") else { return };
    browser.click("radio", "shadow chips");
    browser.wait_for_text("p · model: b also computes 100.0 % of the runs of a.");
    browser.wait_for_text("3 runs compared");
    browser.wait_for_text("3 failed (trap).");
    browser.find("table", "Differences of the outputs of a and b in p · model");
    check_clean(&mut browser, &server);
}
