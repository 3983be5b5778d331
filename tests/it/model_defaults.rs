//! A pipeline may leave out `input`, `width`, `height`, `layout` and `dtype` of `image-preprocess` where its model declares
//! them.

use std::time::Duration;

use plimsoll_runtime::stage::{Request, RunLog};
use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir, guest};
use rten_onnx::onnx::DataType;

/// A pipeline for a model with one output `y` that is the identity of its first input.
fn pipeline(folder: &TempDir, name: &str, model: &Onnx, config: &str) -> String {
    let file = folder.path().join(format!("{name}.onnx"));
    std::fs::write(&file, model.bytes()).expect("written");
    format!(
        "[models.{name}]\nfile = {file:?}\n[pipelines.{name}]\nmodel = \"{name}\"\n\
         [pipelines.{name}.preprocess]\nplugin = \"image-preprocess\"\nconfig = {{ {config} }}\n\
         [pipelines.{name}.chips.cpu]\nplugin = \"infer-native\"\n\
         [pipelines.{name}.postprocess]\nplugin = \"echo-postprocess\"\n"
    )
}

fn identity(input: &str, shape: &[Option<i64>]) -> Onnx {
    Onnx::new(17).input(input, shape).node("Identity", &[input], "y", &[]).output("y", shape)
}

fn plugins() -> String {
    format!("[plugins.echo-postprocess]\nfile = {:?}\n", guest("echo-postprocess"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_model_declares_need_not_be_configured() {
    let folder = TempDir::new().expect("a folder");
    let sizes = |sizes: [i64; 4]| sizes.map(Some);
    let dynamic = [None, Some(3), None, None];
    let cases = [
        ("nchw", identity("pixels", &sizes([1, 3, 5, 7])), "", "pixels", [1, 3, 5, 7]),
        ("nhwc", identity("pixels", &sizes([1, 5, 7, 3])), "", "pixels", [1, 5, 7, 3]),
        // Both axes could be the channels: the layout is the documented default.
        ("both", identity("x", &sizes([1, 3, 8, 3])), "width = 3, height = 8", "x", [1, 3, 8, 3]),
        ("gray", identity("x", &sizes([1, 6, 6, 1])), "channels = \"gray\"", "x", [1, 6, 6, 1]),
        ("free", identity("data_0", &dynamic), "width = 4, height = 9", "data_0", [1, 3, 9, 4]),
        ("side", identity("data_0", &[None, Some(3), Some(9), None]), "width = 4", "data_0", [1, 3, 9, 4]),
    ];
    let mut toml = plugins();
    for (name, model, config, ..) in &cases {
        toml += &pipeline(&folder, name, model, config);
    }
    let server = Server::start(&toml).await;
    for (name, _, _, input, shape) in &cases {
        let pipeline = server.app.pipeline(name).expect("configured");
        let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
        let mut log = RunLog::new(Duration::from_secs(60));
        let image = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../host/demo/sample.jpg")).expect("the sample");
        let (tensors, _) = pipeline.preprocess.run(&mut log, &request, &image).await.expect("an image");
        assert_eq!((tensors[0].0.as_str(), &tensors[0].1.dimensions), (*input, &shape.to_vec()), "{name}");
        let reply = server.infer(name, "", image).await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_model_does_not_declare_is_asked_for_by_name() {
    let folder = TempDir::new().expect("a folder");
    let two = Onnx::new(17)
        .input("left", &[Some(1), Some(3), Some(4), Some(4)])
        .input("right", &[Some(1), Some(3), Some(4), Some(4)])
        .node("Add", &["left", "right"], "y", &[])
        .output("y", &[Some(1), Some(3), Some(4), Some(4)]);
    let dynamic = [None, Some(3), None, None];
    for (model, config, words) in [
        (identity("x", &dynamic), "", vec!["`width` is missing", "no model fixes it"]),
        (identity("x", &dynamic), "width = 3", vec!["`height` is missing", "no model fixes it"]),
        (two, "", vec!["`input` is missing", "`left`, `right`"]),
        (identity("x", &[Some(1), Some(3), Some(5), Some(7)]), "width = 6", vec!["`x`", "[1, 3, 5, 7]"]),
    ] {
        let message = Server::rejection(&(plugins() + &pipeline(&folder, "p", &model, config))).await;
        for word in words {
            assert!(message.contains(word), "{config}: {word:?} is missing in {message}");
        }
    }
    let bytes = Onnx::new(17)
        .typed_input("x", &[Some(1), Some(4), Some(4), Some(3)], DataType::UINT8)
        .node("Identity", &["x"], "y", &[])
        .typed_output("y", &[Some(1), Some(4), Some(4), Some(3)], DataType::UINT8);
    let message = Server::rejection(&(plugins() + &pipeline(&folder, "p", &bytes, "mean = 1"))).await;
    assert!(message.contains("`mean` can only be used with a `dtype` of `f32`"), "{message}");
}
