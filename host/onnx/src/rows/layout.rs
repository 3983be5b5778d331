//! Operators that give a value another shape, and move or repeat its elements.

use rten_onnx::onnx::NodeProto;

use super::Proof;
use super::size::Size;
use super::value::{Rows, Value};
use crate::node::Attributes;

/// `axis` counted from the front.
pub(super) fn from_front(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(axis).ok().filter(|&axis| axis < rank)
}

impl Proof {
    /// `Reshape`. The rows stay together if the axes before them keep their product.
    pub(super) fn reshape(&mut self, input: &Value, shape: &Value, keeps_zero: bool) -> Value {
        let (Some(sizes), Some(wanted)) = (&input.sizes, &shape.elements) else {
            return match input.is_free() && shape.is_free() {
                true => Value::new(Rows::Free, None),
                false => Value::unknown("has a shape that is not known before a run"),
            };
        };
        let mut result: Vec<Size> = Vec::new();
        let mut open = None;
        for (axis, size) in wanted.iter().enumerate() {
            match size.as_number() {
                Some(0) if !keeps_zero => match sizes.get(axis) {
                    Some(size) => result.push(size.clone()),
                    None => return Value::unknown("has a wrong shape"),
                },
                Some(-1) => {
                    open = Some(axis);
                    result.push(Size::number(1));
                }
                _ => result.push(size.clone()),
            }
        }
        if let Some(open) = open {
            let rest = Size::product(sizes).zip(Size::product(&result));
            match rest.and_then(|(all, others)| all.divided_by(&others)) {
                Some(size) => result[open] = size,
                None if input.is_free() => result[open] = self.symbol(),
                None => return Value::unknown("has a shape that does not tell where the rows are"),
            }
        }
        let Rows::Along(axis) = input.rows else {
            let elements = input.elements.clone().filter(|_| result.len() <= 1);
            return Value { elements, ..Value::new(input.rows.clone(), Some(result)) };
        };
        let before = Size::product(&sizes[..axis]);
        let place = (0..result.len()).find(|&place| result[place].has_rows());
        let others = result.iter().filter(|size| size.has_rows()).count();
        match place {
            Some(place)
                if others == 1
                    && result[place].is_multiple_of_rows()
                    && before.is_some()
                    && Size::product(&result[..place]) == before =>
            {
                Value::new(Rows::Along(place), Some(result))
            }
            Some(_) => Value::unknown("has a shape that does not keep the rows apart"),
            None => Value::unknown("has a shape without the number of rows"),
        }
    }

