//! The largest values of a run: of models whose sizes follow from branches, loops, sequences, or numbers of the request.

use plimsoll_onnx::{GivenInput, RunPeaks, RunSizes};
use rten_onnx::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

use crate::graphs::{self, body, file, graph, int, text, value};

/// A node of one output.
fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    graphs::node(operator, inputs, &[output])
}

/// A constant of integers: a scalar, or a list.
fn ints(name: &str, values: &[i64], is_scalar: bool) -> TensorProto {
    let dims = if is_scalar { Vec::new() } else { vec![values.len() as i64] };
    graphs::ints(name, &dims, values)
}

fn with(mut node: NodeProto, attributes: Vec<AttributeProto>) -> NodeProto {
    node.attribute = attributes;
    node
}

/// A graph with this version of the standard operator set.
fn sizes(graph: GraphProto, opset: i64) -> RunSizes {
    RunSizes::of_model(&file(graph, opset)).expect("a model")
}

/// The name of an input, its shape and its integers.
type Input<'a> = (&'a str, &'a [u32], Option<&'a [i64]>);

fn peaks(sizes: &RunSizes, inputs: &[Input]) -> RunPeaks {
    let inputs: Vec<GivenInput> =
        inputs.iter().map(|&(name, shape, elements)| GivenInput { name, shape, elements }).collect();
    let peaks = sizes.peaks(&inputs).expect("no panic");
    // The names inside of bodies are not known outside, so the estimate can be repeated.
    assert_eq!(sizes.peaks(&inputs).expect("no panic"), peaks);
    peaks
}

fn largest(peaks: &RunPeaks) -> u64 {
    peaks.value.as_ref().map_or(0, |value| value.elements)
}

/// A branch of an `If` that computes a value, and returns its largest element.
fn branch(name: &str, product: NodeProto) -> AttributeProto {
    body(name, graph(&[], vec![product, node("ReduceMax", &["inner"], "largest")], &["largest"], Vec::new()))
}

#[test]
fn the_larger_branch_is_counted_unless_the_other_one_runs_for_certain() {
    let products = || node("MatMul", &["column", "row"], "inner");
    let small = || node("Identity", &["column"], "inner");
    let inputs = |condition: Option<&'static [i64]>| {
        [("condition", &[] as &[u32], condition), ("column", &[5_000, 1], None), ("row", &[1, 5_000], None)]
    };
    for (yes, no, condition, expected) in [
        (products(), small(), None, 25_000_000),
        (small(), products(), None, 25_000_000),
        (products(), small(), Some(&[1_i64] as &[i64]), 25_000_000),
        (products(), small(), Some(&[0]), 5_000),
    ] {
        let choice = with(node("If", &["condition"], "y"), vec![branch("then_branch", yes), branch("else_branch", no)]);
        let sizes = sizes(graph(&["condition", "column", "row"], vec![choice], &["y"], Vec::new()), 13);
        assert!(sizes.is_sizing("condition") && !sizes.is_sizing("column"));
        assert_eq!(largest(&peaks(&sizes, &inputs(condition))), expected, "{condition:?}");
    }
}

/// All pairs of a list, as `pairs`.
fn pairs(list: &str) -> Vec<NodeProto> {
    vec![
        node("Unsqueeze", &[list, "first"], "row"),
        node("Unsqueeze", &[list, "second"], "column"),
        node("Add", &["row", "column"], "pairs"),
        node("ReduceMax", &["pairs"], "y"),
    ]
}

fn axes() -> Vec<TensorProto> {
    vec![ints("first", &[0], false), ints("second", &[1], false), ints("zero", &[0], true), ints("one", &[1], true)]
}

#[test]
fn sizes_that_integers_of_a_request_state_are_followed() {
    // Pairs of a range up to (n + 1) / 2.
    let mut nodes = vec![
        node("Add", &["n", "one"], "more"),
        node("Add", &["one", "one"], "two"),
        node("Div", &["more", "two"], "half"),
        node("Range", &["zero", "half", "one"], "range"),
    ];
    nodes.extend(pairs("range"));
    let sizes = sizes(graph(&["n"], nodes, &["y"], axes()), 13);
    assert!(sizes.is_sizing("n"));
    assert_eq!(largest(&peaks(&sizes, &[("n", &[], Some(&[40_000]))])), 20_000 * 20_000);
    assert_eq!(largest(&peaks(&sizes, &[("n", &[], Some(&[8]))])), 16);
}

