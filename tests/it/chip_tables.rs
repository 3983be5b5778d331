//! Tables of `[chips]` that cannot be used are refused by name, and `plimsoll chips` says what is there.

use std::path::Path;

use plimsoll_tests::{Server, TempDir, is_alone};

use crate::chips::{ggml, openvino, plugin_table};
use crate::models::onnxruntime;

fn digits(target: &str, chips: &str, library: Option<&Path>) -> String {
    let model = format!("file = \"bundled:digits.onnx\"\nbackend = \"onnxruntime\"\ntarget = \"{target}\"");
    let library = library.map_or(String::new(), |path| format!("[backends.onnxruntime]\nlibrary = {path:?}\n"));
    format!("{library}{}{chips}", crate::batching::config(&model))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chip_that_is_not_valid_is_refused_by_name() {
    for (chips, message) in [
        ("[chips.cpu]\nprovider = \"openvino\"\n", "chips.cpu: `cpu` is a target without a table"),
        ("[chips.\"cuda:1\"]\nprovider = \"cuda\"\n", "`cuda:1` is a target without a table"),
        ("[chips.b]\nprovider = \"\"\n", "chips.b.provider: must not be empty"),
        ("[chips.b]\nprovider = \"q nn\"\n", "chips.b.provider: \"q nn\" may have letters, digits"),
        ("[chips.b]\nprovider = \"qnn\\u0000\"\n", "chips.b.provider: \"qnn\\0\" may have letters, digits"),
        ("[chips.b]\nprovider = \"qnn\"\noptions = { x = [1] }\n", "chips.b.options.x: must be a text"),
        (
            "[chips.b]\nprovider = \"OpenVINOExecutionProvider.AUTO\"\n",
            "chips.b.provider: with `AUTO` OpenVINO chooses",
        ),
        ("[chips.b]\nprovider = \"openvino\"\ndevice = \"auto:GPU,CPU\"\n", "chips.b.device: with `auto:GPU,CPU`"),
        ("[chips.b]\nprovider = \"openvino\"\ndevice = \"MULTI\"\n", "chips.b.device: with `MULTI`"),
        ("[chips.b]\nprovider = \"qnn\"\nlibary = \"x.so\"\n", "unknown field `libary`"),
        ("[chips.b]\nprovider = \"qnn\"\n", "models.m.target: `c` is not a valid target"),
    ] {
        let error = Server::rejection(&digits("c", chips, None)).await;
        assert!(error.contains(message), "{chips}: {error}");
    }
    let error =
        Server::rejection(&digits("c", "[chips.b]\nprovider = \"qnn\"\n[chips.d]\nprovider = \"qnn\"\n", None)).await;
    assert!(error.contains("(there: b, d)"), "{error}");
    let rten = digits("b", "[chips.b]\nprovider = \"qnn\"\n", None).replace("\"onnxruntime\"", "\"rten\"");
    let error = Server::rejection(&rten).await;
    assert!(error.contains("models.m: target: the backend `rten` runs on the CPU only, not on `b`"), "{error}");
}

/// Nothing may silently run on the processor instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_or_device_that_is_missing_is_refused_with_what_is_there() {
    let Some(library) = onnxruntime() else { return };
    let names = "cann coreml cuda migraphx nvtensorrtrtx onednn openvino qnn rocm tensorrt vitisai xnnpack";
    for name in names.split(' ') {
        let error =
            Server::rejection(&digits("b", &format!("[chips.b]\nprovider = \"{name}\"\n"), Some(&library))).await;
        let expected = format!("target `b`: the library of ONNX Runtime does not carry the provider `{name}`");
        assert!(error.contains(&expected) && error.contains("it carries only the CPU's"), "{error}");
    }
    let error = Server::rejection(&digits("b", "[chips.b]\nprovider = \"tpu\"\n", Some(&library))).await;
    assert!(error.contains("there is no provider `tpu`") && error.contains("`tensorrt`"), "{error}");
    let missing = "[chips.b]\nprovider = \"npu\"\nlibrary = \"nowhere/libnpu.so\"\n";
    let error = Server::rejection(&digits("b", missing, Some(&library))).await;
    assert!(error.contains("target `b`: library: ") && error.contains("nowhere/libnpu.so cannot be loaded"), "{error}");
    let Some((_, plugin)) = ggml() else { return };
    let refused = |chip: String| {
        let toml = digits("g", &chip, Some(&library));
        async move { Server::rejection(&toml).await }
    };
    let error = refused(plugin_table(&plugin, "device = \"NPU\"")).await;
    assert!(error.contains("there is no device `NPU`") && error.contains("has CPU (ggml)"), "{error}");
    let error = refused(plugin_table(&plugin, "device = \"CPU:7\"")).await;
    assert!(error.contains("there is no device `CPU:7`"), "{error}");
    // MaxPool is not an operator of the plugin.
    let error = refused(plugin_table(&plugin, "device = \"CPU\"")).await;
    assert!(error.contains("target `g`: its provider computes none of the "), "{error}");
}

