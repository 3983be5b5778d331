//! Changes ONNX models as models: random bytes rarely stay a valid message of Protocol Buffers, and more rarely one with
//! other operators.

mod random;

use rten_onnx::onnx::{
    AttributeProto, AttributeType, Dimension, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto,
    TypeProto, TypeProtoTensor, ValueInfoProto,
};

use random::{FLOATS, LISTS, NUMBERS, OPERATORS, Random, TEXTS};

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
        6 if random.below(2) == 0 => repeat_node(graph, random)?,
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

/// Puts copies of a node after it, each with the output of the one before as some or all of its inputs: what doubles at a
/// node grows beyond the memory of any machine.
fn repeat_node(graph: &mut GraphProto, random: &mut Random) -> Option<()> {
    let at = random.below(graph.node.len());
    let first = graph.node.get(at)?.clone();
    let mut value = first.output.first()?.clone();
    let takes: Vec<bool> = first.input.iter().map(|_| random.below(3) > 0).collect();
    let copies = 1 + random.below(40);
    for copy in 0..copies {
        let mut node = first.clone();
        let taken = node.input.iter_mut().zip(&takes).filter(|(_, takes)| **takes);
        taken.for_each(|(input, _)| input.clone_from(&value));
        value = format!("r{}", random.below(1000));
        node.output = vec![value.clone()];
        graph.node.insert(at + 1 + copy, node);
    }
    if let Some(last) = graph.output.first_mut().filter(|_| random.below(2) == 0) {
        last.name = Some(value);
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