#[test]
fn what_is_found_in_data_is_taken_as_large_as_it_can_be() {
    for (found, shape, expected) in [
        (node("NonZero", &["x"], "found"), [1_u32, 20_000], 20_000_u64 * 20_000),
        (node("Compress", &["x", "chosen"], "found"), [1, 20_000], 20_000 * 20_000),
        (node("Unique", &["x"], "found"), [2, 10_000], 20_000 * 20_000),
        // An end that nothing tells.
        (node("Slice", &["x", "first", "end", "second"], "found"), [1, 20_000], 20_000 * 20_000),
    ] {
        let mut nodes = vec![
            node("ArgMax", &["x"], "places"),
            node("Reshape", &["places", "all"], "list"),
            node("Slice", &["list", "first", "second"], "end"),
            found,
            node("Reshape", &["found", "all"], "flat"),
        ];
        let is_pair = nodes[3].op_type.as_deref() == Some("NonZero");
        nodes.extend(pairs("flat"));
        let mut constants = axes();
        constants.push(ints("all", &[-1], false));
        let sizes = sizes(graph(&["x", "chosen"], nodes, &["y"], constants), 13);
        let found = peaks(&sizes, &[("x", &shape, None), ("chosen", &[20_000], None)]);
        // The two coordinates of each element.
        assert_eq!(largest(&found), if is_pair { 4 * expected } else { expected });
    }
}

/// A loop whose state grows by `x` in each round. `limit` is the name of its number of rounds, `goes_on` what each round
/// returns as condition.
fn growing(operator: &str, operands: [&str; 2], limit: &str, goes_on: NodeProto) -> NodeProto {
    let grow = match operator {
        "Concat" => with(node("Concat", &operands, "next"), vec![int("axis", 0)]),
        _ => node(operator, &operands, "next"),
    };
    let round = graph(&["round", "going", "state"], vec![goes_on, grow], &["goes_on", "next"], Vec::new());
    with(node("Loop", &[limit, "", "x"], "y"), vec![body("body", round)])
}

#[test]
fn loops_run_as_often_as_they_may() {
    let always = || node("Identity", &["going"], "goes_on");
    let sometimes = || node("Greater", &["going", "going"], "goes_on");
    let given = |rounds: i64| vec![rounds];
    // A number of the request, one that only ends the loop at the latest, and one that is computed from data.
    for (goes_on, rounds, expected) in [
        (always(), Some(given(5_000)), 5_001 * 10),
        (sometimes(), Some(given(5_000)), 5_001 * 10),
        (always(), Some(given(0)), 0),
        (always(), None, 1_000_001 * 10),
    ] {
        let loop_ = growing("Concat", ["state", "x"], "n", goes_on);
        let sizes = sizes(graph(&["n", "x"], vec![loop_], &["y"], Vec::new()), 13);
        assert!(sizes.is_sizing("n"));
        let found = peaks(&sizes, &[("n", &[], rounds.as_deref()), ("x", &[10], None)]);
        // Without a round the loop returns its input.
        assert_eq!(largest(&found).max(10), expected.max(10), "{rounds:?}");
    }
    // A state that grows by more in every round.
    let mut square = growing("Concat", ["state", "range"], "n", always());
    if let Some(round) = &mut square.attribute[0].g {
        round.node.insert(1, node("Range", &["zero", "round", "one"], "range"));
    }
    let sizes = sizes(graph(&["n", "x"], vec![square], &["y"], axes()), 13);
    let found = largest(&peaks(&sizes, &[("n", &[], Some(&[1_000])), ("x", &[10], None)]));
    assert_eq!(found, 10 + 999 * 500);
}

/// A size that does not change in the first rounds, and grows later.
#[test]
fn loops_that_grow_in_later_rounds_only_are_not_followed() {
    let mut late = growing("Concat", ["state", "range"], "n", node("Identity", &["going"], "goes_on"));
    if let Some(round) = &mut late.attribute[0].g {
        round.node.insert(1, node("Sub", &["round", "fifty"], "over"));
        round.node.insert(2, node("Max", &["over", "zero"], "more"));
        round.node.insert(3, node("Range", &["zero", "more", "one"], "range"));
    }
    let mut constants = axes();
    constants.push(ints("fifty", &[50], true));
    let sizes = sizes(graph(&["n", "x"], vec![late], &["y"], constants), 13);
    let found = |rounds: i64| peaks(&sizes, &[("n", &[], Some(&[rounds])), ("x", &[10], None)]);
    assert_eq!((largest(&found(50)), found(50).unfollowed), (10, None));
    assert!(found(100).unfollowed.is_some());
}

