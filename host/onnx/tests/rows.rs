//! The proof that the rows of a batch do not depend on each other: values that mix rows through branches, loops, functions,
//! sequences and unknown operators, and the graphs of exporters, which must stay proven.

use plimsoll_onnx::{RowProof, prove_rows};
use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};

/// A value with a shape; a size of 0 is dynamic.
fn shaped(name: &str, shape: &[i64]) -> ValueInfoProto {
    let dim =
        shape.iter().map(|&size| Dimension { dim_value: Some(size).filter(|&size| size > 0), ..Dimension::default() });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let tensor_type = Some(TypeProtoTensor { elem_type: Some(DataType::FLOAT), shape });
    ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { tensor_type, ..TypeProto::default() }) }
}

fn value(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.into()), ..ValueInfoProto::default() }
}

/// A node; the operator may have a domain in front: `com.microsoft:Gelu`.
fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let (domain, operator) = match operator.split_once(':') {
        Some((domain, operator)) => (Some(domain.to_owned()), operator),
        None => (None, operator),
    };
    NodeProto {
        domain,
        op_type: Some(operator.into()),
        input: names(inputs),
        output: names(outputs),
        ..NodeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    let (name, r#type) = (Some(name.into()), Some(AttributeType::INT));
    AttributeProto { name, i: Some(value), r#type, ..AttributeProto::default() }
}

fn list(name: &str, ints: &[i64]) -> AttributeProto {
    let (name, r#type) = (Some(name.into()), Some(AttributeType::INTS));
    AttributeProto { name, ints: ints.to_vec(), r#type, ..AttributeProto::default() }
}

fn text(name: &str, value: &str) -> AttributeProto {
    let (name, r#type) = (Some(name.into()), Some(AttributeType::STRING));
    AttributeProto { name, s: Some(value.into()), r#type, ..AttributeProto::default() }
}

fn body(name: &str, inputs: &[&str], nodes: Vec<NodeProto>, outputs: &[&str]) -> AttributeProto {
    let values = |names: &[&str]| names.iter().map(|name| value(name)).collect();
    let g = Some(GraphProto { input: values(inputs), node: nodes, output: values(outputs), ..GraphProto::default() });
    AttributeProto { name: Some(name.into()), g, r#type: Some(AttributeType::GRAPH), ..AttributeProto::default() }
}

trait With {
    fn with(self, attribute: AttributeProto) -> Self;
}

impl With for NodeProto {
    fn with(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }
}

/// A constant of integers: a scalar if there is one number and `name` begins with `i`.
fn ints(name: &str, values: &[i64]) -> TensorProto {
    let dims = if name.starts_with('i') { Vec::new() } else { vec![values.len() as i64] };
    let (name, data_type) = (Some(name.into()), Some(DataType::INT64));
    TensorProto { name, dims, data_type, int64_data: values.to_vec(), ..TensorProto::default() }
}

fn floats(name: &str, shape: &[i64]) -> TensorProto {
    let (name, data_type) = (Some(name.into()), Some(DataType::FLOAT));
    let float_data = vec![0.5; shape.iter().product::<i64>() as usize];
    TensorProto { name, dims: shape.to_vec(), data_type, float_data, ..TensorProto::default() }
}

/// A model of the input `x` with this shape and the output `y`.
fn model(shape: &[i64], nodes: Vec<NodeProto>) -> ModelProto {
    let initializer = vec![
        ints("i0", &[0]),
        ints("i1", &[1]),
        ints("i5", &[5]),
        ints("i64", &[64]),
        ints("l0", &[0]),
        ints("l1", &[1]),
        ints("heads", &[2, 2]),
        ints("l4", &[4]),
        floats("w", &[4, 4]),
        floats("wide", &[4, 12]),
        floats("bias12", &[12]),
        floats("v", &[4]),
        floats("s", &[]),
        floats("limit", &[]),
    ];
    let graph = GraphProto {
        input: vec![shaped("x", shape)],
        node: nodes,
        output: vec![value("y")],
        initializer,
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto { version: Some(17), ..OperatorSetIdProto::default() }];
    ModelProto { graph: Some(graph), opset_import, ..ModelProto::default() }
}

fn proof(shape: &[i64], nodes: Vec<NodeProto>) -> RowProof {
    prove_rows(&model(shape, nodes).write_buf().expect("written"))
}

/// Whether any row has a number above the limit: one number for all rows.
fn hit() -> Vec<NodeProto> {
    vec![
        node("Greater", &["x", "limit"], &["g"]),
        node("Cast", &["g"], &["gf"]).with(int("to", 1)),
        node("ReduceMax", &["gf"], &["mx"]).with(int("keepdims", 0)),
        node("Cast", &["mx"], &["hit"]).with(int("to", 9)),
    ]
}

fn all(parts: &[Vec<NodeProto>]) -> Vec<NodeProto> {
    parts.concat()
}

#[track_caller]
fn is_mixed(nodes: Vec<NodeProto>) {
    let proof = proof(&[0, 4], nodes);
    assert!(matches!(&proof, RowProof::Mixed(why) if why.starts_with("output `y`")), "{proof:?}");
}

#[track_caller]
fn is_separate(shape: &[i64], nodes: Vec<NodeProto>) {
    assert_eq!(proof(shape, nodes), RowProof::Separate);
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

/// Adds a function `loc:M` of `a` and `b`, which the parser's types do not have.
fn with_function(model: &ModelProto, nodes: &[NodeProto], overload: Option<&str>) -> Vec<u8> {
    fn field(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
        let mut varint = |mut value: usize| {
            while value >= 0x80 {
                out.push(value as u8 | 0x80);
                value >>= 7;
            }
            out.push(value as u8);
        };
        varint((number << 3 | 2) as usize);
        varint(bytes.len());
        out.extend_from_slice(bytes);
    }
    let mut function = Vec::new();
    field(&mut function, 1, b"M");
    field(&mut function, 4, b"a");
    field(&mut function, 5, b"b");
    for node in nodes {
        let graph = GraphProto { node: vec![node.clone()], ..GraphProto::default() };
        let bytes = ModelProto { graph: Some(graph), ..ModelProto::default() }.write_buf().expect("written");
        // A model with a graph with a node: two messages around it.
        let inner = |bytes: &[u8]| {
            let length = bytes[1..].iter().position(|byte| byte & 0x80 == 0).expect("a length") + 1;
            bytes[1 + length..].to_vec()
        };
        field(&mut function, 7, &inner(&inner(&bytes)));
    }
    // An operator set: version 17.
    field(&mut function, 9, &[0x10, 17]);
    field(&mut function, 10, b"loc");
    if let Some(overload) = overload {
        field(&mut function, 13, overload.as_bytes());
    }
    let mut out = model.write_buf().expect("written");
    field(&mut out, 25, &function);
    out
}

#[test]
fn a_function_is_followed_for_each_call() {
    let call = || model(&[0, 4], vec![node("loc:M", &["x"], &["y"])]);
    let mixing = [node("ReduceMax", &["a"], &["mx"]).with(int("keepdims", 0)), node("Add", &["a", "mx"], &["b"])];
    let proof = prove_rows(&with_function(&call(), &mixing, None));
    assert!(matches!(&proof, RowProof::Mixed(why) if why.contains("node `mx` (ReduceMax)")), "{proof:?}");
    let separate = [node("Relu", &["a"], &["b"])];
    assert_eq!(prove_rows(&with_function(&call(), &separate, None)), RowProof::Separate);
    // It is not known which of two is called.
    let first = with_function(&call(), &separate, Some("one"));
    let both = [first, with_function(&ModelProto::default(), &mixing, Some("two"))].concat();
    assert!(matches!(prove_rows(&both), RowProof::Mixed(_)), "{:?}", prove_rows(&both));
    // An attribute that the call sets is not known.
    let axis =
        AttributeProto { name: Some("axis".into()), r#type: Some(AttributeType::INT), ..AttributeProto::default() };
    let set = [node("Softmax", &["a"], &["b"]).with(axis)];
    assert!(matches!(prove_rows(&with_function(&call(), &set, None)), RowProof::Unknown(_)));
    // A function that calls itself ends.
    let itself = [node("loc:M", &["a"], &["b"])];
    assert!(matches!(prove_rows(&with_function(&call(), &itself, None)), RowProof::Unknown(_)));
}

#[test]
fn the_graphs_of_exporters_are_proven() {
    // Attention of a transformer, with the shapes computed from those of the input.
    let shape = vec![
        node("Shape", &["x"], &["sh"]),
        node("Gather", &["sh", "l0"], &["n"]),
        node("Gather", &["sh", "l1"], &["length"]),
        node("Concat", &["n", "length", "heads"], &["split"]).with(int("axis", 0)),
        node("Concat", &["n", "length", "l4"], &["joined"]).with(int("axis", 0)),
    ];
    let attention = vec![
        node("MatMul", &["x", "wide"], &["qkv0"]),
        node("Add", &["qkv0", "bias12"], &["qkv"]),
        node("Split", &["qkv"], &["q", "k", "v0"]).with(int("axis", 2)),
        node("Reshape", &["q", "split"], &["qh"]),
        node("Reshape", &["k", "split"], &["kh"]),
        node("Reshape", &["v0", "split"], &["vh"]),
        node("Transpose", &["qh"], &["qt"]).with(list("perm", &[0, 2, 1, 3])),
        node("Transpose", &["kh"], &["kt"]).with(list("perm", &[0, 2, 3, 1])),
        node("Transpose", &["vh"], &["vt"]).with(list("perm", &[0, 2, 1, 3])),
        node("MatMul", &["qt", "kt"], &["scores"]),
        node("Softmax", &["scores"], &["soft"]).with(int("axis", -1)),
        node("MatMul", &["soft", "vt"], &["context"]),
        node("Transpose", &["context"], &["ct"]).with(list("perm", &[0, 2, 1, 3])),
        node("Reshape", &["ct", "joined"], &["flat"]),
        node("Add", &["flat", "x"], &["sum"]),
        node("LayerNormalization", &["sum", "v", "v"], &["y"]),
    ];
    is_separate(&[0, 0, 4], all(&[shape, attention]));
    // Zeros for each row, as a first state.
    let state = vec![
        node("Shape", &["x"], &["sh"]),
        node("Gather", &["sh", "l0"], &["n"]),
        node("Concat", &["n", "l4"], &["zsh"]).with(int("axis", 0)),
        node("ConstantOfShape", &["zsh"], &["z"]),
        node("Add", &["x", "z"], &["y"]),
    ];
    is_separate(&[0, 4], state);
    // A branch by the size of another axis that is known.
    let branch = vec![
        node("Shape", &["x"], &["sh"]),
        node("Gather", &["sh", "i1"], &["c"]),
        node("Equal", &["c", "i1"], &["e"]),
        node("If", &["e"], &["y"])
            .with(body("then_branch", &[], vec![node("Squeeze", &["x", "l1"], &["t"])], &["t"]))
            .with(body("else_branch", &[], vec![node("Identity", &["x"], &["u"])], &["u"])),
    ];
    is_separate(&[0, 4], branch);
    let einsum = |equation: &str| node("Einsum", &["x", "w"], &["y"]).with(text("equation", equation));
    is_separate(&[0, 0, 4], vec![einsum("nld,df->nlf")]);
    is_mixed_of(&[0, 0, 4], vec![einsum("nld,df->lf")]);
}

#[track_caller]
fn is_mixed_of(shape: &[i64], nodes: Vec<NodeProto>) {
    let proof = proof(shape, nodes);
    assert!(matches!(proof, RowProof::Mixed(_)), "{proof:?}");
}

#[test]
fn operators_of_onnxruntime_that_treat_each_row_alone_are_proven() {
    let ms = |operator: &str, inputs: &[&str]| node(&format!("com.microsoft:{operator}"), inputs, &["y"]);
    for one in [
        ms("Gelu", &["x"]),
        ms("QuickGelu", &["x"]),
        ms("FastGelu", &["x", "v"]),
        ms("BiasGelu", &["x", "v"]),
        ms("SkipLayerNormalization", &["x", "x", "v", "v"]),
        ms("SimplifiedLayerNormalization", &["x", "v"]),
        ms("QLinearAdd", &["x", "s", "s", "x", "s", "s", "s", "s"]),
        ms("QLinearMul", &["x", "s", "s", "x", "s", "s", "s", "s"]),
        ms("QLinearSigmoid", &["x", "s", "s", "s", "s"]),
        ms("QLinearSoftmax", &["x", "s", "s", "s", "s"]).with(int("opset", 13)),
        ms("QLinearConcat", &["s", "s", "x", "s", "s", "x", "s", "s"]).with(int("axis", 2)),
        ms("MatMulIntegerToFloat", &["x", "w", "s", "s", "s", "s"]),
        ms("FusedMatMul", &["x", "w"]).with(int("transB", 1)),
        ms("MatMulNBits", &["x", "w", "v"]).with(int("N", 4)),
        ms("Attention", &["x", "wide", "bias12"]).with(int("num_heads", 2)),
        ms("MultiHeadAttention", &["x", "x", "x"]).with(int("num_heads", 2)),
        node("QLinearMatMul", &["x", "s", "s", "w", "s", "s", "s", "s"], &["y"]),
        node("MatMulInteger", &["x", "w"], &["y"]),
    ] {
        is_separate(&[0, 3, 4], vec![one]);
    }
    for one in [
        ms("DynamicQuantizeMatMul", &["x", "w", "s", "s"]),
        ms("QLinearSoftmax", &["x", "s", "s", "s", "s"]).with(int("opset", 13)).with(int("axis", 0)),
        ms("QLinearConcat", &["s", "s", "x", "s", "s", "x", "s", "s"]).with(int("axis", 0)),
    ] {
        is_mixed_of(&[0, 3, 4], vec![one]);
    }
    for one in [
        ms("QLinearGlobalAveragePool", &["x", "s", "s", "s", "s"]),
        ms("FusedConv", &["x", "w"]),
        ms("NhwcConv", &["x", "w"]),
        ms("QLinearConv", &["x", "s", "s", "w", "s", "s", "s", "s"]),
    ] {
        is_separate(&[0, 4, 8, 8], vec![one]);
    }
    // A scale of its own for each row, and a dynamic scale.
    let scaled = vec![
        node("DynamicQuantizeLinear", &["x"], &["q", "qs", "qz"]),
        ms("MatMulIntegerToFloat", &["q", "w", "qs", "s", "qz", "s"]),
    ];
    is_mixed_of(&[0, 3, 4], scaled);
}
