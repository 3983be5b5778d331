//! `host/docs/configuration.md` has exactly the keys that the host reads, and their defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use plimsoll::config::{Config, DEMO};
use plimsoll_tests::Site;

use crate::documents::{Page, codes};

/// Tables of the configuration as the page names them, each with a text that puts an unknown key into it.
const TABLES: [(&str, &str); 20] = [
    ("", "wrong_key = 1\n"),
    ("[server]", "[server]\nwrong_key = 1\n"),
    ("[deploy]", "[deploy]\nwrong_key = 1\n"),
    ("[admin]", "[admin]\nwrong_key = 1\n"),
    ("[auth]", "[auth]\nwrong_key = 1\n"),
    ("[tls]", "[tls]\nwrong_key = 1\n"),
    ("[telemetry]", "[telemetry]\nwrong_key = 1\n"),
    ("[fleet]", "[fleet]\nwrong_key = 1\n"),
    ("[memory]", "[memory]\nwrong_key = 1\n"),
    ("[backends.onnxruntime]", ""),
    ("[chips.NAME]", "[chips.c]\nwrong_key = 1\n"),
    ("[plugins.NAME]", "[plugins.p]\nwrong_key = 1\n"),
    ("[models.NAME]", "[models.m]\nwrong_key = 1\n"),
    ("[pipelines.NAME]", "[pipelines.p]\nwrong_key = 1\n"),
    ("a stage", "[pipelines.p.preprocess]\nwrong_key = 1\n"),
    ("a step", "[pipelines.p]\nsteps = [{ wrong_key = 1 }]\n"),
    ("[pipelines.NAME.record]", "[pipelines.p.record]\nwrong_key = 1\n"),
    ("[pipelines.NAME.capture]", "[pipelines.p.capture]\nwrong_key = 1\n"),
    ("[pipelines.NAME.canary]", "[pipelines.p]\ncanary = { wrong_key = 1 }\n"),
    ("[pipelines.NAME.shadow]", "[pipelines.p]\nshadow = { wrong_key = 1 }\n"),
];

/// The names in the message about an unknown key: "unknown field `wrong_key`, expected one of `a`, `b`".
fn expected(message: &str) -> BTreeSet<String> {
    let (_, names) = message.split_once("unknown field `wrong_key`, expected ").unwrap_or_else(|| panic!("{message}"));
    let names = names.lines().next().expect("a line");
    codes(names).into_iter().map(str::to_owned).collect()
}

/// The keys of the first table of the page, by the table of the configuration.
pub(crate) fn documented(page: &Page) -> BTreeMap<String, BTreeSet<String>> {
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut table = String::new();
    let rows = page.rows();
    let rows = rows.iter().skip_while(|row| row[0] != "key").skip(2).take_while(|row| row[0] != "key");
    for row in rows {
        if let Some(name) = row[0].strip_prefix("**").and_then(|name| name.strip_suffix("**")) {
            name.trim_matches('`').clone_into(&mut table);
            tables.entry(table.clone()).or_default();
            continue;
        }
        let keys = tables.entry(table.clone()).or_default();
        for key in codes(&row[0]) {
            let key = key.strip_suffix(".NAME").unwrap_or(key);
            assert!(keys.insert(key.to_owned()), "{table} {key} is there twice");
        }
    }
    tables
}

#[tokio::test]
async fn the_keys_of_the_documents_are_those_of_the_host() {
    let page = Page::read("host/docs/configuration.md");
    let mut documented = documented(&page);
    // The tables at the top of the file have rows of their own.
    let top: BTreeSet<String> = documented.keys().filter_map(|name| name.strip_prefix('[')).map(top_key).collect();
    documented.entry(String::new()).or_default().extend(top);
    let mut unknown = Vec::new();
    for (name, text) in TABLES {
        // The settings of a backend are read when a model uses it.
        let text = match name {
            "[backends.onnxruntime]" => {
                let demo = DEMO.replace("digits.onnx\"", "digits.onnx\"\nbackend = \"onnxruntime\"");
                format!("{demo}{name}\nwrong_key = 1\n")
            }
            _ => text.to_owned(),
        };
        let message = plimsoll_tests::Server::rejection(&text).await;
        let keys = documented.remove(name).unwrap_or_default();
        let read = expected(&message);
        unknown.extend(read.difference(&keys).map(|key| format!("the page has no row for {name} `{key}`")));
        unknown.extend(keys.difference(&read).map(|key| format!("the host does not read {name} `{key}`")));
    }
    unknown.extend(documented.keys().map(|name| format!("the host has no table {name}")));
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// The name at the top of the file: `pipelines` for `pipelines.NAME]`.
fn top_key(table: &str) -> String {
    table.split(['.', ']']).next().expect("a name").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_manifest_are_those_of_the_documents() {
    let site = Site::new("");
    std::fs::write(site.folder.path().join("plugins/stamp.toml"), "wrong_key = 1\n").expect("written");
    let config = Config::load(Some(&site.config)).expect("valid");
    let error = plimsoll::serve::App::build(&config).await.err().expect("the manifest is rejected").to_string();
    let page = Page::read("host/docs/configuration.md");
    let rows = page.rows();
    let start = rows.iter().rposition(|row| row[0] == "key").expect("the last table");
    let keys: BTreeSet<String> = rows[start + 2..].iter().flat_map(|row| codes(&row[0])).map(str::to_owned).collect();
    assert_eq!(expected(&error), keys);
}

/// A cell of the page as a value of TOML. `None` if it is a description.
fn value(cell: &str) -> Option<String> {
    let is_plain = cell.parse::<f64>().is_ok() || cell.parse::<bool>().is_ok();
    match cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')) {
        Some(text) => (!text.contains('`')).then(|| format!("{text:?}")),
        None => is_plain.then(|| cell.to_owned()),
    }
}

/// A configuration that states the defaults of the page is the one that states nothing.
#[test]
fn the_defaults_of_the_documents_are_those_of_the_host() {
    let parse = |text: &str| {
        let config = Config::parse(text, Path::new("plimsoll.toml"));
        format!("{:?}", config.unwrap_or_else(|error| panic!("{error}\n{text}")))
    };
    let page = Page::read("host/docs/configuration.md");
    let mut stated = 0;
    for (table, place) in [
        ("`[server]`", "[server]"),
        ("`[deploy]`", "[deploy]"),
        ("`[memory]`", "[memory]"),
        ("`[pipelines.NAME.record]`", "[pipelines.digits.record]"),
    ] {
        let rows = page.rows();
        let rows = rows.iter().skip_while(|row| row[0] != format!("**{table}**")).skip(1);
        let empty = format!("{DEMO}\n{place}\n");
        for row in rows.take_while(|row| !row[0].starts_with("**")) {
            let (keys, cells) = (codes(&row[0]), row[1].split(", ").collect::<Vec<_>>());
            for (key, cell) in keys.iter().zip(&cells).filter(|_| keys.len() == cells.len()) {
                let Some(value) = value(cell) else { continue };
                stated += 1;
                assert_eq!(parse(&format!("{empty}{key} = {value}\n")), parse(&empty), "{table} {key}");
            }
        }
    }
    assert!(stated > 25, "{stated} defaults");
}
