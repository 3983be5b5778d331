//! Reads attributes of nodes, and creates nodes.

use rten_onnx::onnx::{AttributeProto, AttributeType, DataType, ModelProto, NodeProto};

/// True for the operator set of the ONNX standard.
pub(crate) fn is_standard(domain: Option<&str>) -> bool {
    matches!(domain, None | Some("" | "ai.onnx"))
}

/// The version of the standard operator set; the first if the file states none. Of several, onnxruntime takes the last.
pub(crate) fn opset_or_first(model: &ModelProto) -> i64 {
    let import = model.opset_import.iter().rfind(|set| is_standard(set.domain.as_deref()));
    import.and_then(|set| set.version).unwrap_or(1)
}

/// The name of a node in messages: its own, or that of its first output.
pub(crate) fn title(node: &NodeProto) -> &str {
    node.name.as_deref().filter(|name| !name.is_empty()).or(node.output(0)).unwrap_or_default()
}

/// Access to the attributes of a node.
pub(crate) trait Attributes {
    /// The attribute of this name.
    fn attribute(&self, name: &str) -> Option<&AttributeProto>;

    /// An integer.
    fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name)?.i
    }

    /// An integer, or a default if the attribute is absent.
    fn int_or(&self, name: &str, default: i64) -> i64 {
        self.int(name).unwrap_or(default)
    }

    /// A list of integers.
    fn ints(&self, name: &str) -> Option<&[i64]> {
        Some(&self.attribute(name)?.ints)
    }

    /// A number.
    fn float(&self, name: &str) -> Option<f32> {
        self.attribute(name)?.f
    }

    /// A text, or a default if the attribute is absent.
    fn text_or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.attribute(name).and_then(|attribute| attribute.s.as_deref()).unwrap_or(default)
    }
}

impl Attributes for NodeProto {
    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name))
    }
}

/// Changes to a node.
pub(crate) trait Edit: Sized {
    /// Sets an integer.
    fn set_int(&mut self, name: &str, value: i64);
    /// Sets a list of integers.
    fn set_ints(&mut self, name: &str, values: &[i64]);
    /// Removes an attribute.
    fn remove(&mut self, name: &str);
    /// The name of an input; `None` if it is absent.
    fn input(&self, index: usize) -> Option<&str>;
    /// The name of an output; `None` if it is absent.
    fn output(&self, index: usize) -> Option<&str>;
    /// Sets an integer of a new node.
    fn with_int(self, name: &str, value: i64) -> Self;
}

impl Edit for NodeProto {
    fn set_int(&mut self, name: &str, value: i64) {
        self.remove(name);
        self.attribute.push(AttributeProto {
            name: Some(name.into()),
            i: Some(value),
            r#type: Some(AttributeType::INT),
            ..AttributeProto::default()
        });
    }

    fn set_ints(&mut self, name: &str, values: &[i64]) {
        self.remove(name);
        self.attribute.push(AttributeProto {
            name: Some(name.into()),
            ints: values.to_vec(),
            r#type: Some(AttributeType::INTS),
            ..AttributeProto::default()
        });
    }

    fn remove(&mut self, name: &str) {
        self.attribute.retain(|attribute| attribute.name.as_deref() != Some(name));
    }

    fn input(&self, index: usize) -> Option<&str> {
        self.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    fn output(&self, index: usize) -> Option<&str> {
        self.output.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    fn with_int(mut self, name: &str, value: i64) -> Self {
        self.set_int(name, value);
        self
    }
}

/// A new node of the standard operator set.
pub(crate) fn new(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(operator.into()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// A new `Cast`.
pub(crate) fn cast(input: &str, to: DataType, output: &str) -> NodeProto {
    new("Cast", &[input], output).with_int("to", i64::from(to.0))
}

/// A copy of a node without its name and attributes.
pub(crate) fn copy(node: &NodeProto) -> NodeProto {
    NodeProto {
        op_type: node.op_type.clone(),
        domain: node.domain.clone(),
        input: node.input.clone(),
        output: node.output.clone(),
        ..NodeProto::default()
    }
}
