//! The functions of a model: their bodies are analysed for each call.

use rten_onnx::onnx::{DataType, GraphProto, NodeProto};

use super::Analysis;
use crate::node;
use crate::onnxruntime::functions::Function;
use crate::types::{Info, Values};

/// Functions may not call themselves (ONNX, "Functions"); no model needs deeper calls.
const MOST_DEPTH: usize = 32;
/// The nodes of functions, counted again for each call.
const MOST_WORK: usize = 300_000;
impl Analysis {
    /// Analyses the bodies of a function for a call. Returns the types of the outputs; `None` for another operator. The
    /// parser does not read which overload a node calls, so it may be any of them.
    pub(super) fn call(&mut self, node: &NodeProto, values: &Values) -> Option<Vec<Option<DataType>>> {
        let is_called = |function: &Function| {
            Some(function.domain.as_str()) == node.domain.as_deref()
                && Some(function.name.as_str()) == node.op_type.as_deref()
        };
        let overloads: Vec<usize> = (0..self.functions.len()).filter(|&at| is_called(&self.functions[at])).collect();
        let mut types: Option<Vec<Option<DataType>>> = None;
        for index in overloads {
            let of_body = self.call_one(index, node, values)?;
            types = Some(match types {
                None => of_body,
                Some(types) => types.iter().zip(&of_body).map(|(&one, &other)| one.filter(|_| one == other)).collect(),
            });
        }
        types
    }

    /// Analyses the functions that no node calls, as far as this analysis sees.
    pub(in crate::onnxruntime) fn uncalled(&mut self) {
        for index in 0..self.functions.len() {
            if !self.functions[index].is_called {
                let node = node::new(&self.functions[index].name, &[], &self.functions[index].name);
                self.call_one(index, &node, &Values::default());
            }
        }
    }

    fn call_one(&mut self, index: usize, node: &NodeProto, values: &Values) -> Option<Vec<Option<DataType>>> {
        self.functions[index].is_called = true;
        self.work = self.work.saturating_add(work(&self.functions[index].body));
        if self.depth >= MOST_DEPTH || self.work > MOST_WORK {
            let name = node::title(node);
            self.problem.get_or_insert(format!(
                "node `{name}` calls a function, and the functions of the model call each other too deeply or too often \
                 (at most {MOST_DEPTH} calls deep and {MOST_WORK} nodes in all calls): export the model without functions"
            ));
            return None;
        }
        let function = &mut self.functions[index];
        let (mut body, opset) = (std::mem::take(&mut function.body), function.opset);
        let mut given = Values::default();
        for (formal, actual) in body.input.iter().zip(&node.input) {
            let info = values.get(actual).cloned().unwrap_or_else(Info::unknown);
            given.insert(formal.name.as_deref().unwrap_or_default(), info);
        }
        // The inputs are removed from the body, so that their declarations do not replace what is known about them. All
        // of them depend on the request.
        let inputs = std::mem::take(&mut body.input);
        self.data.extend(inputs.iter().filter_map(|input| input.name.clone()));
        let outer = std::mem::replace(&mut self.opset, opset);
        self.depth += 1;
        let found = self.graph(&body, &given);
        self.depth -= 1;
        self.opset = outer;
        body.input = inputs;
        let function = &mut self.functions[index];
        function.body = body;
        function.found.join(&found);
        Some(found.outputs)
    }
}

/// The work of one walk through the body of a function: its nodes, and for each graph in them the values around it.
fn work(body: &GraphProto) -> usize {
    let inner = |node: &NodeProto| -> usize {
        let graphs = node.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
        graphs.map(|graph| body.node.len() + work(graph)).sum()
    };
    1 + body.node.iter().map(|node| 1 + inner(node)).sum::<usize>()
}
