//! The graphs of exporters and operators of onnxruntime, which stay proven.

use super::*;

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
