//! Functions of the model: the body is followed for each call.

use rten_onnx::onnx::NodeProto;

use super::value::Value;
use super::{Proof, Values};
use crate::node;

/// Functions may not call themselves (ONNX, "Functions"); no model needs deeper calls.
const MOST_DEPTH: usize = 32;

impl Proof {
    /// The outputs of a call of a function; `None` for another operator. The parser does not read which of several
    /// functions of one name (overloads) is called, so they must agree.
    pub(super) fn call(&mut self, node: &NodeProto, inputs: &[&Value]) -> Option<Vec<Value>> {
        let is_standard = node::is_standard(node.domain.as_deref());
        let found: Vec<usize> = (0..self.functions.len())
            .filter(|&index| {
                let function = &self.functions[index];
                let is_domain = match is_standard {
                    true => node::is_standard(Some(&function.domain)),
                    false => Some(function.domain.as_str()) == node.domain.as_deref(),
                };
                is_domain && Some(function.name.as_str()) == node.op_type.as_deref()
            })
            .collect();
        let (&first, others) = found.split_first()?;
        if is_standard {
            return Some(vec![Value::unknown("is also the name of a function"); node.output.len()]);
        }
        if self.depth >= MOST_DEPTH {
            return Some(vec![Value::unknown("calls functions too deeply"); node.output.len()]);
        }
        let mut outputs = self.function(first, inputs);
        for &other in others {
            let again = self.function(other, inputs);
            outputs = outputs
                .into_iter()
                .zip(again)
                .map(|(one, other)| self.join(one, other, &mut Vec::new(), "calls one of several functions"))
                .collect();
        }
        Some(outputs)
    }

    fn function(&mut self, index: usize, inputs: &[&Value]) -> Vec<Value> {
        let function = &mut self.functions[index];
        // A function that calls itself finds an empty body.
        let (body, opset) = (std::mem::take(&mut function.body), function.opset);
        let outer = std::mem::replace(&mut self.opset, opset);
        self.depth += 1;
        let given = inputs.iter().map(|&input| input.clone()).collect();
        let outputs = self.graph(&body, &Values::new(), given);
        self.depth -= 1;
        self.opset = outer;
        self.functions[index].body = body;
        outputs
    }
}
