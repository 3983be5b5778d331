//! Operators that combine elements at the same place, with broadcasting.

use super::Proof;
use super::size::Size;
use super::value::{Rows, Value};

impl Proof {
    /// The result of an operator that computes each element from the elements at the same place of its inputs.
    pub(super) fn elementwise(&mut self, inputs: &[&Value]) -> Value {
        if let Some(unknown) = inputs.iter().find(|input| matches!(input.rows, Rows::Unknown(_))) {
            return Value::new(unknown.rows.clone(), None);
        }
        let sizes = self.broadcast(inputs);
        if inputs.iter().all(|input| input.is_free()) {
            return Value::new(Rows::Free, sizes);
        }
        if inputs.len() == 1 {
            return Value::new(inputs[0].rows.clone(), sizes);
        }
        // Broadcasting aligns the last axes.
        let Some(rank) = sizes.as_ref().map(Vec::len) else {
            return Value::unknown("combines values whose number of dimensions is not known");
        };
        let mut place = None;
        for input in inputs {
            let (Rows::Along(axis), Some(own)) = (&input.rows, input.rank()) else { continue };
            let from_end = own - axis;
            if place.is_some_and(|place| place != from_end) {
                return Value::new(Rows::Mixed("combines rows with other rows".into()), None);
            }
            place = Some(from_end);
        }
        let mut blocks = inputs.iter().filter_map(|input| match input.rows {
            Rows::Along(axis) => input.size(axis),
            _ => None,
        });
        if let Some(first) = blocks.next()
            && blocks.any(|size| size != first)
        {
            return Value::unknown("combines rows of different sizes");
        }
        let from_end = place.unwrap_or_default();
        for input in inputs.iter().filter(|input| input.is_free()) {
            let own = input.rank().unwrap_or_default();
            if own >= from_end && input.size(own - from_end).and_then(Size::as_number) != Some(1) {
                return Value::unknown("combines rows with a constant that is not the same for all rows");
            }
        }
        Value::new(Rows::Along(rank - from_end), sizes)
    }

    /// The sizes after broadcasting; `None` if the number of dimensions of an input is not known.
    pub(super) fn broadcast(&mut self, inputs: &[&Value]) -> Option<Vec<Size>> {
        if let [input] = inputs {
            return input.sizes.clone();
        }
        let rank = inputs.iter().map(|input| input.rank()).try_fold(0, |most, rank| Some(most.max(rank?)))?;
        let size = |axis: usize| {
            let sizes = inputs.iter().filter_map(|input| {
                let own = input.rank().unwrap_or_default();
                (axis + own >= rank).then(|| input.size(axis + own - rank).cloned()).flatten()
            });
            let mut wide: Vec<Size> = sizes.filter(|size| size.as_number() != Some(1)).collect();
            wide.dedup();
            match wide.as_slice() {
                [] => Some(Size::number(1)),
                [one] => Some(one.clone()),
                // One of the sizes may be 1 in a run, so the larger one is not known; rows stay rows.
                _ => wide.iter().find(|size| size.has_rows()).cloned(),
            }
        };
        (0..rank).map(|axis| Some(size(axis).unwrap_or_else(|| self.symbol()))).collect()
    }

    /// A product of matrices, with broadcasting of the axes in front of them.
    pub(super) fn matmul(&mut self, left: &Value, right: &Value) -> Value {
        if let Some(unknown) = [left, right].iter().find(|input| matches!(input.rows, Rows::Unknown(_))) {
            return Value::new(unknown.rows.clone(), None);
        }
        let (Some(left_sizes), Some(right_sizes)) = (&left.sizes, &right.sizes) else {
            return Value::unknown("multiplies values whose number of dimensions is not known");
        };
        let (left_rank, right_rank) = (left_sizes.len(), right_sizes.len());
        if left_rank < 2 || right_rank < 2 {
            let is_free = left.is_free() && right.is_free();
            return match is_free {
                true => Value::new(Rows::Free, None),
                false
                    if left_rank >= 2
                        && right.is_free()
                        && matches!(left.rows, Rows::Along(axis) if axis + 1 < left_rank) =>
                {
                    Value::new(left.rows.clone(), Some(left_sizes[..left_rank - 1].to_vec()))
                }
                false => Value::unknown("multiplies a vector"),
            };
        }
        let rank = left_rank.max(right_rank);
        let front = |value: &Value, own: usize| {
            let sizes = value.sizes.as_ref().map(|sizes| sizes[..own - 2].to_vec());
            let rows = match value.rows {
                Rows::Along(axis) if axis + 2 >= own => Rows::Free,
                ref other => other.clone(),
            };
            Value::new(rows, sizes)
        };
        let fronts = self.elementwise(&[&front(left, left_rank), &front(right, right_rank)]);
        let Some(mut sizes) = fronts.sizes.clone() else { return fronts };
        sizes.push(left_sizes[left_rank - 2].clone());
        sizes.push(right_sizes[right_rank - 1].clone());
        let inner = |value: &Value, own: usize| match value.rows {
            Rows::Along(axis) if axis + 2 >= own => Some(axis + 2 - own),
            _ => None,
        };
        let mixed = || Value::new(Rows::Mixed("multiplies rows with other rows".into()), None);
        match (inner(left, left_rank), inner(right, right_rank)) {
            (None, None) => Value::new(fronts.rows, Some(sizes)),
            (Some(0), None) if right.is_free() => Value::new(Rows::Along(rank - 2), Some(sizes)),
            (None, Some(1)) if left.is_free() => Value::new(Rows::Along(rank - 1), Some(sizes)),
            _ => mixed(),
        }
    }
}
