//! Nodes that cannot run with the shapes of their values: the model is rejected for every backend when it is loaded.

use rten_onnx::onnx::{AttributeProto, DataType, GraphProto, NodeProto, TensorProto, ValueInfoProto};

use crate::graphs::{body, file, floats, graph, int, ints, list, named, shaped, text, value};

/// A node after an input `x` with these sizes; a size of 0 is dynamic. The constants are its other inputs.
struct Case {
    operator: &'static str,
    sizes: &'static [i64],
    constants: Vec<TensorProto>,
    attributes: Vec<AttributeProto>,
    outputs: &'static [&'static str],
}

fn case(
    operator: &'static str,
    sizes: &'static [i64],
    constants: Vec<TensorProto>,
    attributes: Vec<AttributeProto>,
) -> Case {
    Case { operator, sizes, constants, attributes, outputs: &["y"] }
}

fn x(sizes: &[i64]) -> ValueInfoProto {
    let sizes: Vec<Option<i64>> = sizes.iter().map(|&size| Some(size).filter(|&size| size > 0)).collect();
    shaped("x", DataType::FLOAT, &sizes)
}

impl Case {
    fn parts(mut self) -> Case {
        self.outputs = &["y", "z"];
        self
    }

    fn graph(&self) -> GraphProto {
        let mut inputs = vec!["x"];
        inputs.extend(self.constants.iter().filter_map(|constant| constant.name.as_deref()));
        let node = NodeProto { attribute: self.attributes.clone(), ..named(self.operator, &inputs, self.outputs, &[]) };
        let (input, initializer) = (vec![x(self.sizes)], self.constants.clone());
        GraphProto { input, node: vec![node], output: vec![value("y")], initializer, ..GraphProto::default() }
    }
}

/// Why a model is rejected for rten and for onnxruntime.
fn rejections(graph: &GraphProto, opset: i64) -> [Option<String>; 2] {
    let bytes = file(graph.clone(), opset);
    let onnxruntime = plimsoll_onnx::prepare_onnxruntime(&bytes).err().map(|error| error.to_string());
    [plimsoll_onnx::prepare(bytes, &[]).err().map(|error| error.to_string()), onnxruntime]
}

fn weights(sizes: &[i64]) -> TensorProto {
    floats("w", sizes, &vec![1.0; sizes.iter().product::<i64>() as usize])
}

fn list_of(name: &str, values: &[i64]) -> TensorProto {
    ints(name, &[values.len() as i64], values)
}

fn of_length(name: &str, length: i64) -> TensorProto {
    floats(name, &[length], &vec![1.0; length as usize])
}

#[test]
fn a_node_that_cannot_run_is_rejected_by_name() {
    let image: &[i64] = &[1, 4, 6, 6];
    let cases = [
        (case("Transpose", &[2, 3, 4], vec![], vec![list("perm", &[1, 0])]), "does not fit a value of 3 dimensions"),
        (case("Transpose", &[2, 3, 4], vec![], vec![list("perm", &[0, 0, 1])]), "no order of dimensions"),
        (case("Softmax", &[2, 3], vec![], vec![int("axis", 2)]), "`axis` is 2"),
        (case("ReduceMean", &[2, 3], vec![], vec![list("axes", &[-3])]), "`axes` is -3"),
        (case("ReduceMean", &[2, 3], vec![], vec![list("axes", &[1, -1])]), "a dimension twice"),
        (case("Squeeze", &[2, 3], vec![list_of("a", &[1])], vec![]), "dimension 1 is not 1"),
        (case("Unsqueeze", &[2, 3], vec![list_of("a", &[0, 0])], vec![]), "a dimension twice"),
        (
            case("Split", &[2, 3], vec![list_of("s", &[1, 3])], vec![int("axis", 1)]).parts(),
            "are 4 elements, but there are 3",
        ),
        (case("Split", &[2, 3], vec![list_of("s", &[-1, 4])], vec![int("axis", 1)]).parts(), "are no sizes"),
        (case("Split", &[2, 3], vec![], vec![int("axis", 1)]).parts(), "cannot be divided into 2 equal parts"),
        (
            case("Conv", image, vec![weights(&[4, 4, 3, 3])], vec![list("kernel_shape", &[3, 2])]),
            "`kernel_shape` says 2",
        ),
        (case("Conv", image, vec![weights(&[4, 4, 3, 3])], vec![int("group", 2)]), "are for 8"),
        (case("Conv", image, vec![weights(&[3, 2, 1, 1])], vec![int("group", 2)]), "divided into 2 groups"),
        (case("Conv", image, vec![weights(&[4, 4, 3, 3]), of_length("b", 5)], vec![]), "the offset has 5 elements"),
        (
            case("Conv", image, vec![weights(&[4, 4, 3, 3])], vec![list("strides", &[1, 1, 1])]),
            "`strides` is not for 2",
        ),
        (case("ConvTranspose", image, vec![weights(&[3, 4, 3, 3])], vec![]), "weights are for 3"),
        (case("MaxPool", image, vec![], vec![list("kernel_shape", &[2])]), "the window has 1 dimensions"),
        (case("TopK", &[2, 3], vec![list_of("k", &[-1])], vec![]).parts(), "`k` is -1"),
        (case("TopK", &[2, 3], vec![list_of("k", &[4])], vec![]).parts(), "there are 3 elements"),
        (case("Gather", &[2, 3], vec![list_of("i", &[2])], vec![]), "no element 2 among 2"),
        (case("GatherND", &[2, 3], vec![ints("i", &[1, 1], &[0])], vec![int("batch_dims", -1)]), "`batch_dims` is -1"),
        (case("GatherND", &[2, 3], vec![ints("i", &[1, 1], &[0])], vec![int("batch_dims", 2)]), "`batch_dims` is 2"),
        (
            case("GroupNormalization", image, vec![of_length("s", 4), of_length("b", 4)], vec![int("num_groups", 3)]),
            "3 groups",
        ),
        (
            case("GroupNormalization", image, vec![of_length("s", 4), of_length("b", 4)], vec![int("num_groups", 0)]),
            "`num_groups` is 0",
        ),
        (
            case("InstanceNormalization", image, vec![of_length("s", 3), of_length("b", 3)], vec![]),
            "the value 4 channels",
        ),
        (case("MatMul", &[2, 3], vec![weights(&[2, 3])], vec![]), "there are 3 and 2 columns"),
        (case("Add", &[2, 3], vec![of_length("b", 2)], vec![]), "sizes of 3 and 2 in dimension -1"),
        (case("DepthToSpace", &[1, 6, 2, 2], vec![], vec![int("blocksize", 2)]), "6 channels cannot be divided by 4"),
    ];
    for (case, why) in cases {
        let node = format!("node `node_y` ({}", case.operator);
        for error in rejections(&case.graph(), 17) {
            let error = error.unwrap_or_else(|| panic!("{} is accepted: {why}", case.operator));
            assert!(error.contains(&node) && error.contains(why), "`{why}` in {error}");
        }
    }
}

