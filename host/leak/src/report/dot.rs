//! A [Graphviz](https://graphviz.org/doc/info/lang.html) graph of what holds the survivors.

use std::fmt::Write as _;

use crate::finding::Study;
use plimsoll_runtime::text::grouped;

/// Maximum number of groups that are drawn.
const MAX_GROUPS: usize = 24;

/// Draws one path from a root to each group of survivors. A common beginning of several paths is drawn once.
pub(super) fn graph(study: &Study) -> String {
    let mut text = String::from("digraph retention {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n");
    let mut nodes: Vec<String> = Vec::new();
    let mut edges: Vec<(usize, usize)> = Vec::new();
    let mut node = |key: String, label: String, style: &str, text: &mut String| {
        if let Some(known) = nodes.iter().position(|node| *node == key) {
            return known;
        }
        nodes.push(key);
        let _ = writeln!(text, "  n{} [label={label:?}{style}];", nodes.len() - 1);
        nodes.len() - 1
    };
    for group in study.groups.iter().take(MAX_GROUPS) {
        let class = study.classes.get(group.class).map(super::super::finding::Class::name).unwrap_or_default();
        let (root, links) = match &group.chain {
            Some(chain) => (chain.root.to_string(), &chain.blocks[..chain.blocks.len() - 1]),
            None if group.is_ring => ("nothing (a reference cycle)".to_owned(), &[][..]),
            None => ("nothing (unreachable)".to_owned(), &[][..]),
        };
        let mut path = root.clone();
        let mut from = node(path.clone(), root, ", style=filled, fillcolor=\"#ffe0b0\"", &mut text);
        let parts = group.path.iter().flat_map(|path| &path.steps[..path.steps.len().saturating_sub(1)]);
        for part in parts {
            let _ = write!(path, "/{part}");
            let to = node(path.clone(), part.trim().to_owned(), "", &mut text);
            edges.push((from, to));
            from = to;
        }
        for link in links {
            let label = format!("{}-byte block", grouped(u64::from(link.size)));
            let _ = write!(path, "/{label}");
            let to = node(path.clone(), label, "", &mut text);
            edges.push((from, to));
            from = to;
        }
        let (small, large) = group.sizes;
        let sizes = if small == large {
            grouped(u64::from(small))
        } else {
            format!("{}…{}", grouped(u64::from(small)), grouped(u64::from(large)))
        };
        let label = format!(
            "{sizes}-byte block × {}\n{} bytes\nallocated by: {class}",
            grouped(group.blocks as u64),
            grouped(group.bytes)
        );
        let _ = write!(path, "/{class}/survivors");
        let to = node(path, label, ", style=filled, fillcolor=\"#ffb0b0\"", &mut text);
        edges.push((from, to));
    }
    edges.sort_unstable();
    edges.dedup();
    for (from, to) in edges {
        let _ = writeln!(text, "  n{from} -> n{to};");
    }
    text.push_str("}\n");
    text
}
