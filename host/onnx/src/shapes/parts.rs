//! `Split`: the parts are all of the dimension.

use super::{Checked, Node};
use crate::node::Attributes;

/// The operator set from which on the last part may be smaller than the others.
const UNEVEN: i64 = 18;

impl Node<'_> {
    pub(super) fn check_parts(&self) -> Checked {
        if self.operator != "Split" {
            return Ok(());
        }
        let size = self.size(0, self.node.int_or("axis", 0));
        let outputs = self.node.output.len() as i64;
        let parts = match self.node.ints("split") {
            Some(parts) => Some(parts.to_vec()),
            None if self.has(1) => match self.integers(1) {
                Some(parts) => Some(parts),
                None => return Ok(()),
            },
            None => None,
        };
        if let Some(parts) = parts {
            if parts.len() as i64 != outputs {
                return Err(format!("`split` has {} parts, but the node {outputs} outputs", parts.len()));
            }
            let sum = parts.iter().try_fold(0_i64, |sum, &part| sum.checked_add(part).filter(|_| part >= 0));
            return match (sum, size) {
                (None, _) => Err(format!("the parts {parts:?} are no sizes")),
                (Some(sum), Some(size)) if sum != size => {
                    Err(format!("the parts {parts:?} are {sum} elements, but there are {size}"))
                }
                _ => Ok(()),
            };
        }
        match self.node.int("num_outputs") {
            Some(count) if count != outputs => {
                return Err(format!("`num_outputs` is {count}, but the node has {outputs} outputs"));
            }
            _ => {}
        }
        match size {
            Some(size) if self.opset < UNEVEN && size % outputs.max(1) != 0 => {
                Err(format!("{size} elements cannot be divided into {outputs} equal parts"))
            }
            _ => Ok(()),
        }
    }
}
