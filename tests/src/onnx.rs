//! Small ONNX models, made by tests.

use std::cell::RefCell;

use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataLocation, DataType, Dimension, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor,
    ValueInfoProto,
};

/// A model under construction. Values are FLOAT unless another type is named.
#[derive(Clone, Default)]
pub struct Onnx {
    graph: GraphProto,
    opset: i64,
    metadata: Vec<StringStringEntryProto>,
    imports: Vec<OperatorSetIdProto>,
}

impl Onnx {
    /// An empty model of an operator set.
    pub fn new(opset: i64) -> Self {
        Self { opset, ..Self::default() }
    }

    /// Adds an input; `None` is a dynamic size.
    #[must_use]
    pub fn input(mut self, name: &str, shape: &[Option<i64>]) -> Self {
        self.graph.input.push(value(name, shape, DataType::FLOAT));
        self
    }

    /// Adds an input of INT64.
    #[must_use]
    pub fn int_input(mut self, name: &str, shape: &[Option<i64>]) -> Self {
        self.graph.input.push(value(name, shape, DataType::INT64));
        self
    }

    /// Adds an output of INT64.
    #[must_use]
    pub fn int_output(mut self, name: &str, shape: &[Option<i64>]) -> Self {
        self.graph.output.push(value(name, shape, DataType::INT64));
        self
    }

    /// Adds an output.
    #[must_use]
    pub fn output(mut self, name: &str, shape: &[Option<i64>]) -> Self {
        self.graph.output.push(value(name, shape, DataType::FLOAT));
        self
    }

