//! `Loop` and `Scan`: their bodies are followed until nothing more becomes known about their states.

use rten_onnx::onnx::{GraphProto, NodeProto};

use super::branches::subgraph;
use super::layout::from_front;
use super::size::Size;
use super::value::{Rows, Value};
use super::{Proof, Values};
use crate::node::Attributes;

/// The most rounds. What is known about a state can change a few times only.
const MOST_ROUNDS: usize = 8;
const DIFFERS: &str = "has a state that changes from round to round";

impl Proof {
    /// `Loop`.
    pub(super) fn repeat(&mut self, node: &NodeProto, inputs: &[&Value], values: &Values) -> Vec<Value> {
        let count = node.output.len();
        let (Some(body), [rounds, goes_on, states @ ..]) = (subgraph(node, "body"), inputs) else {
            return vec![Value::unknown("is not valid"); count];
        };
        let states: Vec<Value> = states.iter().map(|&state| state.clone()).collect();
        let kept = states.len();
        let scalar = || Value::new(Rows::Free, Some(Vec::new()));
        let given = vec![scalar(), scalar()];
        let (states, outputs) = self.rounds(body, values, &given, states, 1, &[], false);
        let Some(again) = outputs.first() else { return vec![Value::unknown("is not valid"); count] };
        let deciding = [*rounds, *goes_on, again];
        let scans = outputs.iter().skip(1 + kept).map(|output| self.collected(output, 0, false)).collect::<Vec<_>>();
        let results = states.into_iter().chain(scans);
        results.map(|value| decided(value, &deciding)).collect()
    }

    /// `Scan`.
    pub(super) fn scan(&mut self, node: &NodeProto, inputs: &[&Value], values: &Values) -> Vec<Value> {
        let count = node.output.len();
        let unknown = |why: &str| vec![Value::unknown(why); count];
        let scanned = usize::try_from(node.int_or("num_scan_inputs", 0)).unwrap_or(0);
        let (Some(body), Some(kept)) = (subgraph(node, "body"), inputs.len().checked_sub(scanned)) else {
            return unknown("is not valid");
        };
        if let Some(mixed) = inputs[kept..].iter().find(|input| matches!(input.rows, Rows::Mixed(_))) {
            return vec![Value::new(mixed.rows.clone(), None); count];
        }
        // The first version has another first input and a batch axis.
        if self.opset < 9 {
            return unknown("is not analysed");
        }
        let axis_of = |list: &str, index: usize| node.ints(list).map_or(Some(0), |axes| axes.get(index).copied());
        let mut elements = Vec::new();
        for (index, input) in inputs[kept..].iter().enumerate() {
            let Some(axis) = axis_of("scan_input_axes", index) else { return unknown("is not valid") };
            elements.push(element(input, axis));
        }
        let over_rows = elements.iter().any(|element| element.rows == Rows::One)
            && inputs[kept..].iter().any(|input| input.rows != Rows::One);
        if over_rows && elements.iter().any(|element| element.rows != Rows::One) {
            return unknown("goes through rows and other values together");
        }
        let states: Vec<Value> = inputs[..kept].iter().map(|&state| state.clone()).collect();
        let (states, outputs) = self.rounds(body, values, &[], states, 0, &elements, over_rows);
        let mut results = states;
        for (index, output) in outputs.iter().skip(kept).enumerate() {
            let axis = axis_of("scan_output_axes", index).unwrap_or_default();
            results.push(self.collected(output, axis, over_rows));
        }
        results
    }

