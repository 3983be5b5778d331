//! `Loop`. The engine does not create the lists of a loop that never runs, and nothing can stop a loop that does not end.

use std::cell::RefCell;

use rten_onnx::onnx::{AttributeProto, AttributeType, DataType, GraphProto, NodeProto, TensorProto, ValueInfoProto};

use super::guard::{self, LARGEST_ROUNDS};
use super::{Replaced, keep};
use crate::node::{Attributes, Edit, new, title};
use crate::rejected::Reason;
use crate::site::Site;
use crate::types::Info;

/// The number of the iteration and the condition, which a body gets before the states of its loop.
const BEFORE_STATES: usize = 2;

/// Rejects a loop whose end is not known or whose body does not fit, and gives a loop that may not run its lists.
pub(super) fn loop_(node: NodeProto, site: &mut Site) -> Replaced {
    let rounds = site.info(&node, 0).constant;
    let is_endless = rounds.is_some_and(|rounds| rounds.iter().any(|&rounds| rounds > LARGEST_ROUNDS.into()));
    if is_endless || node.input(0).is_none() {
        return Err(Reason::with_fix(
            "cannot stop a loop that only a condition ends",
            "give the loop a largest number of iterations, up to 1,000,000",
        ));
    }
    let states = node.input.len().saturating_sub(BEFORE_STATES);
    let body = node.attribute("body").and_then(|body| body.g.as_ref());
    let body = body.ok_or_else(|| Reason::with_fix("needs the `body` of the loop", "export the model again"))?;
    check_body(&node, body, states)?;
    let lists = node.output.len().saturating_sub(states);
    let collected = site.bodies.iter().flat_map(|outputs| outputs.iter().skip(1 + states));
    if collected.take(lists).any(|value| value.is_dependent) {
        return Err(Reason::with_fix(
            "cannot limit what the loop collects, because numbers of a request decide how many elements it has",
            "compute the sizes from the shapes of the inputs",
        ));
    }
    if lists == 0 || always_runs(&node, site) {
        return keep(node, site);
    }
    let shapes: Option<Vec<(DataType, Vec<i64>)>> =
        (0..lists).map(|list| element(body, 1 + states + list, site)).collect();
    match shapes {
        Some(shapes) => Ok(with_lists(node, states, &shapes, site)),
        None => Ok(needing_a_round(node, site)),
    }
}

/// The body takes and returns what the loop gives and takes.
fn check_body(node: &NodeProto, body: &GraphProto, states: usize) -> Result<(), Reason> {
    let fix = "export the model again";
    if (BEFORE_STATES..node.input.len()).any(|index| node.input(index).is_none()) {
        return Err(Reason::with_fix("needs a start for each state of a loop", fix));
    }
    let (takes, returns) = (body.input.len(), body.output.len());
    if takes != BEFORE_STATES + states || returns < 1 + states || node.output.len() > returns - 1 {
        return Err(Reason::with_fix(
            format!(
                "needs a body that fits the loop: the body has {takes} inputs and {returns} outputs, but the loop has \
                 {states} states and {} outputs",
                node.output.len()
            ),
            fix,
        ));
    }
    Ok(())
}

/// True if the loop has at least one round for certain.
fn always_runs(node: &NodeProto, site: &Site) -> bool {
    let constant = |index: usize| site.info(node, index).constant;
    let is_positive = |values: Vec<f64>| !values.is_empty() && values.iter().all(|&value| value >= 1.0);
    constant(0).is_some_and(is_positive) && (node.input(1).is_none() || constant(1).is_some_and(is_positive))
}

/// The type and the sizes of what each round adds to a list: what follows from the operators, or else what the file states.
fn element(body: &GraphProto, output: usize, site: &Site) -> Option<(DataType, Vec<i64>)> {
    let declared = Info::declared(body.output.get(output)?);
    let computed = site.bodies.first().and_then(|outputs| outputs.get(output)).cloned().unwrap_or_else(Info::unknown);
    let all = |sizes: Option<Vec<Option<i64>>>| sizes?.into_iter().collect::<Option<Vec<i64>>>();
    let fits = |sizes: &Vec<i64>| computed.rank.is_none_or(|rank| rank == sizes.len());
    let sizes = all(computed.sizes.clone()).or_else(|| all(declared.sizes).filter(fits))?;
    // The engine computes FLOAT16 as FLOAT.
    let ty = computed.ty.or(declared.ty).map(|ty| if ty == DataType::FLOAT16 { DataType::FLOAT } else { ty });
    Some((ty?, sizes))
}

