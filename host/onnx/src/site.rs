//! What a rule sees of the model, and what it may create.

use std::collections::HashSet;

use rten_onnx::onnx::{DataType, NodeProto, TensorProto};

use crate::node::Edit;
use crate::tensor;
use crate::types::{Info, Values};
use crate::uses::Uses;

/// A node that is being corrected, and what its rule may use and create.
pub(crate) struct Site<'a> {
    /// The version of the standard operator set.
    pub(crate) opset: i64,
    /// What is known about the values before this node.
    pub(crate) values: &'a Values,
    /// New constants of the graph.
    pub(crate) constants: Vec<TensorProto>,
    pub(crate) names: &'a mut HashSet<String>,
    pub(crate) created: &'a mut usize,
    /// What the model does with its values.
    pub(crate) uses: &'a Uses,
    /// What is known about the outputs of the graphs in the node.
    pub(crate) bodies: Vec<Vec<Info>>,
    /// True if this node fails at run time for an integer that does not fit into 32 bits.
    pub(crate) is_guarded: bool,
    /// Set if an operator of the engine does not keep NaN, so that the inputs of the model must be finite.
    pub(crate) loses_nan: &'a mut bool,
    /// The constants with which the numbers of elements are compared that a request states as sizes.
    pub(crate) size_limits: &'a mut HashSet<String>,
}

impl Site<'_> {
    /// Removes the outputs after the first that nothing uses. Exporters declare outputs of operators that only training
    /// needs.
    pub(crate) fn remove_unused_outputs(&self, node: &mut NodeProto) {
        for output in node.output.iter_mut().skip(1) {
            if !self.uses.is_used(output) {
                output.clear();
            }
        }
        while node.output.last().is_some_and(String::is_empty) {
            node.output.pop();
        }
    }

    /// What is known about an input of a node; nothing if the input is absent.
    pub(crate) fn info(&self, node: &NodeProto, index: usize) -> Info {
        node.input(index).and_then(|name| self.values.get(name)).cloned().unwrap_or_else(Info::unknown)
    }

    /// A name that no other value has.
    pub(crate) fn name(&mut self, purpose: &str) -> String {
        loop {
            *self.created += 1;
            let name = format!("plimsoll.{purpose}.{}", self.created);
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }

    /// Adds a constant list of integers; returns its name.
    pub(crate) fn ints(&mut self, values: &[i64]) -> String {
        let name = self.name("ints");
        self.constants.push(tensor::of_ints(&name, values));
        name
    }

    /// Adds a constant list of FLOAT; returns its name.
    pub(crate) fn floats(&mut self, values: &[f32]) -> String {
        let name = self.name("floats");
        self.constants.push(tensor::of_floats(&name, &[values.len() as i64], values));
        name
    }

    /// Adds a constant scalar; returns its name.
    pub(crate) fn scalar(&mut self, ty: DataType, value: f32) -> String {
        let name = self.name("scalar");
        self.constants.push(tensor::scalar(&name, ty, value));
        name
    }
}
