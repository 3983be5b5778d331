//! How deep a graph is. rten plans a run by a function that calls itself for the node before, and compares products and sums with
//! patterns by all of their terms: a chain of thousands of nodes would exhaust the stack, and 40 squares after each other
//! have 2^40 terms. Both end the process.

use std::collections::HashMap;

use rten_onnx::onnx::GraphProto;

use crate::node;
use crate::rejected::{Reason, Rejected};

/// The most nodes of which each takes what the one before computes. A level takes 450 bytes of the stack (rten 0.27, optimised).
const LONGEST_PATH: u64 = 10_000;
/// The most terms of a sum or a product whose terms are sums or products.
const MOST_TERMS: u64 = 10_000;

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
    let mut sources: HashMap<&str, Source> = HashMap::new();
    let mut longest = 0;
    for node in &graph.node {
        let operator = node.op_type.as_deref().unwrap_or_default();
        let taken = || node.input.iter().filter_map(|name| sources.get(name.as_str()));
        let length = 1 + taken().map(|source| source.length).max().unwrap_or(0);
        let joins = matches!(operator, "Add" | "Mul");
        let of_input = |name: &String| match sources.get(name.as_str()) {
            Some(source) if joins && source.operator == operator => source.terms,
            _ => 1,
        };
        let terms = node.input.iter().map(of_input).fold(0, u64::saturating_add);
        let why = if length > LONGEST_PATH {
            Some(format!(
                "cannot plan paths of more than {LONGEST_PATH} nodes, and this node is the end of a longer one"
            ))
        } else {
            (joins && terms > MOST_TERMS)
                .then(|| format!("supports {MOST_TERMS} terms, and this node has {terms} with those of its terms"))
        };
        if let Some(why) = why {
            return Err(Rejected::node(node::title(node), operator, opset, &Reason::unsupported(why)));
        }
        sources.extend(node.output.iter().map(|output| (output.as_str(), Source { length, operator, terms })));
        for body in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            longest = longest.max(check(body, opset)?);
        }
        longest = longest.max(length);
    }
    Ok(longest)
}