/// The library writes the option and the device to the log, so the error points there.
#[tokio::test(flavor = "multi_thread")]
async fn options_and_devices_that_openvino_does_not_know_are_refused() {
    if !is_alone("chip_tables::options_and_devices_that_openvino_does_not_know_are_refused") {
        return;
    }
    let Some(library) = openvino() else { return };
    for (wrong, reason) in [
        ("options = { num_of_thread = 2 }", "the provider `openvino` cannot be used"),
        // The library accepts the name, and then computes nothing.
        ("device = \"TPU\"", "its provider computes none of the 9 nodes"),
    ] {
        let chip = format!("[chips.b]\nprovider = \"openvino\"\n{wrong}\n");
        let error = Server::rejection(&digits("b", &chip, Some(&library))).await;
        assert!(error.contains(&format!("target `b`: {reason}")), "{wrong}: {error}");
    }
    let error = Server::rejection(&digits("b", "[chips.b]\nprovider = \"cuda\"\n", Some(&library))).await;
    assert!(error.contains("it carries `openvino`"), "{error}");
    let chosen = "[chips.b]\nprovider = \"openvino\"\noptions = { device_type = \"AUTO:GPU,CPU\" }\n";
    let error = Server::rejection(&digits("b", chosen, Some(&library))).await;
    assert!(
        error.contains("options: `device_type` cannot be set: the device is set by `device` of the chip"),
        "{error}"
    );
}

#[test]
fn the_command_chips_lists_what_is_there_and_what_is_missing() {
    let Some((library, plugin)) = ggml() else { return };
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("plimsoll.toml");
    let show = |library: &Path, chips: &str| {
        std::fs::write(&file, digits("cpu", chips, Some(library))).expect("written");
        let output = crate::cli::run(&["chips", "--config", file.to_str().expect("text")]);
        (output.status.code(), crate::cli::text(&output.stdout), crate::cli::text(&output.stderr))
    };
    let (code, text, error) = show(&library, &plugin_table(&plugin, "device = \"CPU\""));
    assert_eq!(code, Some(0), "{text}{error}");
    for part in [
        "backend rten: rten, built in",
        "target = \"cpu\"",
        "ONNX Runtime: ",
        "CPUExecutionProvider, CPU",
        "chip g: usable",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let usable = text.split("chip g: usable").nth(1).expect("its device");
    assert!(usable.contains("ggml, CPU, ") && usable.contains("libonnxruntime_ggml.so"), "{text}");
    let (code, text, _) = show(&library, "[chips.b]\nprovider = \"cuda\"\n");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("chip b: missing: the library of ONNX Runtime does not carry the provider `cuda`"), "{text}");
    let Some(library) = openvino() else { return };
    let (code, text, _) = show(&library, "[chips.b]\nprovider = \"openvino\"\ndevice = \"CPU\"\n");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("chip b: usable") && text.contains("OpenVINOExecutionProvider"), "{text}");
}

/// A library that exports what ONNX Runtime exports, has this version, and has no interface.
fn fake_library(folder: &Path, version: &str) -> std::path::PathBuf {
    let (source, library) = (folder.join("fake.rs"), folder.join(format!("libfake-{version}.so")));
    let text = r#"
use std::ffi::{c_char, c_void};
#[repr(C)]
pub struct Base(extern "C" fn(u32) -> *const c_void, extern "C" fn() -> *const c_char);
extern "C" fn api(_: u32) -> *const c_void { std::ptr::null() }
extern "C" fn version() -> *const c_char { concat!(env!("VERSION"), "\0").as_ptr().cast() }
static BASE: Base = Base(api, version);
#[no_mangle]
pub extern "C" fn OrtGetApiBase() -> *const Base { &BASE }
"#;
    std::fs::write(&source, text).expect("written");
    let mut rustc = std::process::Command::new("rustc");
    let arguments = ["--edition", "2021", "--crate-name", "fake", "--crate-type", "cdylib", "-o"];
    let status = rustc.args(arguments).arg(&library).arg(&source).env("VERSION", version).status().expect("rustc");
    assert!(status.success());
    library
}

