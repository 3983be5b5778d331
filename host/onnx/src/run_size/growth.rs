//! How the states of a loop grow from round to round.

use super::value::Value;

/// The sizes that must lie on a line, and those that must lie on a curve of a higher degree, before later ones are
/// predicted.
const ON_A_LINE: usize = 4;
const ON_A_CURVE: usize = 7;
/// The largest degree of a curve. Sizes of loops in loops grow with the square or the cube of the rounds.
const LARGEST_DEGREE: usize = 3;

/// The states of a loop before the first round and after each round.
pub(super) struct Growth {
    states: Vec<Vec<Value>>,
}

impl Growth {
    pub(super) fn of(start: Vec<Value>) -> Self {
        Self { states: vec![start] }
    }

    pub(super) fn push(&mut self, states: Vec<Value>) {
        self.states.push(states);
    }

    pub(super) fn first(&self) -> &[Value] {
        self.states.first().map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn last(&self) -> &[Value] {
        self.states.last().map(Vec::as_slice).unwrap_or_default()
    }

    /// The largest sizes of each state.
    pub(super) fn largest(&self) -> Vec<Value> {
        let state = |index: usize| {
            let values = self.states.iter().filter_map(|states| states.get(index)).cloned();
            values.reduce(|one, other| one.larger(&other)).unwrap_or_default()
        };
        (0..self.last().len()).map(state).collect()
    }

    /// True if the sizes of all states grow evenly, so that those after more rounds are certain.
    pub(super) fn is_even(&self) -> bool {
        let is_even = |index: usize| {
            let sizes = self.sizes(index);
            !sizes.is_empty() && (0..sizes[0].len()).all(|axis| curve(&column(&sizes, axis)).is_some())
        };
        (0..self.last().len()).all(is_even)
    }

    /// The states after more rounds: sizes that grow evenly continue to do so, others grow by the same ratio as in the
    /// last round.
    pub(super) fn after(&self, rounds: i64) -> Vec<Value> {
        let state = |(index, value): (usize, &Value)| {
            let sizes = self.sizes(index);
            let Some(newest) = sizes.first() else { return Value::default() };
            let mut dims: Vec<i64> = (0..newest.len()).map(|axis| predicted(&column(&sizes, axis), rounds)).collect();
            let length = value.length.and_then(|_| dims.pop());
            Value { dims: value.dims.as_ref().map(|_| dims), length, ..value.clone() }.if_valid()
        };
        self.last().iter().enumerate().map(state).collect()
    }

    /// The sizes of a state in the last rounds, the newest first, as long as they have as many dimensions.
    fn sizes(&self, index: usize) -> Vec<Vec<i64>> {
        let of = |states: &Vec<Value>| -> Option<Vec<i64>> {
            let value = states.get(index)?;
            Some(value.dims.iter().flatten().chain(&value.length).copied().collect())
        };
        let mut sizes: Vec<Vec<i64>> = self.states.iter().rev().take(ON_A_CURVE).map_while(of).collect();
        let alike = sizes.iter().take_while(|dims| dims.len() == sizes[0].len()).count();
        sizes.truncate(alike);
        sizes
    }
}

fn column(sizes: &[Vec<i64>], axis: usize) -> Vec<i64> {
    sizes.iter().map(|sizes| sizes[axis]).collect()
}

/// The differences of the newest sizes of each order, if the last of them is constant: they describe a line or a curve.
/// `sizes` has the newest first.
fn curve(sizes: &[i64]) -> Option<Vec<i64>> {
    let of = |sizes: &[i64], degree: usize| {
        let (mut row, mut newest) = (sizes.to_vec(), Vec::new());
        for _ in 0..=degree {
            newest.push(*row.first()?);
            let is_constant = row.iter().all(|size| *size == row[0]);
            if is_constant {
                return Some(newest);
            }
            row = row.windows(2).map(|pair| pair[0].saturating_sub(pair[1])).collect();
        }
        None
    };
    sizes.get(..ON_A_LINE).and_then(|sizes| of(sizes, 1)).or_else(|| of(sizes.get(..ON_A_CURVE)?, LARGEST_DEGREE))
}

/// A size after more rounds.
fn predicted(sizes: &[i64], rounds: i64) -> i64 {
    if let Some(differences) = curve(sizes) {
        // Newton's backward differences. A cast of a number that is too large gives the largest integer.
        let (mut total, mut factor) = (0.0, 1.0);
        for (order, &difference) in differences.iter().enumerate() {
            total += factor * difference as f64;
            factor *= (rounds as f64 + order as f64) / (order as f64 + 1.0);
        }
        return total.round().max(0.0) as i64;
    }
    match sizes {
        // The last ratio is repeated, which gives more than any polynomial.
        &[next, now, ..] if next > now && now > 0 => {
            let ratio = next as f64 / now as f64;
            (next as f64 * ratio.powf(rounds as f64)).ceil() as i64
        }
        _ => sizes.iter().copied().max().unwrap_or(0),
    }
}
