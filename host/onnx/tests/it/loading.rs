//! What a model needs when an engine loads it: refused before, if it is too much or cannot be said, and nothing else.

use rten_onnx::onnx::{AttributeProto, AttributeType, DataType, GraphProto, NodeProto, TensorProto, ValueInfoProto};

use crate::graphs::{file, floats, input, ints, named, value};

/// Why rten does not get a model with the input `x` of FLOAT and the output `y`.
fn refusal(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> Option<String> {
    refusal_of(vec![input("x", DataType::FLOAT, 2)], nodes, constants)
}

fn refusal_of(input: Vec<ValueInfoProto>, node: Vec<NodeProto>, initializer: Vec<TensorProto>) -> Option<String> {
    let graph = GraphProto { input, node, output: vec![value("y")], initializer, ..GraphProto::default() };
    plimsoll_onnx::prepare(file(graph, 13), &[]).err().map(|error| error.to_string())
}

/// `y` is the input plus the largest number of `big`.
fn with_big(mut nodes: Vec<NodeProto>) -> Vec<NodeProto> {
    nodes.push(named("ReduceMax", &["big"], &["most"], &[("keepdims", 0)]));
    nodes.push(named("Cast", &["most"], &["number"], &[("to", 1)]));
    nodes.push(named("Add", &["x", "number"], &["y"], &[]));
    nodes
}

/// A node with one graph.
fn with_body(mut node: NodeProto, name: &str, body: GraphProto) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.into()),
        g: Some(body),
        r#type: Some(AttributeType::GRAPH),
        ..AttributeProto::default()
    });
    node
}

#[test]
fn sizes_that_follow_from_constants_in_ways_that_are_not_followed_are_refused() {
    let sizes = || ints("sizes", &[2], &[1 << 20, 1 << 20]);
    let fill = |name: &str| named("ConstantOfShape", &[name], &["big"], &[]);
    let mut many = vec![1; 70];
    (many[0], many[1]) = (1 << 20, 1 << 20);
    let cut = || vec![ints("many", &[70], &many), ints("from", &[1], &[0]), ints("to", &[1], &[2])];
    let body = GraphProto {
        input: vec![
            input("round", DataType::INT64, 0),
            input("goes_on", DataType::BOOL, 0),
            input("state", DataType::FLOAT, 1),
        ],
        node: vec![
            named("Identity", &["goes_on"], &["still"], &[]),
            named("Concat", &["state", "state"], &["next"], &[("axis", 0)]),
        ],
        output: vec![value("still"), value("next")],
        ..GraphProto::default()
    };
    let loops = with_body(named("Loop", &["rounds", "", "start"], &["big"], &[]), "body", body);
    for (what, nodes, constants) in [
        (
            "(ConstantOfShape, operator set 13)",
            vec![named("Transpose", &["sizes"], &["same"], &[]), fill("same")],
            vec![sizes()],
        ),
        (
            "(ConstantOfShape, operator set 13)",
            vec![named("Slice", &["many", "from", "to"], &["cut"], &[]), fill("cut")],
            cut(),
        ),
        ("(Loop, operator set 13)", vec![loops], vec![ints("rounds", &[], &[40]), floats("start", &[1], &[1.0])]),
    ] {
        let message = refusal(with_big(nodes), constants).unwrap_or_else(|| panic!("{what}"));
        assert!(message.contains(what) && message.contains("cannot be said before"), "{what}: {message}");
    }
    // All elements can be other than 0.
    let square = vec![
        named("ConstantOfShape", &["sizes"], &["filled"], &[]),
        named("NonZero", &["filled"], &["found"], &[]),
        named("Transpose", &["found"], &["column"], &[]),
        named("Add", &["found", "column"], &["big"], &[]),
    ];
    let message = refusal(with_big(square.clone()), vec![ints("sizes", &[1], &[1 << 16])]).expect("refused");
    assert!(message.contains("(Add, operator set 13) needs 4294967296 elements"), "{message}");
    assert_eq!(refusal(with_big(square), vec![ints("sizes", &[1], &[100])]), None);
}

