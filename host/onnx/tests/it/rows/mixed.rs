//! Branches, loops, sequences and counts that mix rows.

use super::*;

/// Engines read other numbers than 0 and 1 differently.
#[test]
fn a_choice_that_engines_read_differently_is_not_known() {
    let reduced = |keeps: i64| {
        let max = node("ReduceMax", &["x"], &["y"]).with(list("axes", &[1])).with(int("keepdims", keeps));
        proof(&[0, 4], vec![max])
    };
    assert_eq!(reduced(1), RowProof::Separate);
    assert!(matches!(reduced(2), RowProof::Unknown(_)), "{:?}", reduced(2));
}

#[test]
fn a_branch_or_a_loop_that_all_rows_decide_mixes_them() {
    let branches = |condition: &str| {
        node("If", &[condition], &["y"])
            .with(body("then_branch", &[], vec![node("Neg", &["x"], &["t"])], &["t"]))
            .with(body("else_branch", &[], vec![node("Abs", &["x"], &["e"])], &["e"]))
    };
    is_mixed(all(&[hit(), vec![branches("hit")]]));
    let round = || {
        body(
            "body",
            &["i", "c", "st"],
            vec![node("Neg", &["st"], &["st2"]), node("Identity", &["c"], &["c2"])],
            &["c2", "st2"],
        )
    };
    is_mixed(all(&[
        hit(),
        vec![node("Cast", &["hit"], &["m"]).with(int("to", 7)), node("Loop", &["m", "", "x"], &["y"]).with(round())],
    ]));
    // The same loop with a constant number of rounds.
    is_separate(&[0, 4], vec![node("Loop", &["i5", "", "x"], &["y"]).with(round())]);
    // A body that looks at a value around it that mixes rows.
    let looks = body(
        "body",
        &["i", "c", "st"],
        vec![node("Add", &["st", "mx"], &["st2"]), node("Identity", &["c"], &["c2"])],
        &["c2", "st2"],
    );
    is_mixed(all(&[hit(), vec![node("Loop", &["i5", "", "x"], &["y"]).with(looks)]]));
    // A state that mixes rows only from the second round on.
    let later = body(
        "body",
        &["i", "c", "a", "b"],
        vec![
            node("Identity", &["c"], &["c2"]),
            node("ReduceMax", &["x"], &["most"]).with(int("keepdims", 0)),
            node("Add", &["a", "b"], &["a2"]),
        ],
        &["c2", "a2", "most"],
    );
    is_mixed(vec![node("Loop", &["i5", "", "x", "s"], &["y", "rest"]).with(later)]);
    // The results of a loop over another axis, one after the other.
    let step = body("body", &["e"], vec![node("Relu", &["e"], &["r"])], &["r"]);
    let over = |axis: i64| {
        node("Scan", &["x"], &["y"])
            .with(int("num_scan_inputs", 1))
            .with(list("scan_input_axes", &[axis]))
            .with(list("scan_output_axes", &[axis]))
            .with(step.clone())
    };
    is_separate(&[0, 4], vec![over(1)]);
    is_separate(&[0, 4], vec![over(0)]);
    // A state that goes from row to row.
    let carry = body(
        "body",
        &["st", "row"],
        vec![node("Add", &["st", "row"], &["r0"]), node("Max", &["st", "row"], &["st2"])],
        &["st2", "r0"],
    );
    is_mixed(vec![node("Scan", &["v", "x"], &["last", "y"]).with(int("num_scan_inputs", 1)).with(carry)]);
    // A state that counts the rows before.
    let counts = body(
        "body",
        &["st", "row"],
        vec![node("Add", &["st", "v"], &["st2"]), node("Add", &["st", "row"], &["r0"])],
        &["st2", "r0"],
    );
    let counted = vec![node("Scan", &["v", "x"], &["last", "y"]).with(int("num_scan_inputs", 1)).with(counts)];
    assert!(matches!(proof(&[0, 4], counted), RowProof::Unknown(_)));
}

