//! `Loop` and `Scan`: their bodies run again and again, and what a round returns is the input of the next.

use rten_onnx::onnx::{GraphProto, NodeProto};

use super::value::Value;
use super::{Estimate, axes};
use crate::node::{Attributes, Edit};

/// How many rounds are followed. Sizes that double exceed every limit in fewer; others grow by the same amount in every
/// round.
const FOLLOWED: i64 = 40;

/// What is known about the values of a loop after all rounds.
struct Rounds {
    states: Vec<Value>,
    /// What one round returns beside the states.
    collected: Vec<Value>,
}

impl Estimate<'_> {
    /// The outputs of a `Loop`. Its number of rounds is known if it follows from sizes, and if the condition is always
    /// true.
    pub(super) fn loop_(&mut self, node: &NodeProto, body: &GraphProto) -> Vec<Value> {
        let value = |name: Option<&str>| name.and_then(|name| self.value(name)).cloned().unwrap_or_default();
        let starts_true = node.input(1).is_none() || value(node.input(1)).elements == Some(vec![1.0]);
        let rounds = value(node.input(0)).integer().filter(|_| starts_true && never_ends(body, self));
        let states: Vec<Value> = (2..node.input.len()).map(|index| shape(&value(node.input(index)))).collect();
        let scalar = || Value::of_dims(Vec::new());
        let result = self.rounds(body, &[scalar(), scalar()], states, &[], rounds, 1);
        let stacked = |value: &Value| match (rounds, &value.dims) {
            (Some(rounds), Some(dims)) => Value::of_dims([&[rounds.max(0)], dims.as_slice()].concat()),
            _ => Value::default(),
        };
        result.states.into_iter().chain(result.collected.iter().map(stacked)).collect()
    }

    /// The outputs of a `Scan` of operator set 9 or newer, which runs once for each element of an axis.
    pub(super) fn scan(&mut self, node: &NodeProto, body: &GraphProto) -> Vec<Value> {
        let Some(count) = node.int("num_scan_inputs").and_then(|count| usize::try_from(count).ok()) else {
            return Vec::new();
        };
        let Some(states) = node.input.len().checked_sub(count).filter(|_| self.opset >= 9) else { return Vec::new() };
        let value = |index: usize| node.input(index).and_then(|name| self.value(name)).cloned().unwrap_or_default();
        let axis = |name: &str, index: usize| node.ints(name).map_or(Some(0), |axes| axes.get(index).copied());
        let mut rounds = None;
        let parts: Vec<Value> = (0..count)
            .map(|index| {
                let mut dims = value(states + index).dims?;
                let place = axes::place(axis("scan_input_axes", index)?, dims.len())?;
                rounds = rounds.or(Some(dims.remove(place)));
                Some(dims)
            })
            .map(Value::of)
            .collect();
        let start = (0..states).map(|index| shape(&value(index))).collect();
        let result = self.rounds(body, &[], start, &parts, rounds, 0);
        let stacked = |(index, value): (usize, &Value)| {
            let mut dims = value.dims.clone()?;
            let place = axes::place(axis("scan_output_axes", index)?, dims.len() + 1)?;
            dims.insert(place, rounds?);
            Some(dims)
        };
        let collected = result.collected.iter().enumerate().map(stacked).map(Value::of);
        result.states.into_iter().chain(collected).collect()
    }

    /// The outputs of one round.
    fn round(&mut self, body: &GraphProto, inputs: &[Value]) -> Vec<Value> {
        let (outputs, peaks) = self.body(body, inputs);
        self.peaks.keep_larger(peaks);
        outputs
    }

    /// Follows rounds of a body whose inputs are `first`, the states, and `parts`. The states are the outputs from
    /// `skipped` on.
    fn rounds(
        &mut self,
        body: &GraphProto,
        first: &[Value],
        mut states: Vec<Value>,
        parts: &[Value],
        rounds: Option<i64>,
        skipped: usize,
    ) -> Rounds {
        let mut before: Option<Vec<Value>> = None;
        let mut round = 0;
        loop {
            let inputs: Vec<Value> = first.iter().chain(&states).chain(parts).cloned().collect();
            let mut outputs = self.round(body, &inputs);
            outputs.drain(..skipped.min(outputs.len()));
            let collected = outputs.split_off(states.len().min(outputs.len()));
            let next: Vec<Value> = outputs.iter().map(shape).collect();
            round += 1;
            if next == states {
                return Rounds { states, collected };
            }
            let Some(rounds) = rounds.filter(|_| !self.is_exhausted()) else {
                // How often it runs is not known, so only what stays the same is known.
                let states =
                    states.into_iter().zip(next).map(|(old, new)| if old == new { old } else { Value::default() });
                return Rounds { states: states.collect(), collected: vec![Value::default(); collected.len()] };
            };
            if round >= rounds {
                return Rounds {
                    states: if rounds > 0 { next } else { states },
                    collected: unless_grown(collected, round),
                };
            }
            if round >= FOLLOWED {
                // What the states are before the last round; that round shows the largest sizes.
                let last = before.map(|before| extrapolated(&before, &states, &next, rounds - round - 1));
                let inputs = first.iter().cloned().chain(last.unwrap_or_default()).chain(parts.iter().cloned());
                let mut outputs = self.round(body, &inputs.collect::<Vec<_>>());
                outputs.drain(..skipped.min(outputs.len()));
                let collected = outputs.split_off(next.len().min(outputs.len()));
                return Rounds { states: outputs, collected: unless_grown(collected, rounds) };
            }
            before = Some(std::mem::replace(&mut states, next));
        }
    }
}

