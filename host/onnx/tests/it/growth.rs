//! Values whose size numbers of a request decide, and what operators make of them: each run is refused before it creates a
//! tensor that is too large.

use rten::Value;
use rten_onnx::onnx::{AttributeProto, DataType, GraphProto, NodeProto, TensorProto};
use rten_tensor::Tensor;

use crate::graphs::{With, body, file, graph, input, ints, list, named, run, shaped, text, value};

/// A model whose list `r` is as long as the number `x`; `row`, `column` and `image` have its elements.
fn model(nodes: Vec<NodeProto>, constants: Vec<TensorProto>, opset: i64) -> Vec<u8> {
    let mut all = vec![
        named("ReduceSum", &["x"], &["sum"], &[("keepdims", 0)]),
        named("Cast", &["sum"], &["end"], &[("to", i64::from(DataType::INT64.0))]),
        named("Range", &["zero", "end", "one"], &["r"], &[]),
        named("Cast", &["r"], &["f"], &[("to", i64::from(DataType::FLOAT.0))]),
        named("Reshape", &["f", "wide"], &["row"], &[]),
        named("Reshape", &["f", "high"], &["column"], &[]),
        named("Reshape", &["f", "outer"], &["image"], &[]),
    ];
    all.extend(nodes);
    let mut initializer = vec![
        ints("zero", &[], &[0]),
        ints("one", &[], &[1]),
        ints("wide", &[2], &[1, -1]),
        ints("high", &[2], &[-1, 1]),
        ints("outer", &[4], &[1, 1, 1, -1]),
    ];
    initializer.extend(constants);
    let graph = GraphProto {
        input: vec![input("x", DataType::FLOAT, 1)],
        node: all,
        output: vec![value("y")],
        initializer,
        ..GraphProto::default()
    };
    file(graph, opset)
}

fn number(number: f32) -> Vec<(&'static str, Value)> {
    vec![("x", Tensor::from_data(&[1], vec![number]).into())]
}