    /// Follows the body of a loop until its states do not change. Returns them and the outputs of the body. The body
    /// gets `first`, the states and `last`, and returns the states after `skipped` other outputs.
    #[expect(clippy::too_many_arguments, reason = "the parts of a body")]
    fn rounds(
        &mut self,
        body: &GraphProto,
        values: &Values,
        first: &[Value],
        mut states: Vec<Value>,
        skipped: usize,
        last: &[Value],
        over_rows: bool,
    ) -> (Vec<Value>, Vec<Value>) {
        let mut widened = Vec::new();
        // In a loop over the rows, a state that is not a constant says how many rows came before.
        let mut is_settled = !over_rows;
        for _ in 0..MOST_ROUNDS {
            let given = [first, &states, last].concat();
            let outputs = self.graph(body, values, given);
            let mut next = Vec::new();
            for (index, state) in states.iter().enumerate() {
                let output = outputs.get(skipped + index).cloned().unwrap_or_else(|| Value::unknown("is not valid"));
                let mut joined = self.join(state.clone(), output, &mut widened, DIFFERS);
                if over_rows && joined.rows == Rows::One {
                    joined = Value::new(Rows::Mixed("carries values from row to row".into()), None);
                }
                next.push(joined);
            }
            if next == states {
                if is_settled {
                    return (states, outputs);
                }
                is_settled = true;
                for state in states.iter_mut().filter(|state| !matches!(state.rows, Rows::Mixed(_))) {
                    *state = Value::unknown("has a state in a loop over the rows");
                }
                continue;
            }
            states = next;
        }
        let states = states.iter().map(|state| match state.rows {
            Rows::Mixed(_) => state.clone(),
            _ => Value::unknown("has states that are not analysed"),
        });
        let states = states.collect();
        let outputs = body.output.iter().map(|_| Value::unknown("has states that are not analysed")).collect();
        (states, outputs)
    }

    /// The results of all rounds along a new axis.
    fn collected(&mut self, output: &Value, axis: i64, over_rows: bool) -> Value {
        let rank = output.rank();
        let axis = match rank {
            Some(rank) => from_front(axis, rank + 1),
            None => usize::try_from(axis).ok(),
        };
        let Some(axis) = axis else { return Value::unknown("collects its results along an axis that is not known") };
        let rows = match &output.rows {
            Rows::One | Rows::Free if over_rows => Rows::Along(axis),
            Rows::Along(_) if over_rows => Rows::Unknown("repeats rows as often as there are rows".into()),
            Rows::Along(place) => Rows::Along(if *place >= axis { place + 1 } else { *place }),
            other => other.clone(),
        };
        let length = if over_rows { Size::rows() } else { self.symbol() };
        let sizes = output.sizes.clone().map(|mut sizes| {
            sizes.insert(axis, length);
            sizes
        });
        Value::new(rows, sizes)
    }
}

/// A result of a loop, given the values that decide how often it runs.
fn decided(value: Value, deciding: &[&Value]) -> Value {
    if let Some(mixed) = deciding.iter().find(|by| matches!(by.rows, Rows::Mixed(_))) {
        return Value::new(mixed.rows.clone(), None);
    }
    if matches!(value.rows, Rows::Mixed(_)) || deciding.iter().all(|by| by.is_free()) {
        return value;
    }
    match deciding.iter().find(|by| !by.is_free()).map(|by| &by.rows) {
        Some(Rows::Unknown(why) | Rows::Listed(why)) => Value::unknown(why.clone()),
        Some(Rows::One) if matches!(value.rows, Rows::One | Rows::Free) => Value::new(Rows::One, None),
        _ => Value::unknown("has a number of rounds that depends on the rows"),
    }
}

/// What the body of a `Scan` gets of an input in each round.
fn element(input: &Value, axis: i64) -> Value {
    let axis = match input.rank() {
        Some(rank) => from_front(axis, rank),
        None => usize::try_from(axis).ok(),
    };
    let Some(axis) = axis else { return Value::unknown("is not valid") };
    let rows = match &input.rows {
        Rows::Along(place) if *place == axis => return Value::new(Rows::One, None),
        Rows::Along(place) => Rows::Along(if *place > axis { place - 1 } else { *place }),
        Rows::Listed(why) => Rows::Unknown(why.clone()),
        other => other.clone(),
    };
    let sizes = input.sizes.clone().map(|mut sizes| {
        sizes.remove(axis);
        sizes
    });
    Value::new(rows, sizes)
}
