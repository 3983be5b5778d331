//! What is chosen exists: numbers of elements, and places.

use super::{Checked, Node};
use crate::node::Attributes;

impl Node<'_> {
    pub(super) fn check_choices(&self) -> Checked {
        match self.operator {
            "TopK" => {
                let count = if self.has(1) { self.single(1) } else { self.node.int("k") };
                let Some(count) = count else { return Ok(()) };
                if count < 0 {
                    return Err(format!("`k` is {count}"));
                }
                match self.size(0, self.node.int_or("axis", -1)) {
                    Some(size) if count > size => Err(format!("`k` is {count}, but there are {size} elements")),
                    _ => Ok(()),
                }
            }
            "Gather" => {
                let (Some(size), Some(places)) = (self.size(0, self.node.int_or("axis", 0)), self.integers(1)) else {
                    return Ok(());
                };
                match places.iter().find(|&&place| place < -size || place >= size) {
                    Some(place) => Err(format!("there is no element {place} among {size}")),
                    None => Ok(()),
                }
            }
            "GatherND" => {
                let batch = self.node.int_or("batch_dims", 0);
                for index in 0..2 {
                    if let Some(rank) = self.rank(index)
                        && batch >= rank
                    {
                        return Err(format!("`batch_dims` is {batch}, but input {index} has {rank} dimensions"));
                    }
                }
                match (self.rank(0), self.size(1, -1)) {
                    (Some(rank), Some(length)) if length > rank - batch => {
                        Err(format!("places of {length} numbers are too long for {rank} dimensions"))
                    }
                    _ => Ok(()),
                }
            }
            "GatherElements" | "Scatter" | "ScatterElements" => match (self.rank(0), self.rank(1)) {
                (Some(data), Some(places)) if data != places => {
                    Err(format!("the data have {data} dimensions, but the places {places}"))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// The only integer of a constant.
    fn single(&self, index: usize) -> Option<i64> {
        match self.integers(index).as_deref() {
            Some(&[value]) => Some(value),
            _ => None,
        }
    }
}