#[test]
fn what_is_not_known_or_fits_is_accepted() {
    let image: &[i64] = &[0, 4, 6, 6];
    let cases = [
        case("Transpose", &[2, 3, 4], vec![], vec![list("perm", &[2, 0, 1])]),
        case("Softmax", &[2, 3], vec![], vec![int("axis", -2)]),
        case("Squeeze", &[0, 3], vec![list_of("a", &[0])], vec![]),
        case("Split", &[2, 0], vec![list_of("s", &[1, 3])], vec![int("axis", 1)]).parts(),
        case(
            "Conv",
            image,
            vec![weights(&[4, 2, 3, 3]), of_length("b", 4)],
            vec![int("group", 2), list("pads", &[1, 0, 1, 0])],
        ),
        case("ConvTranspose", image, vec![weights(&[4, 2, 3, 3])], vec![int("group", 2)]),
        case("TopK", &[2, 3], vec![list_of("k", &[3])], vec![]).parts(),
        case("Gather", &[2, 3], vec![list_of("i", &[-2, 1])], vec![]),
        case("GatherND", &[2, 3], vec![ints("i", &[2, 1], &[0, 2])], vec![int("batch_dims", 1)]),
        case("MatMul", &[2, 0], vec![weights(&[2, 3])], vec![]),
        case("Add", &[2, 1], vec![of_length("b", 2)], vec![]),
    ];
    for case in cases {
        assert_eq!(rejections(&case.graph(), 17), [None, None], "{}", case.operator);
    }
    // A branch for values of another number of dimensions, as exporters write it.
    let squeezed = graph(&[], vec![named("Squeeze", &["x", "one"], &["t"], &[])], &["t"], vec![]);
    let copied = graph(&[], vec![named("Identity", &["x"], &["e"], &[])], &["e"], vec![]);
    let mut choice = named("If", &["is_one"], &["y"], &[]);
    choice.attribute = vec![body("then_branch", squeezed), body("else_branch", copied)];
    let is_one = TensorProto {
        name: Some("is_one".into()),
        data_type: Some(DataType::BOOL),
        int32_data: vec![0],
        ..TensorProto::default()
    };
    let initializer = vec![is_one, list_of("one", &[1])];
    let branches = GraphProto {
        input: vec![x(&[2, 3])],
        node: vec![choice],
        output: vec![value("y")],
        initializer,
        ..GraphProto::default()
    };
    assert_eq!(rejections(&branches, 17), [None, None]);
}

#[test]
fn lists_of_n_grams_that_do_not_fit_are_rejected() {
    let model = |indexes: &[i64], counts: &[i64], skipped: i64| {
        let mut node = named("TfIdfVectorizer", &["x"], &["y"], &[("max_skip_count", skipped)]);
        node.attribute.extend([
            list("ngram_counts", counts),
            list("ngram_indexes", indexes),
            list("pool_int64s", &[2, 3, 5, 4, 5, 6, 7, 8, 6, 7]),
            int("min_gram_length", 1),
            int("max_gram_length", 2),
            text("mode", "TF"),
        ]);
        let input = vec![shaped("x", DataType::INT64, &[None])];
        let graph = GraphProto { input, node: vec![node], output: vec![value("y")], ..GraphProto::default() };
        plimsoll_onnx::prepare_onnxruntime(&file(graph, 17)).err().map(|error| error.to_string())
    };
    let right = [0, 1, 2, 3, 4, 5, 6];
    assert_eq!(model(&right, &[0, 4], 5), None);
    for (indexes, counts, skipped, why) in [
        (&right[..6], [0, 4], 5, "`ngram_indexes` has 6 numbers for 7 n-grams"),
        (&right, [0, 40], 5, "does not fit a pool of 10"),
        (&right, [4, 0], 5, "does not fit a pool of 10"),
        (&right, [0, 4], i64::from(i32::MAX), "`max_skip_count` is 2147483647"),
    ] {
        let error = model(indexes, &counts, skipped).unwrap_or_else(|| panic!("{why}"));
        assert!(error.contains("node `node_y` (TfIdfVectorizer)") && error.contains(why), "{error}");
    }
}