/// Values that are collected must have the same sizes in all rounds; those of growing states have not.
fn unless_grown(collected: Vec<Value>, rounds: i64) -> Vec<Value> {
    if rounds <= 1 { collected } else { vec![Value::default(); collected.len()] }
}

fn shape(value: &Value) -> Value {
    Value::of(value.dims.clone())
}

/// Sizes that grew by the same amount in the last two rounds, after more rounds.
fn extrapolated(before: &[Value], now: &[Value], next: &[Value], rounds: i64) -> Vec<Value> {
    let grown = |(index, next): (usize, &Value)| {
        let (before, now, next) =
            (before.get(index)?.dims.as_ref()?, now.get(index)?.dims.as_ref()?, next.dims.as_ref()?);
        let is_comparable = before.len() == now.len() && now.len() == next.len();
        let axis = |at: usize| {
            let step = next[at] - now[at];
            (now[at] - before[at] == step).then(|| next[at].saturating_add(step.saturating_mul(rounds)).max(0))
        };
        if is_comparable { (0..next.len()).map(axis).collect::<Option<Vec<_>>>() } else { None }
    };
    next.iter().enumerate().map(grown).map(Value::of).collect()
}

/// True if the condition that a body returns is the one that it gets, or true.
fn never_ends(body: &GraphProto, estimate: &Estimate) -> bool {
    let Some(mut condition) = body.output.first().and_then(|output| output.name.as_deref()) else { return false };
    let given = body.input.get(1).and_then(|input| input.name.as_deref());
    // A chain of copies is as long as the body at most.
    for _ in 0..=body.node.len() {
        if Some(condition) == given {
            return true;
        }
        let Some(node) = body.node.iter().find(|node| node.output(0) == Some(condition)) else { break };
        match (node.op_type.as_deref(), node.input(0)) {
            (Some("Identity" | "Cast"), Some(input)) => condition = input,
            (Some("Constant"), _) => return super::numbers::constant(node).elements == Some(vec![1.0]),
            _ => return false,
        }
    }
    let constant = body.initializer.iter().find(|constant| constant.name.as_deref() == Some(condition));
    match constant {
        Some(constant) => super::of_constant(constant).elements == Some(vec![1.0]),
        None => estimate.value(condition).is_some_and(|value| value.elements == Some(vec![1.0])),
    }
}