#[test]
fn what_requests_need_is_not_what_constants_need() {
    // 2^29 elements for the smallest input, after a shape that is constant.
    let scores = vec![
        named("Reshape", &["x", "shape"], &["heads"], &[]),
        named("Transpose", &["heads"], &["turned"], &[]),
        named("MatMul", &["heads", "turned"], &["scores"], &[]),
        named("ReduceMax", &["scores"], &["y"], &[("keepdims", 0)]),
    ];
    let mut turned = scores.clone();
    turned[1].attribute.push(AttributeProto {
        name: Some("perm".into()),
        ints: vec![0, 2, 1],
        r#type: Some(AttributeType::INTS),
        ..AttributeProto::default()
    });
    assert_eq!(refusal(turned, vec![ints("shape", &[3], &[8, 8192, 8])]), None);
}

/// Files of old versions list their constants as inputs.
#[test]
fn a_constant_that_is_also_an_input_is_a_constant() {
    let nodes = vec![named("Tile", &["x", "times"], &["big"], &[])];
    let inputs = || vec![input("x", DataType::FLOAT, 2), input("times", DataType::INT64, 1)];
    let times = |count: i64| vec![ints("times", &[2], &[count, count])];
    let message = refusal_of(inputs(), with_big(nodes.clone()), times(1 << 16)).expect("refused");
    assert!(
        message.contains("(Tile, operator set 13) needs 4294967296 elements in one value in every run"),
        "{message}"
    );
    assert_eq!(refusal_of(inputs(), with_big(nodes), times(2)), None);
}

#[test]
fn paths_through_branches_and_products_behind_other_nodes_are_counted() {
    let named_at = |at: usize| if at == 0 { "x".to_owned() } else { format!("value_{at}") };
    let branch = |nodes: Vec<NodeProto>, output: &str| GraphProto {
        node: nodes,
        output: vec![value(output)],
        ..GraphProto::default()
    };
    let condition = || TensorProto { data_type: Some(DataType::BOOL), int32_data: vec![1], ..ints("c", &[], &[]) };
    let choice = |at: usize, yes: GraphProto| {
        let no = branch(vec![named("Neg", &["x"], &[&format!("no_{at}")], &[])], &format!("no_{at}"));
        let node = named("If", &["c"], &[&named_at(at)], &[]);
        with_body(with_body(node, "then_branch", yes), "else_branch", no)
    };
    let through: Vec<NodeProto> = (1..=10_100)
        .map(|at| {
            let yes = format!("yes_{at}");
            choice(at, branch(vec![named("Neg", &[&named_at(at - 1)], &[&yes], &[])], &yes))
        })
        .chain([named("Identity", &["value_10100"], &["y"], &[])])
        .collect();
    let message = refusal(through, vec![condition()]).expect("refused");
    assert!(message.contains("paths of more than 10000 nodes"), "{message}");
    let inner_name = |at: usize| if at == 0 { "x".to_owned() } else { format!("inner_{at}") };
    let deep = (1..=2_100).map(|at| named("Neg", &[&inner_name(at - 1)], &[&inner_name(at)], &[])).collect();
    let deep = vec![choice(1, branch(deep, "inner_2100")), named("Identity", &["value_1"], &["y"], &[])];
    let message = refusal(deep, vec![condition()]).expect("refused");
    assert!(message.contains("paths of more than 2000 nodes"), "{message}");
    let squares = (1..=40).flat_map(|at| {
        let square = format!("square_{at}");
        let before = named_at(at - 1);
        [named("Mul", &[&before, &before], &[&square], &[]), named("Identity", &[&square], &[&named_at(at)], &[])]
    });
    let squares = squares.chain([named("Add", &["value_40", "x"], &["y"], &[])]).collect();
    let message = refusal(squares, Vec::new()).expect("refused");
    assert!(message.contains("supports 10000 terms, and this node has 16384"), "{message}");
}

#[test]
fn nodes_with_very_many_inputs_or_outputs_are_refused() {
    let of = |count: usize| {
        let parts: Vec<String> = (0..count).map(|at| format!("part_{at}")).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let split = vec![named("Split", &["x"], &parts, &[("axis", 0)]), named("Identity", &[parts[0]], &["y"], &[])];
        let inputs = vec!["x"; count];
        let joined = vec![named("Concat", &inputs, &["all"], &[("axis", 0)]), named("Identity", &["all"], &["y"], &[])];
        [split, joined]
    };
    for nodes in of(10_001) {
        let message = refusal(nodes, Vec::new()).expect("refused");
        assert!(message.contains("supports 10000 inputs and as many outputs, and this node has 10001"), "{message}");
    }
    for nodes in of(100) {
        assert_eq!(refusal(nodes, Vec::new()), None);
    }
}
