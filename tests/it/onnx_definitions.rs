//! Models that define a value twice, or use it before it is computed: every backend rejects them when they are loaded.

use plimsoll_tests::onnx::Onnx;
use rten_onnx::onnx::DataType;

use crate::batch_rows::source;
use crate::onnx_deaths::with_graph_field;
use crate::onnx_division::field;
use crate::onnx_empty::{backends, floats, run};

#[tokio::test]
async fn a_value_that_is_defined_twice_is_rejected() {
    let list = [None];
    let start = || Onnx::new(13).input("x", &list).output("y", &list);
    let two_nodes = start().node("Neg", &["x"], "twice", &[]).node("Abs", &["x"], "twice", &[]).node(
        "Add",
        &["twice", "x"],
        "y",
        &[],
    );
    let one_node =
        start().node("Split", &["x"], "twice", &[]).with_outputs(&["twice"]).node("Neg", &["twice"], "y", &[]);
    let constant =
        start().floats("twice", &[1], &[5.0]).node("Neg", &["x"], "twice", &[]).node("Add", &["x", "twice"], "y", &[]);
    let input = Onnx::new(13)
        .input("twice", &list)
        .node("Neg", &["twice"], "twice", &[])
        .node("Abs", &["twice"], "y", &[])
        .output("y", &list);
    let branch =
        || Onnx::new(13).node("Neg", &["x"], "twice", &[]).node("Abs", &["x"], "twice", &[]).output("twice", &list);
    let branches = start()
        .typed("is_true", &[], DataType::BOOL, &[1])
        .node("If", &["is_true"], "y", &[])
        .with_graph("then_branch", branch())
        .with_graph("else_branch", branch());
    let constants =
        start().floats("twice", &[1], &[5.0]).floats("twice", &[1], &[6.0]).node("Add", &["x", "twice"], "y", &[]);
    let inputs = start().input("twice", &list).input("twice", &list).node("Add", &["x", "twice"], "y", &[]);
    let models = [
        ("two constants", constants, "x"),
        ("two inputs", inputs, "x"),
        ("two nodes", two_nodes, "x"),
        ("one node", one_node, "x"),
        ("a constant", constant, "x"),
        ("an input", input, "twice"),
        ("a branch", branches, "x"),
    ];
    for (name, backend) in backends() {
        for (what, model, given) in &models {
            let error = run(&*backend, model, &[(given, floats(&[2], &[1.0, 2.0]))]).await.expect_err(what);
            for part in ["defines the value `twice` twice", "give one of them another name"] {
                assert!(error.contains(part), "{name}, {what}: `{part}` in {error}");
            }
        }
        // An input may have a default.
        let with_default = start().input("b", &[Some(1)]).floats("b", &[1], &[5.0]).node("Add", &["x", "b"], "y", &[]);
        let loaded = backend.load(&source(with_default.bytes()));
        assert!(loaded.is_ok(), "{name}: {:?}", loaded.err().map(|error| error.to_string()));
    }
}

fn rejections(model: &Onnx) -> Vec<(&'static str, String)> {
    let of = |backend: &dyn plimsoll_runtime::nn::Backend| backend.load(&source(model.bytes())).err();
    backends().into_iter().map(|(name, backend)| (name, of(&*backend).expect("rejected").to_string())).collect()
}

/// onnxruntime would sort the nodes, and the analysis of the model would not know what it computes.
#[test]
fn nodes_that_are_not_in_order_are_named() {
    let list = [None];
    let start = || Onnx::new(13).input("x", &list).output("y", &list);
    let later = start().node("Abs", &["a"], "y", &[]).node("Neg", &["x"], "a", &[]);
    let itself = start().node("Add", &["x", "a"], "a", &[]).node("Abs", &["a"], "y", &[]);
    let branch = |name: &str| Onnx::new(13).node("Abs", &["a"], name, &[]).output(name, &list);
    let branches = start()
        .typed("is_true", &[], DataType::BOOL, &[1])
        .node("If", &["is_true"], "y", &[])
        .with_graph("then_branch", branch("t"))
        .with_graph("else_branch", branch("e"))
        .node("Neg", &["x"], "a", &[]);
    let later_node = "uses the value `a`, which only the later node `node_a` (Neg) computes";
    for (model, node, why) in [
        (later, "node `node_y` (Abs)", later_node),
        (itself, "node `node_a` (Add)", "uses the value `a`, which only it computes itself"),
        (branches, "node `node_y` (If)", later_node),
    ] {
        for (name, error) in rejections(&model) {
            for part in [node, why, "sort them"] {
                assert!(error.contains(part), "{name}: `{part}` in {error}");
            }
        }
    }
}

#[test]
fn an_attribute_or_an_output_that_is_there_twice_is_rejected() {
    let list = [None];
    let start = || Onnx::new(13).input("x", &[None, None]).output("y", &list);
    let attribute = start().node("Softmax", &["x"], "y", &[("axis", 0), ("axis", 1)]);
    let output = start().node("Softmax", &["x"], "y", &[("axis", 0)]).output("y", &list);
    for (model, why) in [
        (attribute, "node `node_y` (Softmax) has the attribute `axis` twice"),
        (output, "returns the output `y` twice"),
    ] {
        for (name, error) in rejections(&model) {
            assert!(error.contains(why), "{name}: {error}");
        }
    }
}

/// The parser of this project does not read sparse constants; onnxruntime would take one of the two.
#[test]
fn a_sparse_constant_with_the_name_of_another_value_is_rejected() {
    // The dimensions, the type FLOAT, the name and the only value 3 of a tensor.
    let mut values = vec![0x08, 1, 0x10, 1];
    field(&mut values, 8, b"twice");
    field(&mut values, 9, &3.0f32.to_le_bytes());
    let mut sparse = Vec::new();
    field(&mut sparse, 1, &values);
    // The index 0, of INT64.
    field(&mut sparse, 2, &[0x08, 1, 0x10, 7, 0x4A, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    sparse.extend([0x18, 1]);
    let onnx = |name: &str| {
        let onnx = Onnx::new(13).input("x", &[None]).floats(name, &[1], &[5.0]).output("y", &[None]);
        onnx.node("Add", &["x", name], "y", &[])
    };
    for (name, is_rejected) in [("twice", true), ("once", false)] {
        let mut graph = Vec::new();
        field(&mut graph, 15, &sparse);
        let bytes = with_graph_field(&onnx(name).bytes(), &graph);
        for (backend, opened) in backends() {
            let error = opened.load(&source(bytes.clone())).err().map(|error| error.to_string());
            let is_named = error.as_ref().is_some_and(|error| error.contains("defines the value `twice` twice"));
            assert_eq!(is_named, is_rejected, "{backend}, {name}: {error:?}");
        }
    }
}