    /// Adds an output of FLOAT without a shape.
    #[must_use]
    pub fn open_output(mut self, name: &str) -> Self {
        let tensor = TypeProtoTensor { elem_type: Some(DataType::FLOAT), shape: None };
        let ty = TypeProto { tensor_type: Some(tensor), ..TypeProto::default() };
        self.graph.output.push(ValueInfoProto { name: Some(name.into()), r#type: Some(ty) });
        self
    }

    /// Makes the outputs so far inner values.
    #[must_use]
    pub fn without_outputs(mut self) -> Self {
        self.graph.output.clear();
        self
    }

    /// Adds an input of a type.
    #[must_use]
    pub fn typed_input(mut self, name: &str, shape: &[Option<i64>], ty: DataType) -> Self {
        self.graph.input.push(value(name, shape, ty));
        self
    }

    /// Adds an output of a type.
    #[must_use]
    pub fn typed_output(mut self, name: &str, shape: &[Option<i64>], ty: DataType) -> Self {
        self.graph.output.push(value(name, shape, ty));
        self
    }

    /// States the shape of a value that is neither input nor output.
    #[must_use]
    pub fn claim(mut self, name: &str, shape: &[Option<i64>]) -> Self {
        self.graph.value_info.push(value(name, shape, DataType::FLOAT));
        self
    }

    /// Adds a constant of FLOAT.
    #[must_use]
    pub fn floats(mut self, name: &str, shape: &[i64], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.graph.initializer.push(constant(name, shape, DataType::FLOAT, bytes));
        self
    }

    /// Adds a constant of a type.
    #[must_use]
    pub fn typed(mut self, name: &str, shape: &[i64], ty: DataType, bytes: &[u8]) -> Self {
        self.graph.initializer.push(constant(name, shape, ty, bytes.to_vec()));
        self
    }

    /// Adds a constant of INT64 with one dimension.
    #[must_use]
    pub fn ints(mut self, name: &str, values: &[i64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.graph.initializer.push(constant(name, &[values.len() as i64], DataType::INT64, bytes));
        self
    }

    /// Adds a constant scalar of INT64.
    #[must_use]
    pub fn int_scalar(mut self, name: &str, value: i64) -> Self {
        self.graph.initializer.push(constant(name, &[], DataType::INT64, value.to_le_bytes().to_vec()));
        self
    }

    /// Adds a constant whose elements are in a file next to the model, from the beginning of the file to its end.
    #[must_use]
    pub fn stored(mut self, name: &str, shape: &[i64], ty: DataType, location: &str) -> Self {
        let entry = StringStringEntryProto { key: Some("location".into()), value: Some(location.into()) };
        self.graph.initializer.push(TensorProto {
            raw_data: None,
            data_location: Some(DataLocation::EXTERNAL),
            external_data: vec![entry],
            ..constant(name, shape, ty, Vec::new())
        });
        self
    }

    /// Adds lists of integers to the attributes of the last node.
    #[must_use]
    pub fn with_lists(mut self, attributes: &[(&str, &[i64])]) -> Self {
        let lists = attributes.iter().map(|&(name, values)| AttributeProto {
            name: Some(name.into()),
            ints: values.to_vec(),
            r#type: Some(AttributeType::INTS),
            ..AttributeProto::default()
        });
        if let Some(node) = self.graph.node.last_mut() {
            node.attribute.extend(lists);
        }
        self
    }

    /// Adds texts to the attributes of the last node.
    #[must_use]
    pub fn with_texts(mut self, attributes: &[(&str, &str)]) -> Self {
        let texts = attributes.iter().map(|&(name, value)| AttributeProto {
            name: Some(name.into()),
            s: Some(value.into()),
            r#type: Some(AttributeType::STRING),
            ..AttributeProto::default()
        });
        if let Some(node) = self.graph.node.last_mut() {
            node.attribute.extend(texts);
        }
        self
    }

    /// Sets the domain of the last node.
    #[must_use]
    pub fn with_domain(mut self, domain: &str) -> Self {
        if let Some(node) = self.graph.node.last_mut() {
            node.domain = Some(domain.into());
        }
        self
    }

    /// Adds a graph to the attributes of the last node: a branch, or the body of a loop.
    #[must_use]
    pub fn with_graph(mut self, name: &str, body: Onnx) -> Self {
        if let Some(node) = self.graph.node.last_mut() {
            node.attribute.push(AttributeProto {
                name: Some(name.into()),
                g: Some(body.graph),
                r#type: Some(AttributeType::GRAPH),
                ..AttributeProto::default()
            });
        }
        self
    }

    /// Adds a node with integer attributes.
    #[must_use]
    pub fn node(mut self, operator: &str, inputs: &[&str], output: &str, attributes: &[(&str, i64)]) -> Self {
        let attribute = attributes.iter().map(|&(name, value)| AttributeProto {
            name: Some(name.into()),
            i: Some(value),
            r#type: Some(AttributeType::INT),
            ..AttributeProto::default()
        });
        self.graph.node.push(NodeProto {
            name: Some(format!("node_{output}")),
            op_type: Some(operator.into()),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute: attribute.collect(),
            ..NodeProto::default()
        });
        self
    }

    /// Adds outputs to the last node.
    #[must_use]
    pub fn with_outputs(mut self, names: &[&str]) -> Self {
        if let Some(node) = self.graph.node.last_mut() {
            node.output.extend(names.iter().map(|&name| name.to_owned()));
        }
        self
    }

    /// Adds lists of texts to the attributes of the last node.
    #[must_use]
    pub fn with_text_lists(mut self, attributes: &[(&str, &[&str])]) -> Self {
        let lists = attributes.iter().map(|&(name, values)| AttributeProto {
            name: Some(name.into()),
            strings: values.iter().map(|&value| value.to_owned()).collect(),
            r#type: Some(AttributeType::STRINGS),
            ..AttributeProto::default()
        });
        if let Some(node) = self.graph.node.last_mut() {
            node.attribute.extend(lists);
        }
        self
    }

    /// Uses the operators of a further domain.
    #[must_use]
    pub fn import(mut self, domain: &str, version: i64) -> Self {
        self.imports.push(OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) });
        self
    }

    /// Adds an entry to the metadata.
    #[must_use]
    pub fn metadata(mut self, key: &str, value: &str) -> Self {
        self.metadata.push(StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) });
        self
    }

    /// The bytes of the file.
    ///
    /// # Panics
    /// If the model cannot be written.
    pub fn bytes(&self) -> Vec<u8> {
        let model = ModelProto {
            ir_version: Some(8),
            graph: Some(self.graph.clone()),
            opset_import: [OperatorSetIdProto { domain: None, version: Some(self.opset) }]
                .into_iter()
                .chain(self.imports.clone())
                .collect(),
            metadata_props: self.metadata.clone(),
            ..ModelProto::default()
        };
        model.write_buf().expect("a model")
    }
}

fn value(name: &str, shape: &[Option<i64>], ty: DataType) -> ValueInfoProto {
    let dim = shape.iter().enumerate().map(|(index, size)| Dimension {
        dim_value: *size,
        dim_param: size.is_none().then(|| format!("size_{index}")),
    });
    let tensor = TypeProtoTensor { elem_type: Some(ty), shape: Some(TensorShapeProto { dim: dim.collect() }) };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { tensor_type: Some(tensor), ..TypeProto::default() }),
    }
}

fn constant(name: &str, shape: &[i64], ty: DataType, bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: shape.to_vec(),
        data_type: Some(ty),
        raw_data: Some(RefCell::new(bytes)),
        ..TensorProto::default()
    }
}
