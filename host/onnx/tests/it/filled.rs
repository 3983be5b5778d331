//! Values without elements: the engine fails with the node's name instead of answering with memory that nothing wrote or with
//! the limits of another type, or panicking.

use rten::Value;
use rten_onnx::onnx::{AttributeProto, DataType, GraphProto, NodeProto, TensorProto};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::graphs::{self, file, input, int, list, text, value};

/// A list of one integer.
fn constant(name: &str, value: &Value) -> TensorProto {
    let Value::Int32Tensor(list) = value else { panic!("not INT32") };
    graphs::ints(name, &[1], &list.iter().map(|&value| value.into()).collect::<Vec<i64>>())
}

/// A model of one node. An input without a name is absent; `constant…` is a constant.
struct Case {
    operator: &'static str,
    inputs: Vec<(&'static str, Value)>,
    attributes: Vec<AttributeProto>,
}

impl Case {
    fn run(&self) -> Result<Value, String> {
        let ty = |value: &Value| match value {
            Value::FloatTensor(_) => DataType::FLOAT,
            _ => DataType::INT64,
        };
        let is_constant = |name: &str| name.starts_with("constant");
        let given: Vec<_> = self.inputs.iter().filter(|(name, _)| !name.is_empty() && !is_constant(name)).collect();
        let constants = self.inputs.iter().filter(|(name, _)| is_constant(name));
        let node = NodeProto {
            name: Some("node_y".into()),
            op_type: Some(self.operator.into()),
            input: self.inputs.iter().map(|(name, _)| (*name).to_owned()).collect(),
            output: vec!["y".into()],
            attribute: self.attributes.clone(),
            ..NodeProto::default()
        };
        let graph = GraphProto {
            input: given.iter().map(|(name, value)| input(name, ty(value), value.shape().len())).collect(),
            node: vec![node],
            output: vec![value("y")],
            initializer: constants.map(|(name, value)| constant(name, value)).collect(),
            ..GraphProto::default()
        };
        let given: Vec<_> = given.into_iter().map(|(name, value)| (*name, value.clone())).collect();
        graphs::run(file(graph, 23), &given)
    }

    fn of(operator: &'static str, inputs: Vec<(&'static str, Value)>, attributes: Vec<AttributeProto>) -> Self {
        Self { operator, inputs, attributes }
    }
}

fn ones(shape: &[usize]) -> Value {
    Tensor::from_data(shape, vec![1.0f32; shape.iter().product()]).into()
}

fn ints(shape: &[usize], values: &[i32]) -> Value {
    Tensor::from_data(shape, values.to_vec()).into()
}

/// Each operator with a value without elements, and with one that is right.
fn cases() -> Vec<(Case, Case)> {
    let x = |shape: &[usize]| ("x", ones(shape));
    let absent = || ("", ones(&[]));
    let mut cases = Vec::new();
    for operator in ["GlobalAveragePool", "GlobalMaxPool"] {
        let pool = |shape: &[usize]| Case::of(operator, vec![x(shape)], vec![]);
        for empty in [[1, 3, 0, 4], [1, 3, 4, 0], [2, 3, 0, 0]] {
            cases.push((pool(&empty), pool(&[0, 3, 2, 2])));
        }
        cases.push((pool(&[1, 2, 0]), pool(&[1, 2, 1])));
    }
    for (axis, data, indices) in [(0, [0, 3], [2, 3]), (1, [3, 0], [3, 2]), (-2, [0, 1], [1, 1])] {
        let gather = |data: [usize; 2], indices: [usize; 2]| {
            let zeros = vec![0; indices[0] * indices[1]];
            Case::of("GatherElements", vec![x(&data), ("i", ints(&indices, &zeros))], vec![int("axis", axis)])
        };
        cases.push((gather(data, indices), gather([3, 3], indices)));
    }
    for operator in ["ArgMax", "ArgMin"] {
        for takes_last in [0, 1] {
            let attributes = || vec![int("axis", 1), int("select_last_index", takes_last)];
            let arg = |shape: &[usize]| Case::of(operator, vec![x(shape)], attributes());
            cases.push((arg(&[3, 0]), arg(&[0, 2])));
            cases.push((arg(&[0, 0]), arg(&[3, 2])));
        }
    }
    for (operator, weights) in [("Conv", [2, 0, 2, 2]), ("ConvTranspose", [0, 2, 2, 2])] {
        let conv = |x: &[usize], w: &[usize]| Case::of(operator, vec![("x", ones(x)), ("w", ones(w))], vec![]);
        cases.push((conv(&[1, 0, 4, 4], &weights), conv(&[1, 2, 4, 4], &[2, 2, 2, 2])));
    }
    for attributes in
        [vec![list("pads", &[1, 1, 1, 1])], vec![text("auto_pad", "SAME_UPPER"), list("kernel_shape", &[2, 2])]]
    {
        let conv = |shape: &[usize]| Case::of("Conv", vec![x(shape), ("w", ones(&[1, 1, 2, 2]))], attributes.clone());
        cases.push((conv(&[1, 1, 0, 4]), conv(&[1, 1, 2, 2])));
    }
    for operator in ["LayerNormalization", "RMSNormalization"] {
        let norm = |shape: &[usize]| Case::of(operator, vec![x(shape), ("s", ones(&[shape[1]]))], vec![]);
        cases.push((norm(&[2, 0]), norm(&[0, 2])));
    }
    for mode in ["linear", "nearest"] {
        let resize = |shape: &[usize]| {
            let attributes = vec![
                text("mode", mode),
                text("coordinate_transformation_mode", "asymmetric"),
                text("nearest_mode", "floor"),
            ];
            let sizes = ("sizes", ints(&[4], &[1, 1, 2, 2]));
            Case::of("Resize", vec![x(shape), absent(), absent(), sizes], attributes)
        };
        cases.push((resize(&[1, 1, 0, 2]), resize(&[1, 1, 1, 2])));
    }
    let scatter = |width: usize| {
        let inputs = vec![x(&[3, width]), ("i", ints(&[1, 1], &[0])), ("u", ones(&[1, width]))];
        Case::of("ScatterND", inputs, vec![])
    };
    cases.push((scatter(0), scatter(2)));
    let reversed = |size: usize| {
        let one = |name, value| (name, ints(&[1], &[value]));
        let inputs = vec![
            x(&[size]),
            one("constant_starts", -1),
            one("constant_ends", -1000),
            one("constant_axes", 0),
            one("constant_steps", -1),
        ];
        Case::of("Slice", inputs, vec![])
    };
    cases.push((reversed(0), reversed(2)));
    cases
}