/// The model runs for 5 elements, and is refused for a million of them.
fn check(what: &str, bytes: &[u8]) {
    run(bytes.to_vec(), &number(5.0)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let error = run(bytes.to_vec(), &number(1_000_000.0)).expect_err(what);
    assert!(error.contains("a tensor is too large at node `node_y`"), "{what}: {error}");
}

/// A constant of FLOAT of these sizes.
fn zeros(name: &str, dims: &[i64]) -> TensorProto {
    let count = dims.iter().product::<i64>();
    crate::graphs::floats(name, dims, &vec![0.0; usize::try_from(count).expect("small")])
}

#[test]
fn results_of_two_lists_of_a_request_are_limited() {
    let equation = |text_: &str| text("equation", text_);
    for (what, node, opset) in [
        ("Gemm", named("Gemm", &["column", "row"], &["y"], &[]), 13),
        ("Gemm, turned", named("Gemm", &["row", "column"], &["y"], &[("transA", 1), ("transB", 1)]), 13),
        ("MatMul", named("MatMul", &["column", "row"], &["y"], &[]), 13),
        ("Einsum", named("Einsum", &["f", "f"], &["y"], &[]).with(equation("i,j->ij")), 13),
        ("Einsum of matrices", named("Einsum", &["column", "row"], &["y"], &[]).with(equation("ik, kj")), 13),
        ("Einsum on its way", named("Einsum", &["f", "f", "f"], &["y"], &[]).with(equation("i,j,i->j")), 13),
        ("Equal", named("Equal", &["column", "row"], &["y"], &[]), 13),
        ("Add, of ranks that nothing tells", named("Add", &["wider", "higher"], &["y"], &[]), 13),
        ("And", named("And", &["wider", "higher"], &["y"], &[]), 13),
        ("Concat", named("Concat", &["wider", "wider"], &["y"], &[("axis", 0)]), 13),
    ] {
        let before = match what {
            "And" => vec![
                named("Equal", &["row", "row"], &["wider"], &[]),
                named("Equal", &["column", "column"], &["higher"], &[]),
            ],
            "Add, of ranks that nothing tells" => vec![
                named("Einsum", &["row"], &["wider"], &[]).with(equation("ij->ij")),
                named("Einsum", &["column"], &["higher"], &[]).with(equation("ij->ij")),
            ],
            "Concat" => vec![named("Tile", &["f", "times"], &["wider"], &[])],
            _ => Vec::new(),
        };
        let bytes = model([before, vec![node]].concat(), vec![ints("times", &[1], &[200])], opset);
        check(what, &bytes);
    }
    let column = named("Reshape", &["f", "columns"], &["q"], &[]);
    let attention = named("Attention", &["q", "q", "q"], &["y"], &[]);
    check("Attention", &model(vec![column, attention], vec![ints("columns", &[4], &[1, 1, -1, 1])], 23));
    let column = named("Reshape", &["f", "columns"], &["q"], &[]);
    let attention = named("Attention", &["q", "q", "q"], &["y"], &[("q_num_heads", 1), ("kv_num_heads", 1)]);
    check("Attention of heads", &model(vec![column, attention], vec![ints("columns", &[3], &[1, -1, 1])], 23));
}

#[test]
fn results_of_a_list_of_a_request_and_constants_are_limited() {
    for (what, node, constants) in [
        ("Expand", named("Expand", &["column", "shape"], &["y"], &[]), vec![ints("shape", &[2], &[1, 1_000])]),
        ("Tile", named("Tile", &["f", "times"], &["y"], &[]), vec![ints("times", &[1], &[1_000])]),
        (
            "OneHot",
            named("OneHot", &["r", "depth", "both"], &["y"], &[]),
            vec![ints("depth", &[], &[1_000]), ints("both", &[2], &[0, 1])],
        ),
        ("Pad", named("Pad", &["column", "pads"], &["y"], &[]), vec![ints("pads", &[4], &[0, 0, 0, 1_000])]),
        (
            "Resize",
            named("Resize", &["image", "", "scales"], &["y"], &[]),
            vec![crate::graphs::floats("scales", &[4], &[1.0, 1.0, 300.0, 1.0])],
        ),
        ("Conv", named("Conv", &["image", "w"], &["y"], &[]), vec![zeros("w", &[1_000, 1, 1, 1])]),
        (
            "Conv with pads",
            named("Conv", &["image", "w"], &["y"], &[]).with(list("pads", &[150, 0, 150, 0])),
            vec![zeros("w", &[1, 1, 1, 1])],
        ),
        ("MatMul", named("MatMul", &["column", "w"], &["y"], &[]), vec![zeros("w", &[1, 1_000])]),
        ("GatherND", named("GatherND", &["w", "places"], &["y"], &[]), vec![zeros("w", &[1, 1_000])]),
    ] {
        let nodes = match what {
            "GatherND" => vec![
                named("Mul", &["r", "zero"], &["none"], &[]),
                named("Reshape", &["none", "high"], &["places"], &[]),
                node,
            ],
            _ => vec![node],
        };
        check(what, &model(nodes, constants, 13));
    }
}

#[test]
fn operators_whose_result_nothing_limits_are_refused() {
    let bytes = model(vec![named("ConvTranspose", &["image", "w"], &["y"], &[])], vec![zeros("w", &[1, 1, 1, 1])], 13);
    let error = run(bytes, &number(5.0)).expect_err("refused");
    assert!(error.contains("node_y") && error.contains("cannot limit the result"), "{error}");
}

/// A loop of one round with the list as its state.
fn looped(round: Vec<NodeProto>, states: &[&str], returned: &[&str]) -> AttributeProto {
    let mut inner = graph(&[], round, &[], Vec::new());
    inner.node.push(named("Identity", &["going"], &["goes_on"], &[]));
    inner.input = vec![shaped("round", DataType::INT64, &[]), shaped("going", DataType::BOOL, &[])];
    inner.input.extend(states.iter().map(|name| input(name, DataType::FLOAT, 1)));
    inner.output = std::iter::once(value("goes_on")).chain(returned.iter().map(|name| value(name))).collect();
    body("body", inner)
}

#[test]
fn the_state_of_a_loop_stays_a_list_of_a_request() {
    let pairs = |list: &str, name: &str| {
        vec![
            named("Unsqueeze", &[list, "first"], &["a"], &[]),
            named("Unsqueeze", &[list, "second"], &["b"], &[]),
            named("Mul", &["a", "b"], &[name], &[]),
        ]
    };
    let constants = || vec![ints("first", &[1], &[0]), ints("second", &[1], &[1])];
    let state = looped(vec![named("Identity", &["state"], &["next"], &[])], &["state"], &["next"]);
    let after = [vec![named("Loop", &["one", "", "f"], &["l"], &[]).with(state)], pairs("l", "y")].concat();
    check("after the loop", &model(after, constants(), 13));

    let round = [
        pairs("state", "y"),
        vec![
            named("ReduceMax", &["y"], &["most"], &[("keepdims", 0)]),
            named("Mul", &["state", "most"], &["next"], &[]),
        ],
    ];
    let inside = looped(round.concat(), &["state"], &["next"]);
    check(
        "inside",
        &model(
            vec![named("Loop", &["one", "", "f"], &["l"], &[]).with(inside), named("Identity", &["l"], &["z"], &[])],
            constants(),
            13,
        )
        .renamed("z"),
    );

    // The first state takes the second one, which is the list.
    let round = [
        pairs("first_state", "y"),
        vec![
            named("ReduceMax", &["y"], &["most"], &[("keepdims", 0)]),
            named("Identity", &["second_state"], &["next"], &[]),
            named("Mul", &["second_state", "most"], &["same"], &[]),
        ],
    ];
    let handed = looped(round.concat(), &["first_state", "second_state"], &["next", "same"]);
    let nodes = vec![
        named("Loop", &["two", "", "x", "f"], &["l", "m"], &[]).with(handed),
        named("Identity", &["l"], &["z"], &[]),
    ];
    let constants = [constants(), vec![ints("two", &[], &[2])]].concat();
    check("in the second round", &model(nodes, constants, 13).renamed("z"));
}

/// The body of each loop is corrected again if it returns a list of a request, so the corrections must not multiply.
#[test]
fn loops_in_loops_in_loops_are_prepared() {
    // The innermost state becomes a list of a request; three states are handed on, one more in each round.
    let mut round = vec![
        named("Identity", &["f"], &["a0"], &[]),
        named("Identity", &["first0"], &["b0"], &[]),
        named("Identity", &["second0"], &["c0"], &[]),
    ];
    for level in 0..28 {
        let name = |of: &str, level: usize| format!("{of}{level}");
        let [a, b, c] = ["a", "b", "c"].map(|of| name(of, level));
        let [first, second, third] = ["first", "second", "third"].map(|of| name(of, level));
        let mut inner = graph(&[], round, &[], Vec::new());
        let goes_on = name("goes_on", level);
        inner.node.push(named("Identity", &[&name("going", level)], &[&goes_on], &[]));
        inner.input = vec![
            shaped(&name("round", level), DataType::INT64, &[]),
            shaped(&name("going", level), DataType::BOOL, &[]),
        ];
        inner.input.extend([&first, &second, &third].map(|name| input(name, DataType::FLOAT, 1)));
        inner.output = [&goes_on, &a, &b, &c].map(|name| value(name)).to_vec();
        let outer = ["first", "second", "third"].map(|of| name(of, level + 1));
        let results = ["a", "b", "c"].map(|of| name(of, level + 1));
        let given: Vec<&str> = match level {
            27 => vec!["one", "", "x", "x", "x"],
            _ => vec!["one", "", &outer[0], &outer[1], &outer[2]],
        };
        let results: Vec<&str> = results.iter().map(String::as_str).collect();
        round = vec![named("Loop", &given, &results, &[]).with(body("body", inner))];
    }
    round.push(named("Identity", &["c28"], &["y"], &[]));
    run(model(round, vec![], 13), &number(5.0)).expect("computed");
}

#[test]
fn what_a_loop_collects_of_a_request_is_refused() {
    let collects = looped(vec![named("Neg", &["f"], &["part"], &[])], &[], &["part"]);
    let bytes = model(vec![named("Loop", &["one", ""], &["y"], &[]).with(collects)], vec![], 13);
    let error = run(bytes, &number(5.0)).expect_err("refused");
    assert!(error.contains("node_y") && error.contains("cannot limit what the loop collects"), "{error}");
}

trait Renamed {
    /// The model with another output.
    fn renamed(self, output: &str) -> Vec<u8>;
}

impl Renamed for Vec<u8> {
    fn renamed(self, output: &str) -> Vec<u8> {
        let mut model = rten_onnx::onnx::ModelProto::parse_buf(&self).expect("a model");
        model.graph.as_mut().expect("a graph").output[0].name = Some(output.into());
        model.write_buf().expect("written")
    }
}