/// Each kind of wrong library is named with what is wrong and how to mend it, and nothing panics.
#[test]
fn a_library_that_is_missing_broken_or_too_old_is_named() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("text.so"), "no library").expect("written");
    let whole = fake_library(folder.path(), "1.17.3");
    let half = std::fs::read(&whole).expect("readable");
    std::fs::write(path("half.so"), &half[..8_192]).expect("written");
    std::os::unix::fs::symlink("loop.so", path("loop.so")).expect("a link");
    let libraries = [
        (path("half.so"), "the file is truncated"),
        (path("loop.so"), "Too many levels of symbolic links"),
        (folder.path().to_owned(), "it is no regular file"),
        (path("nowhere.so"), "No such file or directory"),
        (path("text.so"), "text.so"),
        (whole, "it is ONNX Runtime 1.17.3, and this host needs 1.24 or newer"),
        (fake_library(folder.path(), "1.99.0"), "it does not have the interface that its version has"),
    ];
    let file = path("plimsoll.toml");
    for (library, reason) in libraries {
        let chip = "[chips.b]\nprovider = \"openvino\"\n";
        std::fs::write(&file, digits("cpu", chip, Some(&library))).expect("written");
        let output = crate::cli::run(&["chips", "--config", file.to_str().expect("text")]);
        let (text, error) = (crate::cli::text(&output.stdout), crate::cli::text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{text}{error}");
        let missing = text.lines().find(|line| line.starts_with("backend onnxruntime: missing: ")).expect("a line");
        assert!(missing.contains(library.to_str().expect("text")) && missing.contains(reason), "{reason}: {missing}");
        assert!(missing.contains("Set `library` in `[backends.onnxruntime]`"), "{missing}");
        let chip = text.lines().find(|line| line.starts_with("chip b: missing: ")).expect("a line");
        assert!(chip.contains("a backend is missing, see above"), "{chip}");
        assert!(text.contains("backend rten: rten, built in"), "{text}");
    }
    let Some((library, plugin)) = ggml() else { return };
    // The same for the library of a chip. The loader ends the process for a truncated one.
    for (broken, reason) in
        [("half.so", "the file is truncated"), ("loop.so", "Too many levels"), ("nowhere.so", "No such file")]
    {
        let chip = format!("[chips.b]\nprovider = \"ggml\"\nlibrary = {:?}\n", path(broken));
        std::fs::write(&file, digits("cpu", &chip, Some(&library))).expect("written");
        let text = crate::cli::text(&crate::cli::run(&["chips", "--config", file.to_str().expect("text")]).stdout);
        let chip = text.lines().find(|line| line.starts_with("chip b: missing: library: ")).expect("a line");
        assert!(chip.contains(broken) && chip.contains(reason), "{chip}");
    }
    std::fs::write(&file, digits("cpu", "", Some(&plugin))).expect("written");
    let text = crate::cli::text(&crate::cli::run(&["chips", "--config", file.to_str().expect("text")]).stdout);
    assert!(text.contains("it is no library of ONNX Runtime: it does not export `OrtGetApiBase`"), "{text}");
}

/// The process keeps the first library that it loads. If that one cannot be used, another one is not used in its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_cannot_be_used_does_not_answer_for_another() {
    if !is_alone("chip_tables::a_library_that_cannot_be_used_does_not_answer_for_another") {
        return;
    }
    let Some(library) = onnxruntime() else { return };
    let folder = TempDir::new().expect("a folder");
    let fake = fake_library(folder.path(), "1.99.0");
    for _ in 0..2 {
        let error = Server::rejection(&digits("cpu", "", Some(&fake))).await;
        assert!(error.contains("it does not have the interface that its version has"), "{error}");
    }
    let error = Server::rejection(&digits("cpu", "", Some(&library))).await;
    let expected = format!("this process has loaded {}, which cannot be used; restart it", fake.display());
    assert!(error.contains(library.to_str().expect("text")) && error.contains(&expected), "{error}");
}

/// The provider of this library has the name under which it is registered. A table that was wrong does not change what the
/// others can use.
#[test]
fn the_first_table_of_a_library_does_not_name_it_for_the_others() {
    let Some((library, plugin)) = ggml() else { return };
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("plimsoll.toml");
    let table = |name: &str, provider: &str, path: &Path| {
        format!("[chips.{name}]\nprovider = \"{provider}\"\nlibrary = {path:?}\n")
    };
    let tables =
        [table("a", "wrong", &plugin), table("b", "ggml", &plugin), table("c", "CPUExecutionProvider", &plugin)];
    std::fs::write(&file, digits("cpu", &tables.concat(), Some(&library))).expect("written");
    let text = crate::cli::text(&crate::cli::run(&["chips", "--config", file.to_str().expect("text")]).stdout);
    for name in ["a", "b", "c"] {
        assert!(text.contains(&format!("chip {name}: usable")), "{name}: {text}");
    }
}

/// A provider that the library carries is not enough: its options and its device are tried too.
#[test]
fn a_chip_is_usable_only_if_a_session_can_be_made_on_it() {
    let Some(library) = openvino() else { return };
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("plimsoll.toml");
    let show = |lines: &str| {
        let chip = format!("[chips.b]\nprovider = \"openvino\"\n{lines}\n");
        std::fs::write(&file, digits("cpu", &chip, Some(&library))).expect("written");
        let output = crate::cli::run(&["chips", "--config", file.to_str().expect("text")]);
        (output.status.code(), crate::cli::text(&output.stdout))
    };
    let (code, text) = show("device = \"CPU\"\noptions = { num_of_threads = 1 }");
    assert!(code == Some(0) && text.contains("chip b: usable"), "{text}");
    let (code, text) = show("options = { num_of_thread = 2 }");
    assert!(
        code == Some(1) && text.contains("chip b: missing: target `b`: the provider `openvino` cannot be used"),
        "{text}"
    );
    let (code, text) = show("options = { device_id = 1 }");
    assert!(code == Some(1) && text.contains("chip b: missing: options: `device_id` cannot be set"), "{text}");
}
