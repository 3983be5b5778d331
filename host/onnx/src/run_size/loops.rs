//! `Loop` and `Scan`: their bodies run again and again, and what a round returns is the input of the next.

use rten_onnx::onnx::{GraphProto, NodeProto};

use super::estimate::{Counts, Estimate};
use super::growth::Growth;
use super::names::takes;
use super::value::Value;
use super::{axes, constants};
use crate::node::{Attributes, Edit};
use crate::rules::MOST_ROUNDS;

/// How many rounds are followed at most. Sizes that double exceed every limit in fewer; others grow more slowly from round to
/// round.
const FOLLOWED: i64 = 40;

/// How often a loop runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Exactly(i64),
    /// A number of the request or of the data decides.
    AtMost(i64),
    /// Only a condition ends it.
    Unknown,
}

impl Count {
    fn most(self) -> Option<i64> {
        match self {
            Count::Exactly(rounds) | Count::AtMost(rounds) => Some(rounds.max(0)),
            Count::Unknown => None,
        }
    }
}

/// The rounds of a loop: the body, and what each round gets in addition to the states.
struct Rounds<'a> {
    body: &'a GraphProto,
    count: Count,
    kind: Kind<'a>,
}

enum Kind<'a> {
    /// The counter is another one in every round.
    Loop,
    /// The parts of the values that a `Scan` takes apart.
    Scan { parts: &'a [Value] },
}

impl Rounds<'_> {
    fn inputs(&self, round: i64, states: &[Value]) -> Vec<Value> {
        match &self.kind {
            Kind::Loop => {
                // Conditions of the counter are not decided, because most rounds are not followed.
                let counter = Value { is_whole: true, ..Value::scalar(round as f64) }.at_most();
                [counter, Value::of_dims(Vec::new())].into_iter().chain(states.iter().cloned()).collect()
            }
            Kind::Scan { parts } => states.iter().chain(*parts).cloned().collect(),
        }
    }

    /// Outputs before the states.
    fn skipped(&self) -> usize {
        usize::from(matches!(self.kind, Kind::Loop))
    }

    /// True if rounds with equal states can differ.
    fn takes_counter(&self) -> bool {
        matches!(self.kind, Kind::Loop)
            && self
                .body
                .input
                .first()
                .and_then(|input| input.name.as_deref())
                .is_some_and(|name| takes(self.body, name))
    }
}

/// The values of a loop after all rounds.
struct Result {
    states: Vec<Value>,
    /// What one round returns in addition to the states; unknown if it is not the same in all rounds.
    collected: Vec<Value>,
}

