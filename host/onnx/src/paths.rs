//! How deep a graph is. rten plans a run by a function that calls itself for the node before, and compares products and sums with
//! patterns by all of their terms: a chain of thousands of nodes would exhaust the stack, and 40 squares after each other
//! have 2^40 terms. Both end the process.

use std::collections::HashMap;

use rten_onnx::onnx::GraphProto;

use crate::node;
use crate::rejected::{Reason, Rejected};
use crate::run_size;

/// The most nodes of which each takes what the one before computes. A level takes 450 bytes of the stack (rten 0.27, optimised).
const LONGEST_PATH: u64 = 10_000;
/// The same for a branch or the body of a loop, which threads of the engine with 2 MiB plan.
const LONGEST_INNER_PATH: u64 = 2_000;
/// The most terms of a sum or a product whose terms are sums or products.
const MOST_TERMS: u64 = 10_000;

/// The most inputs, and the most outputs, of a node. The engine drops a sum of sizes by a function that calls itself for each
/// term, and its plan takes time that grows with the square of the outputs.
const MOST_VALUES: usize = 10_000;

/// What is known about a value.
#[derive(Clone, Copy)]
struct Source<'a> {
    /// The nodes of the longest path to it.
    length: u64,
    operator: &'a str,
    terms: u64,
}

/// Checks a graph and the graphs in it, as the engine gets them. Returns the number of nodes of the longest path.
///
/// # Errors
/// If a path is too long, or a sum or a product has too many terms; the error names the node.
pub(crate) fn check(graph: &GraphProto, opset: i64) -> Result<u64, Rejected> {
    check_graph(graph, opset, LONGEST_PATH)
}

fn check_graph(graph: &GraphProto, opset: i64, most: u64) -> Result<u64, Rejected> {
    let mut sources: HashMap<&str, Source> = HashMap::new();
    let mut longest = 0;
    for node in &graph.node {
        let operator = node.op_type.as_deref().unwrap_or_default();
        let taken = run_size::taken(node).into_iter().filter_map(|name| sources.get(name));
        let length = 1 + taken.map(|source| source.length).max().unwrap_or(0);
        let joins = matches!(operator, "Add" | "Mul");
        let of_input = |name: &String| match sources.get(name.as_str()) {
            Some(source) if joins && source.operator == operator => source.terms,
            _ => 1,
        };
        let terms = node.input.iter().map(of_input).fold(0, u64::saturating_add);
        let why = if length > most {
            Some(format!("cannot plan paths of more than {most} nodes, and this node is the end of a longer one"))
        } else if let Some(values) =
            [node.input.len(), node.output.len()].into_iter().find(|&values| values > MOST_VALUES)
        {
            Some(format!("supports {MOST_VALUES} inputs and as many outputs, and this node has {values}"))
        } else {
            (joins && terms > MOST_TERMS)
                .then(|| format!("supports {MOST_TERMS} terms, and this node has {terms} with those of its terms"))
        };
        if let Some(why) = why {
            return Err(Rejected::node(node::title(node), operator, opset, &Reason::unsupported(why)));
        }
        // The engine removes these, if they change nothing, before it looks for patterns.
        let vanishes = matches!(operator, "Cast" | "Div" | "Dropout" | "Identity" | "Sub");
        let before = node.input.first().and_then(|name| sources.get(name.as_str())).filter(|_| vanishes).copied();
        let own = Source { length, operator, terms };
        let source = before.map_or(own, |before| Source { length, ..before });
        sources.extend(node.output.iter().map(|output| (output.as_str(), source)));
        for body in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            longest = longest.max(check_graph(body, opset, LONGEST_INNER_PATH)?);
        }
        longest = longest.max(length);
    }
    Ok(longest)
}
