//! Operators that join values, cut them, or take some of their elements.

use super::Proof;
use super::layout::from_front;
use super::size::Size;
use super::value::{Rows, Value, mixed};
use crate::types::MOST_DIMENSIONS;

impl Proof {
    /// The elements of a short list: sizes that are not known if it was computed in another way than as products.
    fn short_list(&mut self, input: &Value) -> Option<Vec<Size>> {
        if input.rank()? > 1 {
            return None;
        }
        if input.elements.is_some() {
            return input.elements.clone();
        }
        let length = input.size(0)?.as_number().filter(|length| (0..=8).contains(length) && input.is_free())?;
        Some((0..length).map(|_| self.symbol()).collect())
    }

    /// `Concat`.
    pub(super) fn concat(&mut self, inputs: &[&Value], axis: i64) -> Value {
        if let Some(ones) = inputs.iter().map(|input| input.ones.clone()).collect::<Option<Vec<_>>>()
            && inputs.iter().all(|input| input.is_free() && input.rank() == Some(1))
        {
            let ones = ones.concat();
            let sizes = vec![Size::number(ones.len() as i64)];
            return Value { ones: Some(ones), ..Value::new(Rows::Free, Some(sizes)) };
        }
        if inputs.iter().any(|input| input.elements.is_some())
            && let Some(lists) = inputs.iter().map(|input| self.short_list(input)).collect::<Option<Vec<_>>>()
        {
            return Value::list(lists.concat(), false);
        }
        if let Some(unknown) = inputs.iter().find(|input| matches!(input.rows, Rows::Unknown(_))) {
            return Value::new(unknown.rows.clone(), None);
        }
        let Some(rank) = inputs.iter().find_map(|input| input.rank()) else {
            let rows: Vec<&Value> = inputs.to_vec();
            return match rows.iter().all(|value| value.is_free()) {
                true => Value::new(Rows::Free, None),
                false => Value::unknown("joins values of unknown rank"),
            };
        };
        let Some(axis) = from_front(axis, rank) else { return Value::unknown("is not valid") };
        let sizes: Option<Vec<Size>> = inputs.iter().find_map(|input| input.sizes.clone());
        let sizes = sizes.map(|mut sizes| {
            let mut numbers = inputs.iter().map(|input| input.size(axis)?.as_number());
            let total = numbers.try_fold(0_i64, |sum, size| sum.checked_add(size?));
            sizes[axis] = total.map_or_else(|| self.symbol(), Size::number);
            sizes
        });
        let places: Vec<usize> = inputs
            .iter()
            .filter_map(|input| match input.rows {
                Rows::Along(place) => Some(place),
                _ => None,
            })
            .collect();
        match places.first() {
            None => Value::new(Rows::Free, sizes),
            Some(&place) if place == axis || places.iter().any(|&other| other != place) => mixed("joins rows"),
            Some(_) if places.len() < inputs.len() => Value::unknown("joins rows with a constant"),
            Some(&place) => Value::new(Rows::Along(place), sizes),
        }
    }