impl Estimate<'_> {
    /// The outputs of a `Loop`.
    pub(super) fn loop_(&mut self, node: &NodeProto, body: &GraphProto) -> Vec<Value> {
        let value = |name: Option<&str>| name.and_then(|name| self.value(name)).cloned().unwrap_or_default();
        let count = match (node.input(0), value(node.input(0))) {
            (None, _) => Count::Unknown,
            (_, limit) => {
                let is_certain =
                    !limit.is_most && (node.input(1).is_none() || value(node.input(1)).is_true() == Some(true));
                match limit.integer() {
                    Some(rounds) if is_certain && never_ends(body, self) => Count::Exactly(rounds.max(0)),
                    Some(rounds) if rounds <= MOST_ROUNDS => Count::AtMost(rounds),
                    Some(_) => Count::Unknown,
                    None => Count::AtMost(MOST_ROUNDS),
                }
            }
        };
        let states: Vec<Value> = (2..node.input.len()).map(|index| value(node.input(index)).shape()).collect();
        let result = self.rounds(node, &Rounds { body, count, kind: Kind::Loop }, states);
        let stacked = |value: &Value| match (count.most(), &value.dims) {
            (Some(rounds), Some(dims)) => {
                let is_most = value.is_most || count != Count::Exactly(rounds);
                Value { is_most, ..Value::of_dims([&[rounds], dims.as_slice()].concat()) }
            }
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
                let whole = value(states + index);
                let mut dims = whole.dims?;
                let place = axes::place(axis("scan_input_axes", index)?, dims.len())?;
                rounds = rounds.or(Some((dims.remove(place), whole.is_most)));
                Some(dims)
            })
            .map(Value::of)
            .collect();
        let start = (0..states).map(|index| value(index).shape()).collect();
        let count = match rounds {
            Some((rounds, false)) => Count::Exactly(rounds),
            Some((rounds, true)) => Count::AtMost(rounds),
            None => Count::Unknown,
        };
        let result = self.rounds(node, &Rounds { body, count, kind: Kind::Scan { parts: &parts } }, start);
        let stacked = |(index, value): (usize, &Value)| {
            let mut dims = value.dims.clone()?;
            let place = axes::place(axis("scan_output_axes", index)?, dims.len() + 1)?;
            dims.insert(place, count.most()?);
            Some(dims)
        };
        let collected = result.collected.iter().enumerate().map(stacked).map(Value::of);
        let is_most = !matches!(count, Count::Exactly(_));
        result.states.into_iter().chain(collected.map(|value| Value { is_most, ..value })).collect()
    }

    /// The states and the collected values after one round.
    fn round(&mut self, rounds: &Rounds, round: i64, states: &[Value]) -> (Vec<Value>, Vec<Value>) {
        let (mut outputs, peaks) = self.body(rounds.body, &rounds.inputs(round, states));
        self.peaks.keep_larger(peaks);
        outputs.drain(..rounds.skipped().min(outputs.len()));
        let collected = outputs.split_off(states.len().min(outputs.len()));
        (outputs.iter().map(Value::shape).collect(), collected)
    }

    /// The states and the collected values after all rounds. What may be less is not certain.
    fn rounds(&mut self, node: &NodeProto, rounds: &Rounds, start: Vec<Value>) -> Result {
        let before = self.peaks.clone();
        let result = self.follow(node, rounds, start);
        if self.counts != Counts::Certain || matches!(rounds.count, Count::Exactly(_)) {
            return result;
        }
        self.peaks = before;
        Result { states: result.states.into_iter().map(Value::at_most).collect(), ..result }
    }

    /// Follows the rounds of a loop until all states stay the same or grow evenly, and makes the last round then.
    fn follow(&mut self, node: &NodeProto, rounds: &Rounds, start: Vec<Value>) -> Result {
        let mut growth = Growth::of(start);
        let mut first_collected = None;
        let most = rounds.count.most();
        if most == Some(0) {
            // The round shows what would be collected, but it does not run.
            let peaks = self.peaks.clone();
            let (_, collected) = self.round(rounds, 0, growth.first());
            self.peaks = peaks;
            return growth.result(rounds.count, collected, true);
        }
        let takes_counter = rounds.takes_counter();
        for round in 0.. {
            let (next, collected) = self.round(rounds, round, growth.last());
            let collected = first_collected.get_or_insert(collected).clone();
            let is_same = next == growth.last();
            growth.push(next);
            let is_last = most.is_some_and(|most| round + 1 >= most);
            if is_last || self.is_too_large() {
                return growth.result(rounds.count, collected, is_same);
            }
            if is_same && !takes_counter {
                return growth.result(rounds.count, collected, true);
            }
            if self.is_exhausted() {
                self.give_up(node);
                return growth.result(rounds.count, collected, false);
            }
            let Some(most) = most else {
                if round < FOLLOWED {
                    continue;
                }
                return growth.result(rounds.count, collected, false);
            };
            if round >= FOLLOWED || growth.is_even() {
                let (before_last, last) = (growth.after(most - round - 2), growth.after(most - round - 1));
                let (states, _) = self.round(rounds, most - 1, &before_last);
                // A counter can let the states grow in later rounds only.
                if states.iter().zip(&last).any(|(state, predicted)| takes_counter && !state.fits_into(predicted)) {
                    self.give_up(node);
                }
                growth.push(states);
                return growth.result(rounds.count, collected, is_same);
            }
        }
        Result { states: Vec::new(), collected: Vec::new() }
    }
}

impl Growth {
    /// The values after the last round.
    fn result(&self, count: Count, collected: Vec<Value>, is_same: bool) -> Result {
        let Some(most) = count.most() else {
            // How often it runs is not known, so only what stays the same is known.
            let states = self.first().iter().zip(self.last());
            let states = states.map(|(first, last)| if first == last { last.clone() } else { Value::default() });
            return Result { states: states.collect(), collected: vec![Value::default(); collected.len()] };
        };
        let states = match count {
            Count::Exactly(_) => self.last().to_vec(),
            _ => self.largest(),
        };
        // Values that are collected must have the same sizes in all rounds; those of growing states have not.
        let collected = if is_same || most <= 1 {
            collected
        } else {
            collected.iter().map(|value| value.shape().at_most()).collect()
        };
        Result { states, collected }
    }
}

/// True if the condition that a body returns is the one that it gets, or true.
fn never_ends(body: &GraphProto, estimate: &Estimate) -> bool {
    let Some(mut condition) = body.output.first().and_then(|output| output.name.as_deref()) else { return false };
    let given = body.input.get(1).and_then(|input| input.name.as_deref());
    // From the last node to the first, because a node takes what earlier nodes compute.
    for node in body.node.iter().rev() {
        if Some(condition) == given {
            return true;
        }
        if node.output(0) != Some(condition) {
            continue;
        }
        match (node.op_type.as_deref(), node.input(0)) {
            (Some("Identity" | "Cast"), Some(input)) => condition = input,
            (Some("Constant"), _) => return super::numbers::constant(node).is_true() == Some(true),
            _ => return false,
        }
    }
    if Some(condition) == given {
        return true;
    }
    let constant = body.initializer.iter().find(|constant| constant.name.as_deref() == Some(condition));
    match constant {
        Some(constant) => constants::of_constant(constant).is_true() == Some(true),
        None => estimate.value(condition).is_some_and(|value| value.is_true() == Some(true)),
    }
}