    /// `Flatten`.
    pub(super) fn flatten(&mut self, input: &Value, axis: i64) -> Value {
        let (Some(sizes), Some(rank)) = (&input.sizes, input.rank()) else {
            return Value::new(input.rows.clone(), None);
        };
        let at = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).unwrap_or(0).min(rank);
        let mut result = Vec::new();
        for part in [&sizes[..at], &sizes[at..]] {
            match Size::product(part) {
                Some(size) => result.push(size),
                // A symbol would not depend on the number of rows.
                None if part.iter().any(Size::has_rows) => return Value::unknown("has sizes that are too large"),
                None => result.push(self.symbol()),
            }
        }
        let rows = match input.rows {
            Rows::Along(0) if at > 0 => Rows::Along(0),
            Rows::Along(place) if place == at && result[0].as_number() == Some(1) => Rows::Along(1),
            Rows::Along(_) => Rows::Unknown("has a shape that does not keep the rows apart".into()),
            ref other => other.clone(),
        };
        Value::new(rows, Some(result))
    }

    /// `Transpose`.
    pub(super) fn transpose(&mut self, input: &Value, node: &NodeProto) -> Value {
        let Some(sizes) = &input.sizes else {
            return self.without_sizes(input, "transposes a value of unknown rank");
        };
        let order: Option<Vec<usize>> = match node.ints("perm") {
            Some(order) => order.iter().map(|&axis| from_front(axis, sizes.len())).collect(),
            None => Some((0..sizes.len()).rev().collect()),
        };
        let Some(order) = order.filter(|order| order.len() == sizes.len()) else {
            return Value::unknown("is not valid");
        };
        let rows = match input.rows {
            Rows::Along(axis) => Rows::Along(order.iter().position(|&from| from == axis).unwrap_or_default()),
            ref other => other.clone(),
        };
        Value::new(rows, Some(order.iter().map(|&axis| sizes[axis].clone()).collect()))
    }

    /// The result for an input whose sizes are not known: unknown if the input has rows, otherwise like the input.
    pub(super) fn without_sizes(&mut self, input: &Value, why: &str) -> Value {
        match &input.rows {
            Rows::Along(_) => Value::unknown(why),
            other => Value::new(other.clone(), None),
        }
    }

    /// `Squeeze` and `Unsqueeze`. `axes` are constant.
    pub(super) fn squeeze(&mut self, input: &Value, axes: Option<Vec<i64>>, adds: bool) -> Value {
        let (Some(sizes), Some(axes)) = (&input.sizes, axes) else {
            return self.without_sizes(input, "changes axes that are not known");
        };
        let rank = if adds { sizes.len() + axes.len() } else { sizes.len() };
        let Some(axes) = axes.iter().map(|&axis| from_front(axis, rank)).collect::<Option<Vec<_>>>() else {
            return Value::unknown("is not valid");
        };
        // The axes of the larger shape that the smaller one has.
        let kept: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).collect();
        if adds && kept.len() != sizes.len() {
            return Value::unknown("is not valid: it names an axis twice");
        }
        let result: Vec<Size> = if adds {
            let size = |axis| kept.iter().position(|&it| it == axis).map_or(Size::number(1), |at| sizes[at].clone());
            (0..rank).map(size).collect()
        } else {
            kept.iter().map(|&axis| sizes[axis].clone()).collect()
        };
        let rows = match input.rows {
            Rows::Along(axis) if adds => Rows::Along(kept[axis]),
            Rows::Along(axis) => match kept.iter().position(|&it| it == axis) {
                Some(place) => Rows::Along(place),
                None => Rows::Unknown("removes the axis of the rows".into()),
            },
            ref other => other.clone(),
        };
        let elements = input.elements.clone().filter(|_| result.len() <= 1);
        Value { elements, ..Value::new(rows, Some(result)) }
    }

    /// `Expand`, and `Tile` with `sizes` as the sizes of its result.
    pub(super) fn expand(&mut self, input: &Value, shape: &Value) -> Value {
        let Some(wanted) = &shape.elements else {
            return match input.is_free() && shape.is_free() {
                true => Value::new(Rows::Free, None),
                false => Value::unknown("has a shape that is not known before a run"),
            };
        };
        if input.rank().is_none() && input.is_free() && wanted.iter().all(|size| !size.has_rows()) {
            return Value::new(Rows::Free, None);
        }
        if input.rank().is_none() {
            return Value::unknown("expands a value of unknown rank");
        }
        let target = Value::new(Rows::Free, Some(wanted.clone()));
        let Some(sizes) = self.broadcast(&[input, &target]) else { return Value::unknown("is not valid") };
        self.filled(input, sizes)
    }

    /// A result whose new axes repeat the input: with the number of rows as one size, each row is the same.
    pub(super) fn filled(&mut self, input: &Value, sizes: Vec<Size>) -> Value {
        let with_rows: Vec<usize> = (0..sizes.len()).filter(|&axis| sizes[axis].has_rows()).collect();
        let rows = match (&input.rows, with_rows.as_slice()) {
            (Rows::Free, []) => Rows::Free,
            (Rows::Free, [axis]) if sizes[*axis].is_multiple_of_rows() => {
                let own = input.rank().unwrap_or_default();
                let from_end = sizes.len() - axis;
                let is_new = own < from_end || input.size(own - from_end).and_then(Size::as_number) == Some(1);
                if is_new { Rows::Along(*axis) } else { Rows::Unknown("repeats a constant once for each row".into()) }
            }
            (Rows::Along(axis), places) => {
                let place = sizes.len() + axis - input.rank().unwrap_or_default();
                if places.iter().all(|&other| other == place) {
                    Rows::Along(place)
                } else {
                    Rows::Unknown("repeats rows as often as there are rows".into())
                }
            }
            (Rows::Mixed(why), _) => Rows::Mixed(why.clone()),
            (Rows::Unknown(why), _) => Rows::Unknown(why.clone()),
            _ => Rows::Unknown("has the number of rows in its shape".into()),
        };
        Value::new(rows, Some(sizes))
    }
}
