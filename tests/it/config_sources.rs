//! `plimsoll config`, and settings from environment variables: the real binary.

use std::path::Path;
use std::process::{Command, Output};

use plimsoll_tests::{TempDir, guests_config};
use serde_json::Value;

use crate::cli::{Served, text};
use crate::deploy_files::python;
use crate::documents::{Page, pages};
use crate::documents_keys::documented;
use crate::process::BINARY;

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_remove("RUST_LOG").envs(variables.iter().copied()).output().expect("the binary starts")
}

/// A file with a pipeline `my-pipe` of guests, a list of addresses and a secret.
fn file(folder: &Path) -> String {
    let more = "config = { width = 8, api_key = \"very-secret\" }\nmax_memory = \"32MiB\"";
    let guests = guests_config("tester", more).replace("pipelines.p.", "pipelines.my-pipe.");
    let server = "[server]\nlisten = [\"127.0.0.1:0\", \"unix:a.sock\"]\nmax_queue = 7\nmax_body = 1000001\n\
        [pipelines.my-pipe]\ncanary = \"7%\"\n";
    let path = folder.join("plimsoll.toml");
    std::fs::write(&path, format!("{server}{guests}")).expect("written");
    path.to_str().expect("text").to_owned()
}

#[test]
fn config_show_prints_each_setting_with_its_source_and_masks_secrets() {
    let folder = TempDir::new().expect("a folder");
    let path = file(folder.path());
    let variables = [
        ("PLIMSOLL_SERVER__MAX_QUEUE", "16"),
        ("PLIMSOLL_PIPELINES__MY_PIPE__DEADLINE", "5s"),
        ("PLIMSOLL_CACHE_DIR", "/some/cache"),
        ("PLIMSOLL_DATA_DIR", "/some/data"),
        ("PLIMSOLL_ADMIN_TOKEN", "a-token-that-is-secret"),
    ];
    let output = run(&["config", "show", "--config", &path], &variables);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    let folder_text = folder.path().display();
    for (setting, source) in [
        ("server.max_queue = 16", "environment: PLIMSOLL_SERVER__MAX_QUEUE"),
        ("pipelines.my-pipe.deadline = \"5s\"", "environment: PLIMSOLL_PIPELINES__MY_PIPE__DEADLINE"),
        ("cache_dir = \"/some/cache\"", "environment: PLIMSOLL_CACHE_DIR"),
        ("data_dir = \"/some/data\"", "command line"),
        ("server.max_body = \"1000001B\"", "file"),
        ("server.body_budget = \"512MiB\"", "default"),
        ("server.drain = \"5s\"", "default"),
        ("pipelines.my-pipe.canary.share = \"7%\"", "file"),
        ("pipelines.my-pipe.preprocess.max_memory = \"32MiB\"", "file"),
        ("pipelines.my-pipe.preprocess.config.api_key = \"***\"", "file"),
        ("pipelines.my-pipe.preprocess.config.width = 8", "file"),
        ("memory.caller_header = \"x-plimsoll-caller\"", "default"),
        (&format!("plugin_dir = \"{folder_text}/plugins\""), "default"),
        (&format!("server.listen = [\"127.0.0.1:0\", \"unix:{folder_text}/a.sock\"]"), "file"),
    ] {
        let is_there = |line: &str| {
            line.split_once("  # ").is_some_and(|(left, right)| left.trim_end() == setting && right == source)
        };
        assert!(shown.lines().any(is_there), "{setting}  # {source} is not in\n{shown}");
    }
    assert!(shown.contains("# PLIMSOLL_ADMIN_TOKEN is set\n"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");

    // What it prints is a configuration with the same values.
    let again = folder.path().join("again.toml");
    std::fs::write(&again, shown.replace("***", "a-key")).expect("written");
    let output = run(&["config", "show", "--config", again.to_str().expect("text")], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let values = |shown: &str| -> Vec<String> {
        let settings = shown.lines().filter(|line| !line.starts_with('#'));
        settings.map(|line| line.split("  # ").next().expect("a setting").trim_end().to_owned()).collect()
    };
    assert_eq!(values(&text(&output.stdout)), values(&shown));
    assert!(text(&output.stdout).lines().skip(1).all(|line| line.ends_with("# file")), "{}", text(&output.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_takes_settings_from_its_environment_also_at_a_reload() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("plimsoll.toml");
    let write = |queue: u32| {
        let limits = format!("[server]\nmax_queue = {queue}\nmax_streams = {queue}\n[deploy]\npoll = \"50ms\"\n");
        std::fs::write(&path, limits + &guests_config("tester", "")).expect("written");
    };
    write(7);
    let mut command = Command::new(BINARY);
    command.args(["--log", "json", "serve", "--config"]).arg(&path);
    command.envs([("PLIMSOLL_SERVER__LISTEN", "127.0.0.1:0"), ("PLIMSOLL_SERVER__MAX_QUEUE", "5")]);
    command.env("PLIMSOLL_PIPELINES__P__MAX_QUEUE", "3");
    let served = Served::spawn(&mut command);
    let limit = async |name: &str| {
        let scrape =
            reqwest::get(format!("{}/metrics", served.url)).await.expect("a reply").text().await.expect("text");
        let line = scrape.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!(limit("plimsoll_requests_waiting_limit").await, "5");
    assert_eq!(limit("plimsoll_pipeline_requests_waiting_limit").await, "3");
    write(9);
    while limit("plimsoll_config_reloads_total").await != "1" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(limit("plimsoll_pipeline_requests_waiting_limit").await, "3");
    served.terminate();
    assert_eq!(served.wait_for_exit().0, Some(0));
}

#[test]
fn a_variable_that_is_no_setting_is_an_error_that_names_it() {
    let folder = TempDir::new().expect("a folder");
    let path = file(folder.path());
    for (name, value, reason) in [
        ("PLIMSOLL_SERVER__MAX_QUEU", "5", "unknown field `max_queu`"),
        ("PLIMSOLL_SERVR__MAX_QUEUE", "5", "unknown field `servr`"),
        ("PLIMSOLL_SERVER__MAX_QUEUE", "many", "expected u32"),
        ("PLIMSOLL_SERVER__", "5", "PLIMSOLL_TABLE__KEY"),
        ("PLIMSOLL_SERVER__LISTEN__PORT", "5", "not a table"),
    ] {
        let output = run(&["check", "--config", &path], &[("PLIMSOLL_SERVER__MAX_STREAMS", "16"), (name, value)]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{name}: {message}");
        assert!(message.contains(&format!("the environment variable {name}")) && message.contains(reason), "{message}");
    }
    // A mistake in the file has its line also with variables.
    std::fs::write(&path, "[server]\nmax_queu = 1\n").expect("written");
    let output = run(&["check", "--config", &path], &[("PLIMSOLL_SERVER__MAX_STREAMS", "16")]);
    assert!(text(&output.stderr).contains("line 2"), "{}", text(&output.stderr));
}

/// The properties of a part of the schema.
fn keys<'a>(schema: &'a Value, part: &'a Value) -> Vec<&'a str> {
    let part = resolve(schema, part);
    assert_eq!(part["additionalProperties"], false, "{part}");
    part["properties"].as_object().expect("properties").keys().map(String::as_str).collect()
}

/// Follows references, and takes the table of a value that may also be a text or a list.
fn resolve<'a>(schema: &'a Value, part: &'a Value) -> &'a Value {
    if let Some(reference) = part["$ref"].as_str() {
        return resolve(schema, schema.pointer(reference.trim_start_matches('#')).expect("it is there"));
    }
    let choices = [&part["anyOf"], &part["allOf"], &part["oneOf"]].into_iter().filter_map(Value::as_array).flatten();
    let mut tables = choices.map(|choice| resolve(schema, choice)).filter(|choice| choice["type"] == "object");
    tables.next().unwrap_or(part)
}

#[test]
fn the_schema_has_the_keys_of_the_documents() {
    let output = run(&["config", "schema"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let page = Page::read("host/docs/configuration.md");
    let mut compared = 0;
    for (table, wanted) in documented(&page) {
        let path: Vec<&str> = match table.as_str() {
            "" => continue,
            // Every backend has its own.
            "[backends.onnxruntime]" => continue,
            "a stage" => vec!["pipelines", "NAME", "preprocess"],
            "a step" => vec!["pipelines", "NAME", "steps"],
            other => other.trim_matches(['[', ']']).split('.').collect(),
        };
        let part = path.iter().fold(&schema, |part, name| {
            let part = resolve(&schema, part);
            if *name == "NAME" { &part["additionalProperties"] } else { &part["properties"][name] }
        });
        // The tables of a list are alike.
        let part = if part["type"] == "array" { &part["items"] } else { part };
        let mut found = keys(&schema, part);
        found.sort_unstable();
        assert_eq!(found, wanted.iter().map(String::as_str).collect::<Vec<_>>(), "{table}");
        compared += 1;
    }
    assert!(compared >= 13, "{compared} tables");
    let property = |table: &str, key: &str| resolve(&schema, &schema["properties"][table])["properties"][key].clone();
    assert!(property("server", "max_queue")["description"].as_str().is_some_and(|text| text.contains("queue")));
    assert_eq!(property("server", "max_queue")["default"], 256);
    assert_eq!(property("server", "body_budget")["default"], "512MiB");
    assert!(!schema.to_string().contains("\"null\""), "TOML has no null: {schema}");
}

/// With the package `jsonschema` of Python: the schema accepts every example, and refuses what the host refuses.
#[test]
fn the_schema_accepts_the_examples_and_refuses_mistakes() {
    let Some(python) = python() else { return };
    let folder = TempDir::new().expect("a folder");
    let schema = run(&["config", "schema"], &[]).stdout;
    std::fs::write(folder.path().join("schema.json"), schema).expect("written");
    let examples: Vec<String> = pages()
        .iter()
        .flat_map(|page| {
            page.blocks()
                .into_iter()
                .filter(|block| block.language == "ini")
                .map(|block| block.text)
                .collect::<Vec<_>>()
        })
        .chain([plimsoll::config::DEMO.to_owned(), std::fs::read_to_string(file(folder.path())).expect("text")])
        .collect();
    assert!(examples.len() > 5, "{} examples", examples.len());
    let stages = "[pipelines.p]\npreprocess = { plugin = \"a\" }\nchips.c = { plugin = \"b\" }\npostprocess = { plugin = \"c\" }\n";
    let wrong = [
        "[server]\nmax_queu = 1\n",
        "[server]\nmax_queue = \"many\"\n",
        "[server]\nmax_body = \"a lot\"\n",
        "[server]\ndrain = 5\n",
        "[server]\nlisten = []\n",
        "[tls]\ncert = \"a\"\n",
        "nonsense = 1\n",
    ];
    let wrong: Vec<String> = wrong.iter().map(|text| format!("{text}{stages}")).collect();
    for text in &wrong {
        assert!(plimsoll::config::Config::parse(text, Path::new("a.toml")).is_err(), "the host accepts {text}");
    }
    let cases = serde_json::json!({ "right": examples, "wrong": wrong, "stages": stages });
    std::fs::write(folder.path().join("cases.json"), cases.to_string()).expect("written");
    let script = "
import json, tomllib, jsonschema
schema = json.load(open('schema.json')); cases = json.load(open('cases.json'))
jsonschema.Draft7Validator.check_schema(schema)
check = jsonschema.Draft7Validator(schema)
for text in cases['right']:
    if '[pipelines' not in text: text += cases['stages']
    errors = [f'{list(e.path)}: {e.message}' for e in check.iter_errors(tomllib.loads(text))]
    assert not errors, (text, errors)
for text in cases['wrong']:
    assert list(check.iter_errors(tomllib.loads(text))), 'accepted: ' + text
";
    let output = Command::new(python).args(["-c", script]).current_dir(folder.path()).output().expect("python3");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn completions_and_manual_pages_are_written() {
    for (shell, words) in [("bash", "complete -F"), ("zsh", "#compdef plimsoll"), ("fish", "complete -c plimsoll")] {
        let output = run(&["completions", shell], &[]);
        let written = text(&output.stdout);
        assert!(
            output.status.success() && written.contains(words) && written.contains("rollback"),
            "{shell}: {written}"
        );
    }
    let bash = run(&["completions", "bash"], &[]).stdout;
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("completions"), bash).expect("written");
    let checked = Command::new("bash").arg("-n").arg(folder.path().join("completions")).output().expect("bash");
    assert!(checked.status.success(), "{}", text(&checked.stderr));

    let pages = folder.path().join("man");
    let output = run(&["man", pages.to_str().expect("text")], &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(read("plimsoll.1").contains(".TH"), "{}", read("plimsoll.1"));
    assert!(read("plimsoll-serve.1").contains("PLIMSOLL_LISTEN"), "{}", read("plimsoll-serve.1"));
    assert!(read("plimsoll-plugin-deploy.1").contains("deploy"));
    let output = run(&["man", "/proc/nothing"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/proc/nothing"), "{}", text(&output.stderr));
}

/// Images and charts set the address by the variable of the option.
#[test]
fn config_show_knows_the_addresses_of_the_command_line() {
    let folder = TempDir::new().expect("a folder");
    let path = file(folder.path());
    let of_variable = run(&["config", "show", "--config", &path], &[("PLIMSOLL_LISTEN", "0.0.0.0:9999")]);
    let of_option = run(&["config", "show", "--config", &path, "--listen", "0.0.0.0:9999"], &[]);
    for output in [of_variable, of_option] {
        let shown = text(&output.stdout);
        let line = shown.lines().find(|line| line.starts_with("server.listen")).expect("a line").to_owned();
        assert!(line.contains("\"0.0.0.0:9999\"") && line.ends_with("# command line"), "{line}");
    }
}
