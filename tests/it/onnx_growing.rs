//! Models of a few kilobytes that state lists of billions, or double a list at each node: reading them takes little memory,
//! and each is refused with the reason. The real binary reads them with a limit on its memory (setrlimit(2)).

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{TempDir, shared_cache};
use rten_onnx::onnx::DataType;

use crate::cli::text;
use crate::model_cases::{config, engines};

const BINARY: &str = env!("CARGO_BIN_EXE_plimsoll-under-test");
/// What `plimsoll check` may take. It needs a fraction of it for other models.
const LIMIT: &str = "--data=2147483648";
/// A list that doubles at each of these nodes would have more than 2^40 elements.
const NODES: usize = 40;
const IMAGE: [Option<i64>; 4] = [None, Some(3), Some(8), Some(8)];

/// What `plimsoll check` says about a model with `max_batch`, which it refuses.
fn check(model: &Onnx, engine: (&str, &str)) -> String {
    check_with(model, engine, "max_batch = 4")
}

/// The same with other settings.
fn check_with(model: &Onnx, engine: (&str, &str), settings: &str) -> String {
    let folder = TempDir::new().expect("a folder");
    let (file, config_file) = (folder.path().join("model.onnx"), folder.path().join("plimsoll.toml"));
    std::fs::write(&file, model.bytes()).expect("written");
    let toml = format!("cache_dir = {:?}\n{}", shared_cache(), config(&file, engine, settings));
    std::fs::write(&config_file, toml).expect("written");
    let mut command = std::process::Command::new("prlimit");
    command.args([LIMIT, BINARY, "check", "--config"]).arg(&config_file).env_remove("RUST_LOG");
    let output = command.output().expect("it starts");
    let message = text(&output.stderr);
    // Not by a signal, which a process without memory ends by.
    assert!(output.status.code().is_some_and(|code| code != 0), "{engine:?}, {}: {message}", output.status);
    message
}

/// Nodes of one operator, each with the output of the one before where `inputs` says `@`. `last` is that of the last as numbers.
fn chain(mut model: Onnx, operator: &str, inputs: &[&str], start: &str) -> Onnx {
    let mut value = start.to_owned();
    for node in 1..=NODES {
        let output = format!("value_{node}");
        let inputs: Vec<&str> = inputs.iter().map(|&input| if input == "@" { value.as_str() } else { input }).collect();
        let attributes: &[(&str, i64)] = if operator == "Concat" { &[("axis", 0)] } else { &[] };
        model = model.node(operator, &inputs, &output, attributes);
        value = output;
    }
    model.node("Cast", &[&value], "last", &[("to", 1)])
}

fn image() -> Onnx {
    Onnx::new(13).input("image", &IMAGE)
}

#[test]
fn a_list_that_doubles_at_each_node_is_refused() {
    let shape = || image().node("Shape", &["image"], "shape", &[]);
    let square = image().ints("list", &[0]).ints("square", &[1, 1]);
    let square = square.node("Reshape", &["list", "square"], "start", &[]);
    let rows = shape().int_scalar("at", 0).node("Gather", &["shape", "at"], "rows", &[]);
    let powers = chain(rows, "Mul", &["@", "@"], "rows").node("Add", &["image", "last"], "y", &[]).output("y", &IMAGE);
    let concat = |model: Onnx, start: &str| chain(model, "Concat", &["@", "@"], start);
    let cases = [
        (concat(shape(), "shape").open_output("last"), "(Concat, operator set 13) needs "),
        (concat(image().ints("list", &[1, 2]), "list").open_output("last"), "(Concat, operator set 13) needs "),
        (
            concat(image().floats("list", &[2], &[1.0, 1.0]), "list").open_output("last"),
            "(Concat, operator set 13) needs ",
        ),
        (
            chain(square, "Gather", &["@", "@"], "start").open_output("last"),
            "65 dimensions, and at most 64 are supported",
        ),
    ];
    for engine in engines().into_iter().filter(|engine| engine.1 == "infer-native") {
        for (model, words) in &cases {
            let message = check(model, engine);
            assert!(message.contains(words), "{engine:?}: {words} is missing in {message}");
        }
        let message = check(&powers, engine);
        assert!(message.contains("`max_batch` cannot be used"), "{engine:?}: {message}");
    }
}

/// The value `big` is added to the image.
fn with_big(model: Onnx) -> Onnx {
    model
        .node("ReduceMax", &["big"], "largest", &[("keepdims", 0)])
        .node("Cast", &["largest"], "number", &[("to", 1)])
        .node("Add", &["image", "number"], "y", &[])
        .output("y", &IMAGE)
}

