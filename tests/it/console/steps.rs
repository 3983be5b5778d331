//! The screen `Try it` with pipelines of steps: chips, caps by the names of steps, and items with boxes, labels and errors.

use std::fmt::Write as _;

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, guest};
use serde_json::{Value, json};

use super::faces::Faces;
use super::{check_clean, choose};
use crate::browser::Browser;

/// The steps of the pipeline `long`.
const STEPS: usize = 30;

/// A pipeline that finds two boxes, cuts them out and classifies each: all are dogs. `between` are more steps.
fn pipeline(faces: &Faces, name: &str, between: &str) -> String {
    let file = |name: &str| faces.folder.path().join(name);
    let mut text = String::new();
    let mut step = |name_of: &str, kind: &str, more: &str| {
        let _ = writeln!(text, "[[pipelines.{name}.steps]]\nname = \"{name_of}\"\nkind = \"{kind}\"\n{more}");
    };
    step(
        "prepare",
        "preprocess",
        "plugin = \"image-preprocess\"\nmax_memory = \"200MiB\"\n\
         config = { width = 8, height = 8, channels = \"gray\", picture = true }",
    );
    step(
        "detect",
        "infer",
        "from = [\"prepare.image\"]\nchips.left = { plugin = \"infer-native\", model = \"faces\", max_memory = \"60MiB\" }\n\
         chips.right = { plugin = \"infer-native\", model = \"faces\", max_memory = \"70MiB\" }",
    );
    // A step between hides the size that the model declares.
    let size = if between.is_empty() { "" } else { ", width = 4, height = 4, input = \"image\"" };
    step(
        "crop",
        "transform",
        &format!(
            "plugin = \"crop-transform\"\nfrom = [\"detect\", \"prepare.picture\"]\nitems = true\npartial = true\n\
             max_memory = \"80MiB\"\nconfig = {{ labels = \"labels.txt\"{size} }}\nassets = {{ \"labels.txt\" = {:?} }}",
            file("labels.txt")
        ),
    );
    if !between.is_empty() {
        step("between", "transform", between);
    }
    step("classify", "infer", "plugin = \"infer-native\"\nmodel = \"kinds\"\nmax_memory = \"90MiB\"");
    step(
        "reply",
        "postprocess",
        &format!(
            "plugin = \"classify-postprocess\"\ngather = true\nmax_memory = \"100MiB\"\n\
             config = {{ items = true, labels = \"kinds.txt\" }}\nassets = {{ \"kinds.txt\" = {:?} }}",
            file("kinds.txt")
        ),
    );
    text
}