/// Loops in loops, whose states grow unevenly: the estimate ends, and says that it does not know.
#[test]
fn loops_in_loops_that_grow_unevenly_are_not_followed_for_long() {
    let always = || node("Identity", &["going"], "goes_on");
    let mut nested = growing("Concat", ["state", "range"], "n", always());
    for _ in 0..6 {
        let Some(round) = &mut nested.attribute[0].g else { unreachable!("a loop") };
        // 0, 1, 2, 3, 4, 0, 1 and so on elements.
        round.node.insert(1, node("Mod", &["round", "five"], "rest"));
        round.node.insert(2, node("Range", &["zero", "rest", "one"], "range"));
        nested.input[2] = "state".into();
        nested.output[0] = "next".into();
        let outer = graph(&["round", "going", "state"], vec![always(), nested], &["goes_on", "next"], Vec::new());
        nested = with(node("Loop", &["n", "", "x"], "y"), vec![body("body", outer)]);
    }
    let Some(round) = &mut nested.attribute[0].g else { unreachable!("a loop") };
    round.node.insert(1, node("Range", &["zero", "one", "one"], "range"));
    let mut constants = axes();
    constants.push(ints("five", &[5], true));
    let sizes = sizes(graph(&["n", "x"], vec![nested], &["y"], constants), 13);
    let clock = std::time::Instant::now();
    let found = sizes.peaks(&[
        GivenInput { name: "n", shape: &[], elements: Some(&[45]) },
        GivenInput { name: "x", shape: &[1], elements: None },
    ]);
    println!("an estimate that gives up takes {:?}", clock.elapsed());
    assert!(found.as_ref().is_ok_and(|found| found.unfollowed.is_some()), "{found:?}");
}

#[test]
fn the_scores_of_attention_and_the_steps_of_products_are_counted() {
    let attention = with(node("Attention", &["q", "k", "v"], "y"), vec![int("q_num_heads", 4), int("kv_num_heads", 2)]);
    let sizes_of = |node: NodeProto, opset: i64| sizes(graph(&["q", "k", "v"], vec![node], &["y"], Vec::new()), opset);
    let inputs = |query: &'static [u32], key: &'static [u32]| [("q", query, None), ("k", key, None), ("v", key, None)];
    let found = peaks(&sizes_of(attention.clone(), 23), &inputs(&[2, 1_000, 64], &[2, 3_000, 32]));
    assert_eq!(largest(&found), 2 * 4 * 1_000 * 3_000);
    let found = sizes_of(attention, 23).outputs(
        &[("q", [2, 1_000, 64]), ("k", [2, 3_000, 32]), ("v", [2, 3_000, 32])]
            .each_ref()
            .map(|(name, shape)| GivenInput { name, shape, elements: None }),
    );
    assert_eq!(found.expect("no panic"), [("y".to_owned(), Some(vec![2, 1_000, 64]))]);
    // The first product has all four axes, because the third input needs two of them.
    let product = with(node("Einsum", &["q", "k", "v"], "y"), vec![text("equation", "ab,cd,bc->ad")]);
    let found = peaks(&sizes_of(product, 12), &inputs(&[100, 200], &[200, 200]));
    assert_eq!(largest(&found), 100 * 200 * 200 * 200);
    // Two axes of an ellipsis.
    let product = with(node("Einsum", &["q", "k"], "y"), vec![text("equation", "...ij, ...jk")]);
    let found = peaks(&sizes_of(product, 12), &inputs(&[3, 1, 10, 20], &[7, 20, 30]));
    assert_eq!(largest(&found), 3 * 7 * 10 * 30);
}

#[test]
fn sequences_are_counted_with_all_their_tensors() {
    let always = node("Identity", &["going"], "goes_on");
    let insert = node("SequenceInsert", &["state", "x"], "next");
    let round = graph(&["round", "going", "state"], vec![always, insert], &["goes_on", "next"], Vec::new());
    let nodes = vec![
        node("SequenceEmpty", &[], "empty"),
        with(node("Loop", &["n", "", "empty"], "list"), vec![body("body", round)]),
        with(node("ConcatFromSequence", &["list"], "y"), vec![int("axis", 0)]),
    ];
    let sizes = sizes(graph(&["n", "x"], nodes, &["y"], Vec::new()), 13);
    let found = peaks(&sizes, &[("n", &[], Some(&[700])), ("x", &[10, 4], None)]);
    assert_eq!(largest(&found), 700 * 10 * 4);
}

/// The estimate keeps the elements of short lists only: 2⁴² of them would end the process.
#[test]
fn a_list_that_doubles_again_and_again_is_not_kept() {
    let mut nodes = vec![node("Shape", &["column"], "s0")];
    for step in 0..40 {
        let (last, next) = (format!("s{step}"), format!("s{}", step + 1));
        let mut concat = node("Concat", &[&last, &last], &next);
        concat.attribute = vec![int("axis", 0)];
        nodes.push(concat);
    }
    let graph =
        GraphProto { input: vec![value("column")], node: nodes, output: vec![value("s40")], ..GraphProto::default() };
    let bytes = ModelProto { graph: Some(graph), ..ModelProto::default() }.write_buf().expect("written");
    let sizes = RunSizes::of_model(&bytes).expect("a model");
    let peaks = sizes.peaks(&[GivenInput { name: "column", shape: &[5_000, 1], elements: None }]).expect("no panic");
    assert!(peaks.value.is_some_and(|value| value.elements > 1 << 20));
}
