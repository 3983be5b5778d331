//! What is known about a value: how it depends on the rows of a batch, and its sizes.

use super::size::Size;
use crate::types::{KEPT_ELEMENTS, MOST_DIMENSIONS};

/// How a value depends on the rows of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Not at all, and not on their number either.
    Free,
    /// The axis consists of one block for each row, in their order, and each block depends on its row only.
    Along(usize),
    /// The same for all rows, but it depends on their number, or on how many elements were found in all of them. That is
    /// harmless in a shape; a row that is computed with it depends on the other rows.
    Count,
    /// The results of all rows in one list, whose length depends on all of them; the text says where.
    Listed(String),
    /// A part of one row, in the body of a loop over the rows.
    One,
    /// Several rows decide the same element; the text says where.
    Mixed(String),
    /// Not known; the text says from which node on.
    Unknown(String),
}

/// A value of a graph. A sequence is described by what is known about each of its tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) rows: Rows,
    /// The sizes of the dimensions, if the number of dimensions is known.
    pub(crate) sizes: Option<Vec<Size>>,
    /// The elements of a scalar or list of integers, if they are known.
    pub(crate) elements: Option<Vec<Size>>,
    /// For each element of a list of constant numbers with a fraction, true if it is exactly 1: the scales that change
    /// nothing.
    pub(crate) ones: Option<Vec<bool>>,
}

impl Value {
    /// A value whose axis of the rows is one of its dimensions. Otherwise, in a model that is not valid, nothing is known.
    pub(crate) fn new(rows: Rows, sizes: Option<Vec<Size>>) -> Value {
        let rows = match (rows, &sizes) {
            (Rows::Along(axis), Some(sizes)) if axis >= sizes.len() => Rows::Unknown("has no axis of the rows".into()),
            (rows, _) => rows,
        };
        Value { rows, sizes, elements: None, ones: None }
    }

    pub(crate) fn unknown(why: impl Into<String>) -> Value {
        Value::new(Rows::Unknown(why.into()), None)
    }

    /// A list of known elements, or a scalar with one.
    pub(crate) fn list(elements: Vec<Size>, is_scalar: bool) -> Value {
        let depends = elements.iter().any(Size::has_rows);
        let rows = if depends { Rows::Count } else { Rows::Free };
        let sizes = if is_scalar { Vec::new() } else { vec![Size::number(elements.len() as i64)] };
        Value { elements: Some(elements), ..Value::new(rows, Some(sizes)) }
    }

    /// The value without lists that are longer than is followed, which a chain of operators can double at each node.
    pub(crate) fn bounded(mut self) -> Value {
        self.elements.take_if(|elements| elements.len() > KEPT_ELEMENTS);
        self.ones.take_if(|ones| ones.len() > KEPT_ELEMENTS);
        if self.sizes.take_if(|sizes| sizes.len() > MOST_DIMENSIONS).is_some() && matches!(self.rows, Rows::Along(_)) {
            return Value::unknown("has more dimensions than are followed");
        }
        self
    }

    pub(crate) fn rank(&self) -> Option<usize> {
        self.sizes.as_ref().map(Vec::len)
    }

    pub(crate) fn size(&self, axis: usize) -> Option<&Size> {
        self.sizes.as_ref()?.get(axis)
    }

    pub(crate) fn is_free(&self) -> bool {
        self.rows == Rows::Free
    }

    /// The elements as numbers.
    pub(crate) fn numbers(&self) -> Option<Vec<i64>> {
        self.elements.as_ref()?.iter().map(Size::as_number).collect()
    }
}

/// A value of which several rows decide the same element.
pub(super) fn mixed(why: &str) -> Value {
    Value::new(Rows::Mixed(why.into()), None)
}

/// The result of an operator of which only the inputs are known.
pub(super) fn free_or_unknown(inputs: &[&Value], why: &str) -> Value {
    match inputs.iter().find(|input| !input.is_free()) {
        None => Value::new(Rows::Free, None),
        Some(Value { rows: Rows::Unknown(why) | Rows::Listed(why), .. }) => Value::unknown(why.clone()),
        Some(_) => Value::unknown(why),
    }
}
