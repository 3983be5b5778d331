//! The functions of a model.

use super::*;

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
    // An attribute that the call sets is not known: only its name is read.
    let axis = AttributeProto { name: Some("axis".into()), ..AttributeProto::default() };
    let set = [node("Softmax", &["a"], &["b"]).with(axis)];
    assert!(matches!(prove_rows(&with_function(&call(), &set, None)), RowProof::Unknown(_)));
    // A function that calls itself ends.
    let itself = [node("loc:M", &["a"], &["b"])];
    assert!(matches!(prove_rows(&with_function(&call(), &itself, None)), RowProof::Unknown(_)));
}
