//! Models that define a value twice: every backend rejects them when they are loaded.

use plimsoll_tests::onnx::Onnx;

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
        .typed("is_true", &[], rten_onnx::onnx::DataType::BOOL, &[1])
        .node("If", &["is_true"], "y", &[])
        .with_graph("then_branch", branch())
        .with_graph("else_branch", branch());
    let models = [
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
        let loaded = backend.load(&crate::batch_rows::source(with_default.bytes()));
        assert!(loaded.is_ok(), "{name}: {:?}", loaded.err().map(|error| error.to_string()));
    }
}