#[test]
fn a_row_that_is_computed_with_the_number_of_rows_or_of_what_they_find_is_mixed() {
    let rows = || vec![node("Shape", &["x"], &["sh"]), node("Gather", &["sh", "i0"], &["n"])];
    let add = |count: &str| vec![node("Cast", &[count], &["f"]).with(int("to", 1)), node("Add", &["x", "f"], &["y"])];
    is_mixed(all(&[rows(), vec![node("Equal", &["n", "i5"], &["e"])], add("e")]));
    is_mixed(all(&[rows(), add("n")]));
    // As a number that is repeated for each row.
    let repeated = vec![
        node("Cast", &["n"], &["nf"]).with(int("to", 1)),
        node("Expand", &["nf", "sh"], &["z"]),
        node("Add", &["x", "z"], &["y"]),
    ];
    is_mixed(all(&[rows(), repeated]));
    // As a condition.
    let decides = node("If", &["e"], &["y"])
        .with(body("then_branch", &[], vec![node("Neg", &["x"], &["t"])], &["t"]))
        .with(body("else_branch", &[], vec![node("Abs", &["x"], &["u"])], &["u"]));
    is_mixed(all(&[rows(), vec![node("Greater", &["n", "i64"], &["e"]), decides]]));
    let found = || vec![node("Greater", &["x", "limit"], &["g"]), node("NonZero", &["g"], &["nz"])];
    is_mixed(all(&[found(), vec![node("Shape", &["nz"], &["nsh"]), node("Gather", &["nsh", "i1"], &["n"])], add("n")]));
    is_mixed(all(&[
        found(),
        vec![node("Transpose", &["nz"], &["turned"]), node("Size", &["turned"], &["n"])],
        add("n"),
    ]));
    let chosen = vec![
        node("ReduceMax", &["x"], &["most"]).with(list("axes", &[1])).with(int("keepdims", 0)),
        node("Greater", &["most", "limit"], &["g"]),
        node("Compress", &["x", "g"], &["c"]).with(int("axis", 0)),
        node("ReduceSum", &["c"], &["sum"]).with(int("keepdims", 0)),
        node("Add", &["x", "sum"], &["y"]),
    ];
    is_mixed(chosen);
    // The sizes of other axes are the same in every batch.
    let columns = vec![node("Shape", &["x"], &["sh"]), node("Gather", &["sh", "i1"], &["n"])];
    is_separate(&[0, 0], all(&[columns, add("n")]));
}

#[test]
fn a_sequence_of_the_rows_mixes_them_if_one_is_taken() {
    is_mixed(vec![
        node("SplitToSequence", &["x"], &["q"]).with(int("axis", 0)),
        node("SequenceAt", &["q", "i0"], &["first"]),
        node("Add", &["x", "first"], &["y"]),
    ]);
    is_mixed(vec![
        node("SplitToSequence", &["x"], &["q"]).with(int("axis", 0)),
        node("SequenceLength", &["q"], &["n"]),
        node("Cast", &["n"], &["f"]).with(int("to", 1)),
        node("Add", &["x", "f"], &["y"]),
    ]);
    is_separate(
        &[0, 4],
        vec![
            node("SplitToSequence", &["x"], &["q"]).with(int("axis", 1)),
            node("SequenceAt", &["q", "i0"], &["first"]),
            node("Add", &["x", "first"], &["y"]),
        ],
    );
}

#[test]
fn what_mixes_rows_stays_mixed_around_an_unknown_operator() {
    let unknown = |from: &str, to: &str| node("other.domain:Foo", &[from], &[to]);
    is_mixed(vec![node("Softmax", &["x"], &["m"]).with(int("axis", 0)), unknown("m", "y")]);
    is_mixed(vec![
        unknown("x", "u"),
        node("ReduceMax", &["u"], &["mx"]).with(int("keepdims", 0)),
        node("Add", &["u", "mx"], &["y"]),
    ]);
    let only = proof(&[0, 4], vec![unknown("x", "y")]);
    assert!(matches!(&only, RowProof::Unknown(why) if why.contains("node `y` (Foo)")), "{only:?}");
    // Another output that is not known does not hide it.
    let mut two = model(&[0, 4], vec![unknown("x", "y"), node("Softmax", &["x"], &["z"]).with(int("axis", 0))]);
    two.graph.as_mut().expect("a graph").output.push(value("z"));
    assert!(matches!(prove_rows(&two.write_buf().expect("written")), RowProof::Mixed(_)));
}
