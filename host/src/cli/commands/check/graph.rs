//! The graph of a pipeline with steps, as text and in the language of Graphviz.

use plimsoll_runtime::pipeline::graph::Items;
use plimsoll_runtime::pipeline::{Inputs, Pipeline};

/// A step for the output.
struct Line<'a> {
    name: &'a str,
    kind: &'static str,
    plugins: Vec<String>,
    from: Vec<String>,
    gather: bool,
    items: Option<Items>,
}

/// The steps of a pipeline, in their order. Empty if it has three stages.
fn lines(pipeline: &Pipeline) -> Vec<Line<'_>> {
    let Some(graph) = &pipeline.steps else { return Vec::new() };
    let plugin = |stage: &plimsoll_runtime::stage::StageCore, chip: Option<&str>| {
        let chip = chip.map_or_else(String::new, |chip| format!(" on {chip}"));
        format!(
            "{} {}{chip} (max_memory {}, deadline {:?})",
            stage.plugin.name,
            stage.plugin.version,
            bytesize::ByteSize::b(stage.limits.max_memory),
            stage.limits.deadline
        )
    };
    let nothing = Inputs { sources: Vec::new(), gather: false };
    let end = |stage: &'_ plimsoll_runtime::stage::StageCore, inputs: &Inputs| {
        (stage.kind.as_str(), vec![plugin(stage, None)], graph.taken(inputs), inputs.gather)
    };
    let line = |name, (kind, plugins, from, gather), items| Line { name, kind, plugins, from, gather, items };
    let first = pipeline.preprocess.core();
    let last = pipeline.postprocess.core();
    let mut lines = vec![line(first.name.as_str(), end(first, &nothing), None)];
    for step in &graph.steps {
        let plugins = step.stages().into_iter().map(|(chip, stage)| plugin(stage, chip)).collect();
        let parts = (step.kind().as_str(), plugins, graph.taken(&step.inputs), step.inputs.gather);
        lines.push(line(&step.name, parts, step.items()));
    }
    lines.push(line(last.name.as_str(), end(last, &graph.reply), None));
    lines
}

/// The graph as lines of text.
pub(super) fn text(pipeline: &Pipeline) -> Vec<String> {
    let lines = lines(pipeline);
    let width = lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
    let text = |line: &Line<'_>| {
        let from = if line.from.is_empty() { String::new() } else { format!(" from {}", line.from.join(", ")) };
        let gather = if line.gather { ", gathers the items" } else { "" };
        let items = line.items.map_or_else(String::new, |Items { max, partial }| {
            format!(", makes up to {max} items{}", if partial { ", each of which may fail" } else { "" })
        });
        format!("  {:<width$} {:<11} {}{from}{gather}{items}", line.name, line.kind, line.plugins.join("; "))
    };
    lines.iter().map(text).collect()
}

/// The graph in the language of Graphviz: `dot -Tsvg` draws it.
pub(super) fn dot(pipeline: &Pipeline) -> Vec<String> {
    let quoted = |text: &str| format!("{text:?}");
    let mut dot = vec![format!("digraph {} {{", quoted(&pipeline.name)), "  rankdir = LR;".to_owned()];
    for line in lines(pipeline) {
        let shape = if line.items.is_some() {
            "house"
        } else if line.gather {
            "invhouse"
        } else {
            "box"
        };
        dot.push(format!(
            "  {} [shape = {shape}, label = {}];",
            quoted(line.name),
            quoted(&format!("{}\n{}", line.name, line.kind))
        ));
        for from in &line.from {
            let (step, tensor) = from.split_once('.').map_or((from.as_str(), None), |(step, it)| (step, Some(it)));
            let label = tensor.map_or_else(String::new, |tensor| format!(" [label = {}]", quoted(tensor)));
            dot.push(format!("  {} -> {}{label};", quoted(step), quoted(line.name)));
        }
    }
    dot.push("}".to_owned());
    dot
}
