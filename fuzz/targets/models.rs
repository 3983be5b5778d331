//! Changes ONNX models as models: random bytes rarely stay a valid message of Protocol Buffers, and more rarely one with
//! other operators.

use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto, TensorProto,
    TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};

const OPERATORS: &str = "Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Attention AveragePool BatchNormalization \
    BitCast BitShift Cast CastLike Ceil Celu CenterCropPad Clip Col2Im Compress Concat ConcatFromSequence Constant \
    ConstantOfShape Conv ConvInteger ConvTranspose Cos CumSum DeformConv DepthToSpace DequantizeLinear Div Dropout \
    DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu \
    Gemm GlobalAveragePool GlobalMaxPool Greater GridSample GroupNormalization HardSigmoid Hardmax Identity If \
    InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less Log LogSoftmax Loop LpNormalization \
    LpPool MatMul MatMulInteger Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization Min Mod Mul Multinomial \
    Neg NegativeLogLikelihoodLoss NonMaxSuppression NonZero Not OneHot Optional Or PRelu Pad Pow QLinearConv \
    QLinearMatMul QuantizeLinear RMSNormalization RNN RandomNormal RandomNormalLike RandomUniform Range Reciprocal \
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare \
    Relu Reshape Resize ReverseSequence RoiAlign RotaryEmbedding Round STFT Scan Scatter ScatterElements ScatterND Selu \
    SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape Shrink Sigmoid Sign \
    Size Slice Softmax SoftmaxCrossEntropyLoss Softplus SpaceToDepth Split SplitToSequence Sqrt Squeeze StringConcat \
    StringSplit Sub Sum Swish Tanh TensorScatter ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample \
    Where Xor";

/// Attributes with one number, with a list of numbers, and with a text.
const NUMBERS: &str = "axis keepdims to number start end noop_with_empty_axes dtype value_int ceil_mode \
    select_last_index largest sorted hidden_size group blocksize block_size batch_dims allowzero align_corners exclusive \
    reverse exclude_outside saturate count_include_pad storage_order transA transB num_outputs upper k is_causal \
    q_num_heads kv_num_heads stash_type training_mode output_dtype new_axis fmod layout p seed num_scan_inputs";
const LISTS: &str = "axes shape strides pads dilations kernel_shape perm value_ints output_shape output_padding starts \
    ends split scan_input_axes scan_output_axes scan_input_directions block_shape image_shape";
const TEXTS: &str = "auto_pad=VALID auto_pad=SAME_UPPER auto_pad=SAME_LOWER auto_pad=NOTSET mode=nearest mode=linear \
    mode=cubic mode=reflect mode=edge mode=wrap mode=DCR mode=CRD nearest_mode=floor nearest_mode=ceil \
    coordinate_transformation_mode=asymmetric coordinate_transformation_mode=align_corners \
    coordinate_transformation_mode=tf_crop_and_resize coordinate_transformation_mode=pytorch_half_pixel \
    direction=reverse direction=bidirectional direction=LEFT reduction=add reduction=max reduction=none \
    equation=ij,jk->ik keep_aspect_ratio_policy=not_larger keep_aspect_ratio_policy=not_smaller approximate=tanh \
    activations=Relu";
const FLOATS: &str =
    "alpha beta epsilon value_float extrapolation_value cubic_coeff_a ratio clip scale softcap momentum";

const SPECIAL: [i64; 22] = [
    0,
    1,
    -1,
    2,
    3,
    4,
    5,
    8,
    13,
    -2,
    -4,
    63,
    64,
    65,
    255,
    1 << 31,
    1 << 32,
    1 << 53,
    1 << 62,
    i32::MAX as i64,
    i64::MAX,
    i64::MIN,
];

/// Numbers that follow from a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }

    fn number(&mut self) -> i64 {
        if self.below(2) == 0 { self.below(7) as i64 - 2 } else { SPECIAL[self.below(SPECIAL.len())] }
    }

    fn float(&mut self) -> f32 {
        let choices = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-30, 3e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        if self.below(3) == 0 { self.number() as f32 } else { choices[self.below(choices.len())] }
    }

    fn numbers(&mut self) -> Vec<i64> {
        (0..self.below(6)).map(|_| self.number()).collect()
    }

    fn word<'a>(&mut self, words: &'a str) -> &'a str {
        let words: Vec<&str> = words.split_whitespace().collect();
        words[self.below(words.len())]
    }

    fn ty(&mut self) -> DataType {
        // Mostly FLOAT, INT64 and BOOL, so that nodes fit together.
        let types = [1, 1, 1, 7, 7, 6, 9, 3, 2, 10, 11];
        DataType(if self.below(4) == 0 { self.below(26) as i32 } else { types[self.below(types.len())] })
    }
}

