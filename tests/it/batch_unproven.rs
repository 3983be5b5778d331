//! A model of whose rows the graph proves nothing is batched only with `max_batch_unproven`.

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir};

use crate::model_cases::{config, engines};

/// A model whose rows all decide what is done with each of them, if one has a number that no comparison of rows tries.
fn by_all_rows(decide: bool) -> Vec<u8> {
    let shape = [None, Some(3), Some(8), Some(8)];
    let branch = |operator: &str| Onnx::new(13).node(operator, &["image"], "z", &[]).output("z", &shape);
    let onnx = Onnx::new(13)
        .input("image", &shape)
        .floats("limit", &[], &[77.7])
        .floats("end", &[], &[77.7001])
        .output("y", &shape);
    match decide {
        true => onnx
            .node("Greater", &["image", "limit"], "above", &[])
            .node("Less", &["image", "end"], "below", &[])
            .node("And", &["above", "below"], "inside", &[])
            .node("Cast", &["inside"], "number", &[("to", 1)])
            .node("ReduceMax", &["number"], "most", &[("keepdims", 0)])
            .node("Cast", &["most"], "hit", &[("to", 9)])
            .node("If", &["hit"], "y", &[])
            .with_graph("then_branch", branch("Neg"))
            .with_graph("else_branch", branch("Identity"))
            .bytes(),
        // The rows are independent, but a list of what is found in all of them does not show it.
        false => onnx
            .node("Greater", &["image", "limit"], "above", &[])
            .node("NonZero", &["above"], "found", &[])
            .node("Transpose", &["found"], "places", &[])
            .node("GatherND", &["image", "places"], "values", &[])
            .node("Neg", &["values"], "negative", &[])
            .node("ScatterND", &["image", "places", "negative"], "y", &[])
            .bytes(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_proof_is_batched_only_if_the_administrator_says_so() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("model.onnx");
    for engine in engines().into_iter().filter(|engine| engine.1 == "infer-native") {
        std::fs::write(&file, by_all_rows(true)).expect("written");
        // ONNX Runtime wants a name for each branch, and these models have none.
        for key in ["", "max_batch_unproven = true"].into_iter().filter(|_| engine.0 == "rten") {
            let message = Server::rejection(&config(&file, engine, &format!("max_batch = 4\n{key}"))).await;
            assert!(message.contains("(ReduceMax) joins rows"), "{engine:?} {key}: {message}");
        }
        std::fs::write(&file, by_all_rows(false)).expect("written");
        let message = Server::rejection(&config(&file, engine, "max_batch = 4")).await;
        for part in ["(NonZero)", "remove `max_batch`", "`max_batch_unproven = true`"] {
            assert!(message.contains(part), "{engine:?}: {message}");
        }
        Server::start(&config(&file, engine, "max_batch = 4\nmax_batch_unproven = true")).await.stop().await;
        let message = Server::rejection(&config(&file, engine, "max_batch_unproven = true")).await;
        assert!(message.contains("max_batch_unproven") && message.contains("set `max_batch` too"), "{message}");
    }
}
