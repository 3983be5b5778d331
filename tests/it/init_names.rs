//! `plimsoll init`: what the names of outputs decide, and the commands that are printed.

use std::process::Command;

use plimsoll_tests::onnx::Onnx;
use rten_onnx::onnx::DataType;

use crate::cli::text;
use crate::init_assumptions::assumptions;
use crate::init_families::{IMAGE, Site};
use crate::process::Process;

/// Returns `count` mixtures of the mean colour of an image under this name.
fn numbers(name: &str, count: i64) -> Onnx {
    let weights: Vec<f32> = (0..3 * count).map(|at| at as f32 * 0.2 - 0.9).collect();
    let model = Onnx::new(22).input("x", &IMAGE).floats("w", &[count, 3, 1, 1], &weights);
    let model = model.node("GlobalAveragePool", &["x"], "mean", &[]).node("Conv", &["mean", "w"], "mixed", &[]);
    model.node("Flatten", &["mixed"], name, &[("axis", 1)]).output(name, &[Some(1), Some(count)])
}

/// A value for each pixel under this name.
fn map(name: &str) -> Onnx {
    let model = Onnx::new(22).input("x", &IMAGE).floats("w", &[1, 3, 1, 1], &[0.5, -0.25, 2.0]);
    model.node("Conv", &["x", "w"], name, &[]).open_output(name)
}

/// The mean colour as the vector of an image, beside the colours of all pixels.
fn vectors(name: &str) -> Onnx {
    let sizes = [1_i64, 64 * 64, 3].map(i64::to_le_bytes).concat();
    let model = Onnx::new(22).input("x", &IMAGE).typed("sizes", &[3], DataType::INT64, &sizes);
    let model = model.node("GlobalAveragePool", &["x"], "mean", &[]).node("Flatten", &["mean"], name, &[("axis", 1)]);
    model.node("Reshape", &["x", "sizes"], "last_hidden_state", &[]).open_output("last_hidden_state").open_output(name)
}

#[test]
fn names_of_outputs_distinguish_what_has_the_same_form() {
    let site = Site::new();
    let ten = site.write("ten.txt", (0..10).map(|label| format!("{label}\n")).collect::<String>());
    let ten = ["--labels", ten.to_str().expect("text")];
    for (name, model, arguments, settings, words) in [
        ("depth", map("predicted_depth"), &[][..], &["\"image-postprocess\"", "range = \"image\""][..], "image/png"),
        ("mask", map("mask"), &[], &["\"segment-postprocess\"", "threshold = 0.0"], "image/png"),
        ("landmarks", numbers("faceLandmarks", 10), &[], &["\"tensors-postprocess\""], "10 numbers that are no scores"),
        ("labelled", numbers("faceLandmarks", 10), &ten, &["\"classify-postprocess\""], "(10 classes)"),
        ("scores", numbers("appointments", 10), &[], &["\"classify-postprocess\""], "(10 classes)"),
        (
            "pooled",
            vectors("pooler_output"),
            &[],
            &["\"embed-postprocess\"", "output = \"pooler_output\""],
            "\"dimensions\":3",
        ),
        ("clip", vectors("image_embeds"), &[], &["output = \"image_embeds\""], "\"dimensions\":3"),
        ("unclear", vectors("value"), &[], &["\"tensors-postprocess\""], "the task is unknown"),
    ] {
        let (printed, config, folder) = site.made(name, &model, arguments);
        assert!(printed.contains(words), "{name}: {printed}");
        for wanted in settings {
            assert!(config.contains(wanted), "{name}: {wanted} is missing in {config}");
        }
        // What the name decides can be wrong, so it is stated.
        let assumed = assumptions(&folder, &printed);
        for key in ["range", "output"].into_iter().filter(|key| config.contains(&format!("\n{key} = "))) {
            assert!(assumed.iter().any(|(found, _)| found == key), "{name}: {key}: {printed}");
        }
    }
}

/// The words that a shell makes of a command.
fn words(command: &str) -> Vec<String> {
    let script = format!("set -- {command}; printf '%s\\0' \"$@\"");
    let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    let all = text(&output.stdout);
    all.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn the_printed_commands_work_in_a_folder_whose_name_has_spaces_and_quotes() {
    let site = Site::new();
    let name = "it's $HOME & more";
    let (printed, _, folder) = site.made(name, &numbers("logits", 4), &[]);
    let command = |program: &str| {
        let lines: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix("  ")).collect();
        words(lines.iter().find(|line| line.starts_with(program)).unwrap_or_else(|| panic!("no {program}: {printed}")))
    };
    let serve = command("plimsoll ");
    let config = folder.join("plimsoll.toml");
    assert_eq!(serve, ["plimsoll", "serve", "--config", config.to_str().expect("text")]);
    let data = folder.join("data");
    let mut arguments: Vec<_> = serve[2..].iter().map(String::as_str).collect();
    arguments.extend(["--listen", "127.0.0.1:0", "--data-dir", data.to_str().expect("text")]);
    let server = Process::serve(&arguments);
    let url = command("curl ").pop().expect("an address").replace("http://127.0.0.1:8080", &server.url());
    let image = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/data/digits/7.jpg")).expect("the sample");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let status =
        runtime.block_on(async { reqwest::Client::new().post(url).body(image).send().await }).expect("a reply");
    assert_eq!(status.status(), 200);
}
