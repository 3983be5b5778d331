//! Operators of several values: their sizes fit.

use super::{Checked, Node};
use crate::node::Attributes;

/// Operators that broadcast all inputs.
const BROADCASTING: [&str; 20] = [
    "Add",
    "And",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "Pow",
    "Sub",
    "Sum",
    "Where",
];

/// The operator set from which on all of them broadcast.
const BROADCASTS: i64 = 8;

impl Node<'_> {
    pub(super) fn check_products(&self) -> Checked {
        match self.operator {
            "MatMul" => {
                let (Some(left), Some(right)) = (self.rank(0), self.rank(1)) else { return Ok(()) };
                if left == 0 || right == 0 {
                    return Err("a number is no matrix".into());
                }
                let inner = (self.size(0, -1), self.size(1, if right == 1 { 0 } else { -2 }));
                fit(inner.0, inner.1, "columns of the left, and rows of the right matrix")
            }
            "Gemm" => {
                for index in 0..2 {
                    if self.rank(index).is_some_and(|rank| rank != 2) {
                        return Err(format!("input {index} is no matrix"));
                    }
                }
                let left = self.size(0, 1 - self.node.int_or("transA", 0).clamp(0, 1));
                let right = self.size(1, self.node.int_or("transB", 0).clamp(0, 1));
                fit(left, right, "columns of the left, and rows of the right matrix")
            }
            "Concat" => {
                let ranks: Vec<i64> = (0..self.node.input.len()).filter_map(|index| self.rank(index)).collect();
                match ranks.iter().find(|&&rank| Some(&rank) != ranks.first()) {
                    Some(other) => Err(format!("it joins values of {} and of {other} dimensions", ranks[0])),
                    None => Ok(()),
                }
            }
            operator if self.opset >= BROADCASTS && BROADCASTING.contains(&operator) => self.check_broadcast(),
            _ => Ok(()),
        }
    }

    /// In each dimension from the last on, all sizes are 1 or equal.
    fn check_broadcast(&self) -> Checked {
        let most = (0..self.node.input.len()).filter_map(|index| self.rank(index)).max().unwrap_or(0);
        for axis in 1..=most {
            let sizes = (0..self.node.input.len()).filter_map(|index| self.size(index, -axis));
            let mut others = sizes.filter(|&size| size != 1);
            let Some(first) = others.next() else { continue };
            if let Some(other) = others.find(|&size| size != first) {
                return Err(format!("sizes of {first} and {other} in dimension {} do not fit", -axis));
            }
        }
        Ok(())
    }
}

fn fit(left: Option<i64>, right: Option<i64>, what: &str) -> Checked {
    match (left, right) {
        (Some(left), Some(right)) if left != right => Err(format!("there are {left} and {right} {what}")),
        _ => Ok(()),
    }
}
