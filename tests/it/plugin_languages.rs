//! `plimsoll plugin new --language` and `plimsoll plugin build` for languages other than Rust: each new plugin builds without
//! changes, its tests pass, and it answers as the plugin in Rust does.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use crate::leak::are_all_wanted;
use crate::plugin_new::{WorkFolder, text};

/// What the postprocess template replies for the demo model begins so.
const REPLY: &str = r#"{"outputs":[{"name":"logits","shape":[1,10],"values":["#;

/// True if a program can be started.
fn is_there(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Makes and builds a plugin; returns the configuration that names its file.
fn built(work: &WorkFolder, name: &str, kind: &str, language: &str) -> String {
    work.run_ok(&["plugin", "new", name, "--kind", kind, "--language", language]);
    let readme = fs::read_to_string(work.path(&format!("{name}/README.md"))).expect("a README");
    assert!(!readme.contains("{{"), "{readme}");
    let report = work.run_ok(&["plugin", "build", name]);
    assert!(report.contains(&format!("kind      {kind}")), "{report}");
    // Compiling an interpreter only to inspect it would take a minute.
    if language.starts_with('c') {
        let inspected = work.run_ok(&["inspect", &format!("{name}/{name}.wasm")]);
        for part in ["0.1.0", &format!("The {kind} stage `{name}`"), &format!("The developers of {name}")] {
            assert!(inspected.contains(part), "{part:?} is missing in {inspected}");
        }
    }
    format!("[plugins.{name}]\nfile = \"{name}/{name}.wasm\"\n")
}

/// A pipeline of three plugins for the demo model.
fn pipeline(preprocess: &str, infer: &str, postprocess: &str) -> String {
    format!(
        "[models.digits]\nfile = \"bundled:digits.onnx\"\n[pipelines.demo]\nmodel = \"digits\"\n\
         [pipelines.demo.preprocess]\nplugin = \"{preprocess}\"\nconfig = {{ shape = [1, 1, 8, 8] }}\n\
         [pipelines.demo.chips.native]\nplugin = \"{infer}\"\n[pipelines.demo.postprocess]\nplugin = \"{postprocess}\"\n"
    )
}

/// Sends the sample of a preprocess plugin and bodies of other lengths through a pipeline. Returns the reply.
fn answers(work: &WorkFolder, config: &str, sample: &str) -> String {
    let checked = work.run_ok(&["check", "--config", config]);
    assert!(checked.contains("can be served"), "{checked}");
    let reply = work.run_ok(&["infer", "demo", sample, "--config", config]);
    assert!(reply.starts_with(REPLY), "{reply}");
    for (file, length, code) in
        [("empty.raw", 0, "invalid_input"), ("short.raw", 63, "invalid_input"), ("long.raw", 65, "too_large")]
    {
        work.write(file, vec![0; length]);
        let words = if length == 0 { "the body is empty".to_owned() } else { format!("has {length} bytes") };
        work.assert_fails(1, &["infer", "demo", file, "--config", config], &[code, &words]);
    }
    reply.lines().next().expect("a reply").to_owned()
}

/// The numbers of a reply.
fn numbers(reply: &str) -> Vec<f64> {
    let reply: serde_json::Value = serde_json::from_str(reply).expect("JSON");
    let values = reply["outputs"][0]["values"].as_array().expect("values");
    values.iter().map(|value| value.as_f64().expect("a number")).collect()
}

/// Asserts that two replies have the same numbers. JavaScript prints the digits of a double where others print those of a
/// float.
fn assert_same(one: &str, other: &str) {
    for (one, other) in numbers(one).iter().zip(numbers(other)) {
        assert!((one - other).abs() <= 1e-6 * one.abs(), "{one} and {other}");
    }
}

#[test]
fn new_plugins_in_c_and_cpp_are_built_and_reply() {
    // The package of the C++ library depends on that of the C library.
    let header = "#include <cmath>\n#include <string>\nint main() { return 0; }\n";
    let work = WorkFolder::new();
    work.write("probe.cpp", header);
    let probe = work.path("probe.cpp");
    let probe = probe.to_str().expect("text");
    if !is_there("clang++", &["--target=wasm32-wasi", "-fno-exceptions", probe, "-o", "/dev/null"]) {
        plimsoll_tests::skip(
            "plugins in C and C++ need clang, lld, wasi-libc, libclang-rt-dev-wasm32 and libc++-dev-wasm32",
        );
        return;
    }
    let mut replies = Vec::new();
    for language in ["c", "cpp"] {
        let names = ["preprocess", "infer", "postprocess"].map(|kind| format!("{language}-{kind}"));
        let mut config = String::new();
        for (name, kind) in names.iter().zip(["preprocess", "infer", "postprocess"]) {
            config += &built(&work, name, kind, language);
        }
        let [preprocess, infer, postprocess] = &names;
        work.write(&format!("{language}.toml"), config + &pipeline(preprocess, infer, postprocess));
        replies.push(answers(&work, &format!("{language}.toml"), &format!("{preprocess}/samples/seven.raw")));

        // The commands of the README, in the folder of the plugin.
        let inside = |arguments: &[&str]| {
            let binary = env!("CARGO_BIN_EXE_plimsoll-under-test");
            work.command(binary, preprocess).args(arguments).output().expect("the binary starts")
        };
        let own = inside(&["infer", "demo", "samples/seven.raw", "--config", "plimsoll.toml"]);
        assert!(text(&own.stdout).contains(r#""label":"7""#), "{}{}", text(&own.stdout), text(&own.stderr));
        let file = format!("{preprocess}.wasm");
        let leak = ["leak", &file, "--corpus", "samples", "--pipeline", "demo", "--config", "plimsoll.toml"];
        // The request with all that it can have is freed.
        let leak = inside(&[&leak[..], &["--content-type", "image/png", "--parameter", "name=value"]].concat());
        assert_eq!(leak.status.code(), Some(0), "{}{}", text(&leak.stdout), text(&leak.stderr));
    }
    assert_same(&replies[0], &replies[1]);

    // The examples, which use the SDK of this checkout.
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/examples");
    for folder in ["c", "cpp"] {
        // Built from a copy, because a build writes into the plugin's folder.
        let copy = work.path(&format!("plugins/examples/{folder}"));
        fs::create_dir_all(&copy).expect("a folder");
        for entry in fs::read_dir(examples.join(folder)).expect("the example") {
            let path = entry.expect("readable").path();
            if path.is_file() {
                fs::copy(&path, copy.join(path.file_name().expect("a name"))).expect("copied");
            }
        }
        let manifest = fs::read_to_string(copy.join("plugin.toml")).expect("a manifest");
        let sdk = examples.join("../sdk-c").canonicalize().expect("the SDK");
        fs::write(copy.join("plugin.toml"), manifest.replace("../../sdk-c", sdk.to_str().expect("text")))
            .expect("written");
        work.run_ok(&["plugin", "build", &format!("plugins/examples/{folder}"), "--out", "plugins"]);
    }
    let config = pipeline("c-preprocess", "infer-native", "cpp-postprocess")
        .replace("shape = [1, 1, 8, 8]", "width = 8, height = 8")
        + "config = { labels = \"labels.txt\", top_k = 2 }\nassets = { \"labels.txt\" = \"bundled:digits-labels.txt\" }\n";
    work.write("plimsoll.toml", config);
    let seven = fs::read(work.path("c-preprocess/samples/seven.raw")).expect("the sample");
    work.write("seven.pgm", [b"P5 # a digit\n8 8\n255\n".as_slice(), &seven].concat());
    let reply = work.run_ok(&["infer", "demo", "seven.pgm", "--config", "plimsoll.toml"]);
    assert!(reply.starts_with(r#"{"predictions":[{"label":"7","index":7,"probability":0.9"#), "{reply}");
    // The mean of four equal pixels is the pixel; colours that are grey are the same grey.
    let large: Vec<u8> = (0..16 * 16).flat_map(|pixel| [seven[pixel / 32 * 8 + pixel % 16 / 2]; 3]).collect();
    work.write("seven.ppm", [b"P6 16 16 255\n".as_slice(), &large].concat());
    let coloured = work.run_ok(&["infer", "demo", "seven.ppm", "--config", "plimsoll.toml"]);
    assert!(coloured.starts_with(r#"{"predictions":[{"label":"7","index":7,"probability":0.9"#), "{coloured}");
    for (body, words) in [
        (b"no picture".as_slice(), ["unsupported_media_type", "P5, P6"]),
        (b"P5 8 8 255\n", ["invalid_input", "cut off"]),
        (b"P5 0 8 255\n", ["invalid_input", "no size"]),
        (b"P6 1048576 1048576 255\n", ["invalid_input", "cut off"]),
    ] {
        work.write("wrong.pgm", body);
        work.assert_fails(1, &["infer", "demo", "wrong.pgm", "--config", "plimsoll.toml"], &words);
    }

    // Errors name the file and the step.
    work.write("c-infer/plugin.c", "#error on purpose\n");
    work.assert_fails(1, &["plugin", "build", "c-infer"], &["on purpose", "the compilation of", "plugin.c failed"]);
    work.write("c-infer/plugin.c", "int unused;\n");
    work.assert_fails(1, &["plugin", "build", "c-infer"], &["exports_plimsoll_stage_infer_run", "the linker failed"]);
    fs::remove_dir_all(work.path("c-infer/plimsoll")).expect("removed");
    work.assert_fails(1, &["plugin", "build", "c-infer"], &["c-infer/plimsoll", "plimsoll plugin new"]);
}

#[test]
fn new_plugins_in_python_and_javascript_are_built_and_reply() {
    let has_python = is_there("python3", &["-c", "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))"]);
    let has_node = is_there("node", &["-e", "process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)"]);
    if !has_python || !has_node || !is_there("npm", &["--version"]) {
        plimsoll_tests::skip("plugins in Python and JavaScript need python3 3.10 with venv, node 20 and npm");
        return;
    }
    let work = WorkFolder::new();
    let mut config = String::new();
    for (name, kind, language) in [
        ("py-preprocess", "preprocess", "python"),
        ("py-postprocess", "postprocess", "python"),
        ("js-preprocess", "preprocess", "javascript"),
        ("js-infer", "infer", "javascript"),
        ("js-postprocess", "postprocess", "javascript"),
    ] {
        // The tools of one plugin serve the others, which saves an installation.
        let (tools, first) = match language {
            "python" => (".venv", "py-preprocess"),
            _ => ("node_modules", "js-preprocess"),
        };
        config += &match name == first {
            true => built(&work, name, kind, language),
            false => {
                work.run_ok(&["plugin", "new", name, "--kind", kind, "--language", language]);
                let installed = work.path(&format!("{first}/{tools}"));
                std::os::unix::fs::symlink(installed, work.path(&format!("{name}/{tools}"))).expect("linked");
                work.run_ok(&["plugin", "build", name]);
                format!("[plugins.{name}]\nfile = \"{name}/{name}.wasm\"\n")
            }
        };
    }
    for (folder, program, arguments) in [
        ("py-preprocess", "python3", ["-m", "unittest"].as_slice()),
        ("py-postprocess", "python3", &["-m", "unittest"]),
        ("js-preprocess", "node", &["--test"]),
        ("js-postprocess", "node", &["--test"]),
    ] {
        let output = work.command(program, folder).args(arguments.iter().map(OsStr::new)).output().expect("it starts");
        let all = text(&[output.stdout, output.stderr].concat());
        assert!(output.status.success(), "{folder}: {all}");
        assert!(all.contains("Ran 2 tests") || all.contains("pass 2"), "{folder}: {all}");
    }

    let mut replies = Vec::new();
    for (file, plugins) in [
        ("python.toml", ["py-preprocess", "js-infer", "py-postprocess"]),
        ("javascript.toml", ["js-preprocess", "infer-native", "js-postprocess"]),
    ] {
        work.write(file, config.clone() + &pipeline(plugins[0], plugins[1], plugins[2]));
        replies.push(answers(&work, file, &format!("{}/samples/seven.raw", plugins[0])));
    }
    assert_same(&replies[0], &replies[1]);

    // As its README says, but without call stacks. That in JavaScript takes two minutes.
    let studied: &[&str] = if are_all_wanted() { &["py-preprocess", "js-preprocess"] } else { &["py-preprocess"] };
    for plugin in studied {
        let file = format!("{plugin}.wasm");
        let leak = [
            "leak",
            &file,
            "--corpus",
            "samples",
            "--pipeline",
            "demo",
            "--config",
            "plimsoll.toml",
            "--no-trace",
            "--rounds",
            "4",
        ];
        let output = work.command(env!("CARGO_BIN_EXE_plimsoll-under-test"), plugin).args(leak).output();
        let output = output.expect("the binary starts");
        let all = text(&[output.stdout, output.stderr].concat());
        assert_eq!(output.status.code(), Some(0), "{plugin}: {all}");
        assert!(all.contains(": STEADY"), "{plugin}: {all}");
    }

    // A wrong configuration is found before the plugin serves, with the key.
    for plugin in ["py-preprocess", "js-preprocess"] {
        for (wrong, words) in [("shape = \"wide\"", "`shape`"), ("size = 3", "`size`")] {
            let text = pipeline(plugin, "infer-native", "tensors-postprocess").replace("shape = [1, 1, 8, 8]", wrong);
            work.write("wrong.toml", config.clone() + &text);
            let sample = format!("{plugin}/samples/seven.raw");
            work.assert_fails(64, &["infer", "demo", &sample, "--config", "wrong.toml"], &[words]);
        }
    }
    work.write("py-preprocess/plugin.py", "class Preprocess:\n    def run(self:\n");
    work.assert_fails(1, &["plugin", "build", "py-preprocess"], &["SyntaxError", "componentize-py failed"]);
    work.write(
        "py-preprocess/pyproject.toml",
        "[project]\nname = \"py-preprocess\"\n[tool.plimsoll]\nkind = \"decode\"\n",
    );
    work.assert_fails(
        1,
        &["plugin", "build", "py-preprocess"],
        &["tool.plimsoll.kind", "preprocess, infer, transform, postprocess"],
    );
    work.write("js-preprocess/package.json", "{\"name\": \"x\"");
    work.assert_fails(1, &["plugin", "build", "js-preprocess"], &["package.json is not valid JSON"]);
}