fn config(faces: &Faces) -> String {
    let kinds = Onnx::new(13)
        .input("image", &[1, 3, 4, 4].map(Some))
        .floats("zero", &[], &[0.0])
        .floats("s", &[1, 2], &[0.0, 3.0])
        .node("ReduceSum", &["image"], "sum", &[("keepdims", 0)])
        .node("Mul", &["sum", "zero"], "nothing", &[])
        .node("Add", &["nothing", "s"], "scores", &[])
        .output("scores", &[1, 2].map(Some));
    let file = |name: &str| faces.folder.path().join(name);
    std::fs::write(file("kinds.onnx"), kinds.bytes()).expect("written");
    std::fs::write(file("kinds.txt"), "cat\ndog\n").expect("written");
    // It refuses the first box.
    let refuses = "plugin = \"transformer\"\nconfig = { refuses = \"300.0,200.0\" }";
    // So many steps do not fit into the headers of a reply.
    let step = |name: &str, kind: &str, plugin: &str| {
        format!("{{ name = \"{name}\", kind = \"{kind}\", plugin = \"{plugin}\" }}")
    };
    let between = (0..STEPS - 2).map(|at| step(&format!("step-{at:050}"), "transform", "transformer"));
    let (first, last) =
        (step("first", "preprocess", "image-preprocess"), step("last", "postprocess", "tensors-postprocess"));
    let first = first.replace(" }", ", config = { width = 8, height = 8 } }");
    let long: Vec<_> = std::iter::once(first).chain(between).chain([last]).collect();
    let long = format!("[pipelines.long]\nsteps = [{}]\n", long.join(",\n"));
    format!(
        "{long}[plugins.transformer]\nfile = {:?}\n[models.faces]\nfile = {:?}\n[models.kinds]\nfile = {:?}\n\
         [pipelines.good]\ndefault_chip = \"right\"\n{}[pipelines.wrong]\ndefault_chip = \"left\"\n{}",
        guest("transformer"),
        file("faces.onnx"),
        file("kinds.onnx"),
        pipeline(faces, "good", ""),
        pipeline(faces, "wrong", refuses),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_of_steps_is_tried_with_its_chips_caps_and_items() {
    let faces = Faces::new("face");
    let server = Server::start(&config(&faces)).await;
    let picture = std::fs::read(&faces.picture).expect("a picture");
    let reply = server.infer("good", "", picture).await;
    assert_eq!(reply.json()["items"][0]["box"], json!([100.0, 100.0, 300.0, 200.0]), "{}", reply.text);
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&format!("{}/#/try", server.url));
    choose(&mut browser, &faces.picture);
    browser.wait_for_text("left, right agree: the replies are equal.");
    assert_eq!(browser.eval("[...chip.options].map(({ value }) => value)"), json!(["*", "left", "right"]));
    for text in ["2 of 2", "face 95.0 %: dog 95.3 %", "100, 100, 300, 200", "hand 80.0 %: dog 95.3 %"] {
        browser.wait_for_text(text);
    }
    // Each step with the cap of its own chip, not with its mark.
    for (chip, detect) in [("left", "60"), ("right", "70")] {
        let cells = browser.eval(&format!(
            "[...document.querySelector('[aria-label=\"Result on {chip}\"] tbody').rows].map(({{ cells }}) => \
             [cells[0].innerText.split('\\n')[0], cells[2].innerText.split('\\n').at(-1).trim()])"
        ));
        let wanted = [("prepare", "200"), ("detect", detect), ("crop", "80"), ("classify", "90"), ("reply", "100")];
        let wanted: Value = wanted.iter().map(|(step, cap)| json!([step, format!("of {cap} MiB")])).collect();
        assert_eq!(cells, wanted, "{chip}");
    }
    // The corners in fractions of the picture, and what is written beside them.
    let drawn = browser.eval(
        "(() => { const side = document.querySelector('[aria-label=\"Result on left\"]'); \
         const picture = side.querySelector('.canvas img').getBoundingClientRect(); \
         return [...side.querySelectorAll('.boxes rect')].map((box) => { const it = box.getBoundingClientRect(); \
         return [(it.left - picture.left) / picture.width, (it.top - picture.top) / picture.height, \
         (it.right - picture.left) / picture.width, (it.bottom - picture.top) / picture.height, \
         box.nextElementSibling.textContent]; }); })()",
    );
    for (at, wanted) in [[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.1, 0.2]].into_iter().enumerate() {
        for (corner, wanted) in wanted.into_iter().enumerate() {
            let found = drawn[at][corner].as_f64().expect("a number");
            assert!((found - wanted).abs() < 0.01, "box {at}, corner {corner}: {drawn}");
        }
        assert_eq!(drawn[at][4], "dog 95 %", "{drawn}");
    }
    // An item that failed is in the picture and in the list, with the step and its message.
    browser.eval("pipeline.value = 'wrong'; pipeline.dispatchEvent(new Event('change'))");
    browser.wait_for_text("step between ended in invalid_input: the configuration refuses it");
    browser.wait_for_text("left, right agree");
    assert_eq!(
        browser.eval("[...document.querySelectorAll('.side .boxes text')].map((it) => it.textContent)"),
        json!(["face error", "dog 95 %", "face error", "dog 95 %"])
    );
    // The steps that the headers leave out are counted, and not shown as steps without figures.
    browser.eval("pipeline.value = 'long'; pipeline.dispatchEvent(new Event('change'))");
    browser.wait_for_text("more steps do not fit into the headers of the reply");
    let shown = browser.eval(
        "[document.querySelector('.side tbody').rows.length, Number(document.body.innerText.match(/(\\d+) more steps/)[1]), \
         document.body.innerText.includes('NaN')]",
    );
    let (rows, more) = (shown[0].as_u64().expect("a number"), shown[1].as_u64().expect("a number"));
    assert!(rows > 5 && rows + more == STEPS as u64 && shown[2] == false, "{shown}");
    check_clean(&mut browser, &server);
}