/// The engines compute what follows from constants when they load a model.
#[test]
fn constants_that_grow_are_refused_before_the_engine_computes_them() {
    let sized = |sizes: &[i64]| image().ints("sizes", sizes).floats("one", &[1], &[1.0]);
    let side = 1 << 16;
    let vectors = || {
        let ends = image().ints("column", &[side, 1]).ints("row", &[1, side]);
        ends.node("ConstantOfShape", &["column"], "left", &[]).node("ConstantOfShape", &["row"], "right", &[])
    };
    let of_size = |model: Onnx, name: &str| model.node("ConstantOfShape", &["sizes"], name, &[]);
    let many = (0..40).fold(sized(&[1 << 13, 1 << 14]), |model, part| of_size(model, &format!("part_{part}")));
    let parts: Vec<String> = (0..40).map(|part| format!("part_{part}")).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    // A run needs one after the other, but the engine keeps all of them.
    let kept = many.clone().node("ReduceMax", &["image"], "sum", &[("keepdims", 0)]);
    let (kept, sum) = parts.iter().fold((kept, "sum".to_owned()), |(model, before), part| {
        let (whole, sum) = (format!("whole_{part}"), format!("sum_{part}"));
        let model = model.node("Add", &[part, &before], &whole, &[]);
        (model.node("ReduceMax", &[&whole], &sum, &[("keepdims", 0)]), sum)
    });
    let branch = |name: &str| Onnx::new(13).node("ConstantOfShape", &["sizes"], name, &[]).output(name, &[None, None]);
    let small = Onnx::new(13).node("Identity", &["one"], "other", &[]).output("other", &[None]);
    let never = sized(&[side, side]).typed("never", &[], DataType::BOOL, &[0]);
    let never = never.node("If", &["never"], "big", &[]).with_graph("then_branch", branch("then"));
    let cases = [
        ("ConstantOfShape", with_big(of_size(sized(&[side, side]), "big"))),
        ("Expand", with_big(sized(&[side, side]).node("Expand", &["one", "sizes"], "big", &[]))),
        ("Tile", with_big(sized(&[1 << 30]).node("Tile", &["one", "sizes"], "big", &[]))),
        ("MatMul", with_big(vectors().node("MatMul", &["left", "right"], "big", &[]))),
        ("Add", with_big(vectors().node("Add", &["left", "right"], "big", &[]))),
        ("Sum", with_big(many.node("Sum", &parts, "big", &[]))),
        ("ConstantOfShape", with_big(never.with_graph("else_branch", small))),
        ("ConstantOfShape", kept.node("Add", &["image", &sum], "y", &[]).output("y", &IMAGE)),
    ];
    for engine in engines().into_iter().filter(|engine| engine.1 == "infer-native") {
        for (operator, model) in &cases {
            let message = check_with(model, engine, "");
            assert!(
                message.contains(&format!("({operator}, operator set 13) needs ")),
                "{operator}, {engine:?}: {message}"
            );
            assert!(message.contains("supported: export the model again"), "{operator}, {engine:?}: {message}");
        }
    }
}

/// The sizes of such a run are the same for every request, so the limits of requests do not look at them.
#[test]
fn a_model_of_fixed_sizes_that_grow_is_refused() {
    let fixed = || Onnx::new(13).input("image", &[Some(1), Some(3), Some(8), Some(8)]);
    let tall = fixed().ints("times", &[1, 1, 1 << 15, 1 << 14]).node("Tile", &["image", "times"], "big", &[]);
    let sized = fixed().ints("factor", &[1 << 8]).node("Shape", &["image"], "shape", &[]);
    let sized = sized.node("Mul", &["shape", "factor"], "sizes", &[]).node("ConstantOfShape", &["sizes"], "big", &[]);
    for engine in engines().into_iter().filter(|engine| engine.1 == "infer-native") {
        for (operator, model) in [("Tile", &tall), ("ConstantOfShape", &sized)] {
            let message = check_with(&with_big(model.clone()), engine, "");
            assert!(message.contains(&format!("({operator}, operator set 13) needs ")), "{engine:?}: {message}");
            assert!(message.contains("in every run"), "{operator}, {engine:?}: {message}");
        }
    }
}