#[test]
fn the_engine_fails_with_the_node_for_a_value_without_elements() {
    for (empty, right) in cases() {
        let shapes: Vec<_> = empty.inputs.iter().map(|(name, value)| (name, value.shape().to_vec())).collect();
        let error = empty.run().expect_err(&format!("{} of {shapes:?}", empty.operator));
        let refused =
            plimsoll_onnx::refused(&error).unwrap_or_else(|| panic!("{} of {shapes:?}: {error}", empty.operator));
        let expected = format!(
            "node `node_y` ({}) would get a value without elements, which the backend cannot compute; send inputs with at \
             least one element",
            empty.operator
        );
        assert_eq!(refused, expected);
        let result = right.run();
        assert!(result.is_ok(), "{}: {:?}", right.operator, result.err());
    }
}

/// The engine's least and largest integers are those of INT32. The places of the largest elements are small INT64.
#[test]
fn the_largest_and_the_least_of_no_integers_of_64_bits_are_refused() {
    for operator in ["ReduceMax", "ReduceMin"] {
        for axes in [&[][..], &[0], &[-1]] {
            let mut reduce = graphs::named(operator, &["places"], &["y"], &[]);
            reduce.input.extend(axes.iter().map(|_| "axes".to_owned()));
            let graph = GraphProto {
                input: vec![input("x", DataType::FLOAT, 2)],
                node: vec![graphs::named("ArgMax", &["x"], &["places"], &[("axis", 1), ("keepdims", 0)]), reduce],
                output: vec![value("y")],
                initializer: axes.iter().map(|&axis| graphs::ints("axes", &[1], &[axis])).collect(),
                ..GraphProto::default()
            };
            let bytes = file(graph, 18);
            assert!(graphs::run(bytes.clone(), &[("x", ones(&[3, 2]))]).is_ok(), "{operator} {axes:?}");
            let error = graphs::run(bytes, &[("x", ones(&[0, 2]))]).expect_err("no elements");
            let text = plimsoll_onnx::refused(&error).unwrap_or(error);
            assert!(text.contains(&format!("node `node_y` ({operator}) would get a value without elements")), "{text}");
        }
    }
}

/// The largest of no elements is negative infinity, which no integer represents.
#[test]
fn the_largest_of_no_elements_is_not_converted() {
    let named = |operator: &str, inputs: &[&str], output: &str| graphs::named(operator, inputs, &[output], &[]);
    let bytes = |ty: DataType| {
        let graph = GraphProto {
            input: vec![input("x", DataType::FLOAT, 2)],
            node: vec![
                named("Clip", &["x", "least", "most"], "small"),
                named("ReduceMax", &["small", "axes"], "largest"),
                graphs::named("Cast", &["largest"], &["y"], &[("to", ty.0.into())]),
            ],
            output: vec![value("y")],
            initializer: vec![
                graphs::ints("axes", &[1], &[0]),
                graphs::floats("least", &[], &[0.0]),
                graphs::floats("most", &[], &[1.0]),
            ],
            ..GraphProto::default()
        };
        file(graph, 18)
    };
    for ty in [DataType::INT32, DataType::INT64, DataType::UINT8] {
        assert!(graphs::run(bytes(ty), &[("x", ones(&[2, 3]))]).is_ok(), "{ty:?}");
        let error = graphs::run(bytes(ty), &[("x", ones(&[0, 3]))]).expect_err("no integer");
        let text = plimsoll_onnx::refused(&error).unwrap_or(error);
        assert!(text.contains("does not fit the integer type"), "{text}");
    }
}