/// A changed model, or nothing.
pub fn mutate(bytes: &[u8], seed: u32) -> Option<Vec<u8>> {
    let mut random = Random(u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut model = plimsoll_onnx::fuzzing::parse(bytes)?;
    let functions = plimsoll_onnx::fuzzing::functions(bytes);
    for _ in 0..=random.below(3) {
        change(&mut model, &mut random)?;
    }
    let mut out = model.write_buf().ok()?;
    out.extend_from_slice(&functions);
    Some(out)
}

fn change(model: &mut ModelProto, random: &mut Random) -> Option<()> {
    if random.below(20) == 0 {
        model.opset_import.first_mut()?.version = Some(1 + random.below(28) as i64);
        return Some(());
    }
    let graph = inner(model.graph.as_mut()?, random);
    match random.below(16) {
        0..=5 => change_node(graph, random)?,
        6 => {
            let mut node = graph.node.get(random.below(graph.node.len()))?.clone();
            let name = format!("n{}", random.below(1000));
            node.name = Some(name.clone());
            node.output = vec![name];
            graph.node.push(node);
        }
        7 => insert_node(graph, random),
        8 if graph.node.len() > 1 => drop(graph.node.remove(random.below(graph.node.len()))),
        9 if graph.node.len() > 1 => {
            let (one, other) = (random.below(graph.node.len()), random.below(graph.node.len()));
            graph.node.swap(one, other);
        }
        10 | 11 => {
            let index = random.below(graph.initializer.len());
            change_tensor(graph.initializer.get_mut(index)?, random);
        }
        12 => {
            let tensor = tensor(format!("c{}", random.below(100)), random);
            graph.initializer.push(tensor);
        }
        13 => {
            let index = random.below(graph.input.len());
            change_value(graph.input.get_mut(index)?, random);
        }
        14 => {
            let index = random.below(graph.output.len());
            change_value(graph.output.get_mut(index)?, random);
        }
        _ => {
            let name = name(graph, random)?;
            let mut value = ValueInfoProto { name: Some(name), r#type: None };
            change_value(&mut value, random);
            let list = [&mut graph.value_info, &mut graph.output, &mut graph.input];
            let index = random.below(6).saturating_sub(3);
            list.into_iter().nth(index)?.push(value);
        }
    }
    Some(())
}

/// The graph, or a graph in one of its nodes.
fn inner<'a>(graph: &'a mut GraphProto, random: &mut Random) -> &'a mut GraphProto {
    let has_inner = graph.node.iter().any(|node| node.attribute.iter().any(|attribute| attribute.g.is_some()));
    if !has_inner || random.below(3) == 0 {
        return graph;
    }
    let count = graph.node.iter().flat_map(|node| &node.attribute).filter(|attribute| attribute.g.is_some()).count();
    let index = random.below(count);
    let inner_graph =
        graph.node.iter_mut().flat_map(|node| &mut node.attribute).filter_map(|it| it.g.as_mut()).nth(index);
    inner(inner_graph.expect("counted before"), random)
}

/// The name of a value of the graph.
fn name(graph: &GraphProto, random: &mut Random) -> Option<String> {
    let inputs = graph.input.iter().filter_map(|value| value.name.as_ref());
    let constants = graph.initializer.iter().filter_map(|constant| constant.name.as_ref());
    let names: Vec<&String> = inputs.chain(constants).chain(graph.node.iter().flat_map(|node| &node.output)).collect();
    names.get(random.below(names.len())).map(|name| (*name).clone())
}

fn change_node(graph: &mut GraphProto, random: &mut Random) -> Option<()> {
    let name = if random.below(8) == 0 { String::new() } else { name(graph, random)? };
    let index = random.below(graph.node.len());
    let node = graph.node.get_mut(index)?;
    match random.below(8) {
        0 | 1 => node.op_type = Some(random.word(OPERATORS).to_owned()),
        2 | 3 if !node.input.is_empty() => {
            let index = random.below(node.input.len());
            node.input[index] = name;
        }
        4 => node.input.push(name),
        5 => drop(node.input.pop()),
        6 if !node.attribute.is_empty() => {
            let index = random.below(node.attribute.len());
            if random.below(3) == 0 {
                node.attribute.remove(index);
            } else {
                change_attribute(&mut node.attribute[index], random);
            }
        }
        _ => {
            let attribute = attribute(random);
            node.attribute.retain(|other| other.name != attribute.name);
            node.attribute.push(attribute);
        }
    }
    if random.below(16) == 0 {
        node.output.push(format!("o{}", random.below(100)));
    }
    Some(())
}

/// Puts a node between a value and a node that takes it, or at the end.
fn insert_node(graph: &mut GraphProto, random: &mut Random) {
    let output = format!("v{}", random.below(1000));
    let input = (0..1 + random.below(3)).filter_map(|_| name(graph, random)).collect();
    let attribute = (0..random.below(3)).map(|_| attribute(random)).collect();
    let op_type = Some(random.word(OPERATORS).to_owned());
    let node = NodeProto { input, output: vec![output.clone()], op_type, attribute, ..NodeProto::default() };
    let at = random.below(graph.node.len() + 1);
    if let Some(taken) = graph.node.get_mut(at).and_then(|next| next.input.first_mut()) {
        *taken = output;
    } else if let Some(last) = graph.output.first_mut().filter(|_| random.below(2) == 0) {
        last.name = Some(output);
    }
    graph.node.insert(at, node);
}