    /// `Slice` with constant axes: the axis of the rows must stay whole.
    pub(super) fn slice(
        &mut self,
        input: &Value,
        starts: &Value,
        ends: &Value,
        axes: Option<Vec<i64>>,
        steps: Option<&[i64]>,
    ) -> Value {
        let bounds = starts.numbers().zip(ends.numbers());
        if let (Some(elements), Some((start, end))) = (&input.elements, &bounds)
            && let ([start], [end], None | Some([1])) = (start.as_slice(), end.as_slice(), steps)
            && input.rank() == Some(1)
        {
            let length = elements.len() as i64;
            let at = |bound: i64| (if bound < 0 { bound + length } else { bound }).clamp(0, length) as usize;
            let (start, end) = (at(*start), at(*end));
            return Value::list(elements.get(start..end.max(start)).unwrap_or_default().to_vec(), false);
        }
        let rank = input.rank();
        let axes = axes.or_else(|| {
            let count = starts.size(0)?.as_number().filter(|&count| count <= MOST_DIMENSIONS as i64)?;
            Some((0..count).collect())
        });
        let (Some(rank), Some(axes)) = (rank, axes) else {
            return self.without_sizes(input, "slices along axes that are not known");
        };
        let Some(cut) = axes.iter().map(|&axis| from_front(axis, rank)).collect::<Option<Vec<_>>>() else {
            return Value::unknown("is not valid");
        };
        let mut sizes = input.sizes.clone().unwrap_or_default();
        for (at, &axis) in cut.iter().enumerate() {
            let range = bounds.as_ref().and_then(|(starts, ends)| Some((*starts.get(at)?, *ends.get(at)?)));
            let step = steps.map_or(Some(1), |steps| steps.get(at).copied());
            // TensorFlow's exporter writes 1e9 for the end, which no dimension reaches.
            let is_whole = matches!(range, Some((0, end)) if end >= 1_000_000_000) && step == Some(1);
            let (first, last) = (starts.elements.as_ref(), ends.elements.as_ref());
            let ends_at = last.and_then(|ends| ends.get(at));
            let is_all = first.and_then(|starts| starts.get(at)?.as_number()) == Some(0)
                && step == Some(1)
                && ends_at.is_some()
                && ends_at == input.size(axis);
            if is_whole || is_all {
                continue;
            }
            if input.rows == Rows::Along(axis) {
                return mixed("slices rows by their index in the batch");
            }
            // A bound with the number of rows, on another axis: what a row gets would depend on how many others there are.
            let depends = |bounds: &Value| {
                let bound = bounds.elements.as_ref().and_then(|bounds| bounds.get(at));
                bounds.rows == Rows::Count && bound.is_none_or(Size::has_rows)
            };
            if depends(starts) || depends(ends) {
                return mixed("slices by the number of rows");
            }
            let known = range.zip(step).zip(sizes[axis].as_number()).and_then(|(((start, end), step), size)| {
                let bound = |bound: i64| (if bound < 0 { bound + size } else { bound }).clamp(0, size);
                (step == 1).then(|| Size::number((bound(end) - bound(start)).max(0)))
            });
            sizes[axis] = known.unwrap_or_else(|| self.symbol());
        }
        // The bounds may not depend on other rows either.
        let is_number = |value: &Value| value.is_free() || value.rows == Rows::Count && value.elements.is_some();
        if !is_number(starts) || !is_number(ends) || input.is_free() && !(starts.is_free() && ends.is_free()) {
            return Value::unknown("slices by numbers in the request");
        }
        Value::new(input.rows.clone(), Some(sizes))
    }

    /// `Gather`.
    pub(super) fn gather(&mut self, data: &Value, indices: &Value, axis: i64) -> Value {
        if let (Some(elements), Some(at)) = (&data.elements, indices.numbers())
            && data.rank() == Some(1)
        {
            let length = elements.len() as i64;
            let found: Option<Vec<Size>> = at
                .iter()
                .map(|&at| elements.get(usize::try_from(if at < 0 { at + length } else { at }).ok()?).cloned())
                .collect();
            if let Some(found) = found {
                return Value::list(found, indices.rank() == Some(0));
            }
        }
        if let Some(unknown) = [data, indices].iter().find(|input| matches!(input.rows, Rows::Unknown(_))) {
            return Value::new(unknown.rows.clone(), None);
        }
        if data.is_free() && indices.is_free() {
            let sizes = data.sizes.as_ref().zip(indices.sizes.as_ref()).and_then(|(sizes, index_sizes)| {
                let axis = from_front(axis, sizes.len())?;
                Some([&sizes[..axis], index_sizes, &sizes[axis + 1..]].concat())
            });
            return Value::new(Rows::Free, sizes);
        }
        let (Some(data_sizes), Some(index_sizes)) = (&data.sizes, &indices.sizes) else {
            return Value::unknown("gathers from a value of unknown rank");
        };
        let Some(axis) = from_front(axis, data_sizes.len()) else { return Value::unknown("is not valid") };
        let sizes = [&data_sizes[..axis], index_sizes, &data_sizes[axis + 1..]].concat();
        let rows = match (&data.rows, &indices.rows) {
            (Rows::Free, Rows::Along(place)) => Rows::Along(axis + place),
            (Rows::Along(place), Rows::Free) if *place == axis => {
                return mixed("gathers rows by their index in the batch");
            }
            (Rows::Along(place), Rows::Free) if *place < axis => Rows::Along(*place),
            (Rows::Along(place), Rows::Free) => Rows::Along(place + index_sizes.len() - 1),
            _ => return mixed("gathers elements of other rows"),
        };
        Value::new(rows, Some(sizes))
    }
}