/// True if the loop runs: `rounds > 0` and the condition. Returns the nodes, the name, and the name of the rounds.
fn runs(node: &NodeProto, site: &mut Site) -> (Vec<NodeProto>, String, String) {
    let zero = site.scalar(site.info(node, 0).ty.unwrap_or(DataType::INT64), 0.0);
    let (rounds, has_rounds) = (site.name("rounds"), site.name("has_rounds"));
    // The check of the number of rounds replaces the input of this node.
    let mut nodes = vec![new("Identity", &[&node.input[0]], &rounds), new("Greater", &[&rounds, &zero], &has_rounds)];
    match node.input(1) {
        Some(condition) => {
            let both = site.name("runs");
            nodes.push(new("And", &[&has_rounds, condition], &both));
            (nodes, both, rounds)
        }
        None => (nodes, has_rounds, rounds),
    }
}

/// `If(runs, Loop, starts of the states and empty lists)`.
fn with_lists(mut node: NodeProto, states: usize, shapes: &[(DataType, Vec<i64>)], site: &mut Site) -> Vec<NodeProto> {
    let (mut nodes, condition, rounds) = runs(&node, site);
    node.input[0] = rounds;
    let mut otherwise = GraphProto::default();
    let outputs = std::mem::take(&mut node.output);
    for (index, output) in outputs.iter().enumerate() {
        let (looped, initial) = (site.name("looped"), site.name("initial"));
        match index.checked_sub(states) {
            None => otherwise.node.push(new("Identity", &[&node.input[BEFORE_STATES + index]], &initial)),
            Some(list) => {
                let empty = site.name("empty");
                let (ty, sizes) = &shapes[list];
                otherwise.initializer.push(nothing(&empty, *ty, sizes));
                otherwise.node.push(new("Identity", &[&empty], &initial));
            }
        }
        if !output.is_empty() {
            otherwise.output.push(value(&initial));
        }
        node.output.push(looped);
    }
    let returned = outputs.iter().zip(&node.output).filter(|(output, _)| !output.is_empty());
    let output = returned.map(|(_, looped)| value(looped)).collect();
    let then = GraphProto { output, node: vec![node], ..GraphProto::default() };
    let branch = |name: &str, graph: GraphProto| AttributeProto {
        name: Some(name.into()),
        g: Some(graph),
        r#type: Some(AttributeType::GRAPH),
        ..AttributeProto::default()
    };
    let mut choice = new("If", &[&condition], "");
    choice.output = outputs.into_iter().filter(|output| !output.is_empty()).collect();
    choice.attribute = vec![branch("then_branch", then), branch("else_branch", otherwise)];
    nodes.push(choice);
    nodes
}

/// The loop, which fails with its name if it does not run: what it collects has no sizes then.
fn needing_a_round(mut node: NodeProto, site: &mut Site) -> Vec<NodeProto> {
    let (mut nodes, condition, rounds) = runs(&node, site);
    let (stays, number, checked) = (site.name("stays"), site.name("number"), site.name("checked"));
    nodes.push(new("Not", &[&condition], &stays));
    nodes.push(crate::node::cast(&stays, DataType::FLOAT, &number));
    let text = format!("{}loop `{}`", guard::ROUNDS, title(&node));
    nodes.extend(guard::check(&number, 0.0, text, &rounds, &checked, site));
    node.input[0] = checked;
    nodes.push(node);
    nodes
}

/// A constant without elements: no rounds of values of these sizes.
fn nothing(name: &str, ty: DataType, sizes: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: std::iter::once(0).chain(sizes.iter().copied()).collect(),
        data_type: Some(ty),
        raw_data: Some(RefCell::new(Vec::new())),
        ..TensorProto::default()
    }
}

fn value(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.into()), ..ValueInfoProto::default() }
}