fn attribute(random: &mut Random) -> AttributeProto {
    let named = |name: &str, ty| AttributeProto { name: Some(name.to_owned()), r#type: Some(ty), ..Default::default() };
    match random.below(5) {
        0 | 1 => AttributeProto { i: Some(random.number()), ..named(random.word(NUMBERS), AttributeType::INT) },
        2 => AttributeProto { ints: random.numbers(), ..named(random.word(LISTS), AttributeType::INTS) },
        3 => {
            let (name, text) = random.word(TEXTS).split_once('=').expect("every word has one");
            AttributeProto { s: Some(text.to_owned()), ..named(name, AttributeType::STRING) }
        }
        _ if random.below(3) == 0 => {
            AttributeProto { t: Some(tensor(String::new(), random)), ..named("value", AttributeType::TENSOR) }
        }
        _ => AttributeProto { f: Some(random.float()), ..named(random.word(FLOATS), AttributeType::FLOAT) },
    }
}

fn change_attribute(attribute: &mut AttributeProto, random: &mut Random) {
    if let Some(tensor) = &mut attribute.t {
        change_tensor(tensor, random);
    } else if attribute.i.is_some() {
        attribute.i = Some(random.number());
    } else if attribute.f.is_some() {
        attribute.f = Some(random.float());
    } else if attribute.s.is_some() {
        attribute.s = random.word(TEXTS).split_once('=').map(|(_, text)| text.to_owned());
    } else if random.below(2) == 0 && !attribute.ints.is_empty() {
        let index = random.below(attribute.ints.len());
        attribute.ints[index] = random.number();
    } else {
        attribute.ints = random.numbers();
    }
}

/// A constant whose data has the size of its shape.
fn tensor(name: String, random: &mut Random) -> TensorProto {
    let dims = (0..random.below(4)).map(|_| random.below(4) as i64).collect();
    let mut tensor = TensorProto { name: Some(name), dims, data_type: Some(random.ty()), ..TensorProto::default() };
    fill(&mut tensor, random);
    tensor
}

fn change_tensor(tensor: &mut TensorProto, random: &mut Random) {
    match random.below(6) {
        0 => tensor.dims = random.numbers(),
        1 => tensor.data_type = Some(random.ty()),
        2 => {
            tensor.dims = (0..random.below(5)).map(|_| random.below(4) as i64).collect();
            fill(tensor, random);
        }
        _ => fill(tensor, random),
    }
}

fn fill(tensor: &mut TensorProto, random: &mut Random) {
    const MOST: usize = 256;
    let count = tensor.dims.iter().try_fold(1usize, |product, &size| product.checked_mul(usize::try_from(size).ok()?));
    let count = count.unwrap_or(1).min(MOST);
    let mut raw = Vec::new();
    for _ in 0..count {
        match tensor.data_type.map_or(1, |ty| ty.0) {
            1 => raw.extend_from_slice(&random.float().to_le_bytes()),
            11 => raw.extend_from_slice(&f64::from(random.float()).to_le_bytes()),
            7 | 13 | 14 => raw.extend_from_slice(&random.number().to_le_bytes()),
            6 | 12 => raw.extend_from_slice(&(random.number() as i32).to_le_bytes()),
            4 | 5 | 10 | 16 => raw.extend_from_slice(&(random.number() as i16).to_le_bytes()),
            9 => raw.push(random.below(2) as u8),
            _ => raw.push(random.number() as u8),
        }
    }
    *tensor = TensorProto {
        name: tensor.name.take(),
        dims: std::mem::take(&mut tensor.dims),
        data_type: tensor.data_type,
        raw_data: Some(raw.into()),
        ..TensorProto::default()
    };
}

fn change_value(value: &mut ValueInfoProto, random: &mut Random) {
    let size = |random: &mut Random| match random.below(5) {
        0 => Dimension { dim_value: None, dim_param: Some(["n", "m", ""][random.below(3)].to_owned()) },
        1 => Dimension { dim_value: Some(random.number()), dim_param: None },
        _ => Dimension { dim_value: Some(1 + random.below(8) as i64), dim_param: None },
    };
    let dim = (0..random.below(5)).map(|_| size(random)).collect();
    let shape = (random.below(5) != 0).then_some(TensorShapeProto { dim });
    let tensor_type = TypeProtoTensor { elem_type: Some(random.ty()), shape };
    value.r#type = Some(TypeProto { tensor_type: Some(tensor_type), ..TypeProto::default() });
}