/// The host makes the inputs of the first runs.
#[test]
fn a_batch_that_grows_is_refused_at_admission() {
    let model = image().ints("times", &[1, 1, 1 << 11, 1 << 11]).node("Tile", &["image", "times"], "big", &[]);
    let model = model.node("GlobalMaxPool", &["big"], "y", &[]).output("y", &[None, Some(3), Some(1), Some(1)]);
    for engine in engines().into_iter().filter(|engine| engine.1 == "infer-native") {
        let message = check(&model, engine);
        assert!(message.contains("(Tile) would compute up to"), "{engine:?}: {message}");
    }
}

#[test]
fn the_name_of_a_node_is_not_copied_for_each_value_that_follows_from_it() {
    let long = "n".repeat(1 << 20);
    let found = image().floats("limit", &[], &[77.7]).node("Greater", &["image", "limit"], "above", &[]);
    let mut model = found.node("NonZero", &["above"], &long, &[]).node("Transpose", &[&long], "places", &[]);
    let mut value = "places".to_owned();
    for node in 0..4000 {
        let output = format!("places_{node}");
        model = model.node("Identity", &[&value], &output, &[]);
        value = output;
    }
    let model = model
        .node("GatherND", &["image", &value], "values", &[])
        .node("Neg", &["values"], "negative", &[])
        .node("ScatterND", &["image", &value, "negative"], "y", &[])
        .output("y", &IMAGE);
    let message = check(&model, ("rten", "infer-native"));
    assert!(message.contains("(NonZero)") && message.len() < 10_000, "{message:.2000}");
}

/// rten calls itself for the node before, and lists the terms of products of products.
#[tokio::test(flavor = "multi_thread")]
async fn deep_models_run_or_are_refused_on_rten() {
    let named = |at: usize| if at == 0 { "image".to_owned() } else { format!("value_{at}") };
    let path = |nodes: usize| {
        let nodes_of = |model: Onnx, at: usize| model.node("Neg", &[&named(at - 1)], &named(at), &[]);
        (1..nodes).fold(image(), nodes_of).node("Identity", &[&named(nodes - 1)], "y", &[]).output("y", &IMAGE)
    };
    let message = check_with(&path(10_001), ("rten", "infer-native"), "");
    assert!(message.contains("rten cannot plan paths of more than 10000 nodes"), "{message}");
    let squares = chain(image(), "Mul", &["@", "@"], "image").node("Add", &["last", "image"], "y", &[]);
    let message = check_with(&squares.output("y", &IMAGE), ("rten", "infer-native"), "");
    assert!(message.contains("rten supports 10000 terms, and this node has 16384"), "{message}");

    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, path(9_001).bytes()).expect("written");
    let server = plimsoll_tests::Server::start(&config(&file, ("rten", "infer-native"), "")).await;
    let image =
        serde_json::json!({ "name": "image", "shape": [1, 3, 8, 8], "datatype": "FP32", "data": vec![0.5; 192] });
    let reply = server.infer_json("p.infer", &serde_json::json!({ "inputs": [image] })).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["outputs"][0]["data"][7], 0.5, "{}", reply.text);
    server.stop().await;
}

#[test]
fn a_declared_length_is_not_the_length_of_a_list() {
    let length = i64::from(i32::MAX);
    for steps in [false, true] {
        let inputs = [&["image", "starts", "ends", "", "steps"][..], &["image", "starts", "ends"]][usize::from(!steps)];
        let mut model = image().int_input("starts", &[Some(length)]).int_input("ends", &[Some(length)]);
        if steps {
            model = model.int_input("steps", &[Some(length)]);
        }
        let message = check(&model.node("Slice", inputs, "y", &[]).open_output("y"), ("rten", "infer-native"));
        assert!(message.contains("(Slice") && message.contains("has 2147483647 starts or ends"), "{steps}: {message}");
    }
}

#[test]
fn a_value_with_more_dimensions_than_any_tensor_is_refused() {
    let many = [Some(1); 65];
    let input = image().input("many", &many).node("Add", &["image", "many"], "y", &[]).open_output("y");
    let constant = image().floats("many", &[1; 65], &[1.0]).node("Add", &["image", "many"], "y", &[]).open_output("y");
    for engine in engines().into_iter().filter(|engine| engine.1 == "infer-native") {
        for model in [&input, &constant] {
            let message = check(model, engine);
            let expected = "has 65 dimensions, and at most 64 are supported";
            assert!(message.contains("`many`") && message.contains(expected), "{engine:?}: {message}");
        }
    }
}
