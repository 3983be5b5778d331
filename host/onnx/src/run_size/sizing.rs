//! The inputs whose numbers decide about sizes: how large a created value is, which branch runs, how often a loop runs.

use std::collections::{HashMap, HashSet};

use rten_onnx::onnx::GraphProto;

use super::names::{bodies, taken};

/// The inputs of a main graph whose numbers decide about sizes, perhaps after other operators.
pub(super) fn inputs(graph: &GraphProto) -> HashSet<String> {
    let mut search = Search::default();
    search.collect(graph);
    while let Some(name) = search.open.pop() {
        for cause in search.causes.remove(name).into_iter().flatten() {
            search.mark(&cause);
        }
    }
    let names = graph.input.iter().filter_map(|input| input.name.clone());
    names.filter(|name| search.found.contains(name.as_str())).collect()
}

/// A search backwards, by name. Names in different graphs may be the same, so it can find too much.
#[derive(Default)]
struct Search<'a> {
    /// The values that a value is computed from.
    causes: HashMap<&'a str, Vec<Vec<&'a str>>>,
    found: HashSet<&'a str>,
    open: Vec<&'a str>,
}

impl<'a> Search<'a> {
    fn mark(&mut self, names: &[&'a str]) {
        for &name in names {
            if self.found.insert(name) {
                self.open.push(name);
            }
        }
    }

    fn collect(&mut self, graph: &'a GraphProto) {
        for node in &graph.node {
            let operator = node.op_type.as_deref().unwrap_or_default();
            let sizes: Vec<&str> =
                sizing(operator).iter().filter_map(|&index| node.input.get(index)).map(String::as_str).collect();
            self.mark(&sizes);
            // These look at the shape only.
            if !matches!(operator, "Shape" | "Size") {
                let taken = taken(node);
                for output in &node.output {
                    self.causes.entry(output).or_default().push(taken.clone());
                }
            }
            for body in bodies(node) {
                // What a round gets is what the node gets, or what another round returns.
                let returned = body.output.iter().filter_map(|output| output.name.as_deref());
                let given: Vec<&str> = node.input.iter().map(String::as_str).chain(returned).collect();
                for input in body.input.iter().filter_map(|input| input.name.as_deref()) {
                    self.causes.entry(input).or_default().push(given.clone());
                }
                self.collect(body);
            }
        }
    }
}

/// The inputs of an operator that decide about sizes.
fn sizing(operator: &str) -> &'static [usize] {
    match operator {
        "If" | "ConstantOfShape" | "HannWindow" | "HammingWindow" | "BlackmanWindow" => &[0],
        "Loop" | "MelWeightMatrix" => &[0, 1],
        "Range" => &[0, 1, 2],
        "Expand" | "OneHot" | "Pad" | "Tile" | "Upsample" | "Reshape" | "TopK" | "Split" | "SplitToSequence"
        | "Unsqueeze" | "Squeeze" | "AffineGrid" | "CenterCropPad" => &[1],
        "Resize" | "Slice" | "STFT" => &[1, 2, 3, 4],
        "Col2Im" | "MaxUnpool" | "DFT" | "NonMaxSuppression" => &[1, 2],
        _ => &[],
    }
}
