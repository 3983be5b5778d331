//! The largest value of a run, and all values that it needs at the same time.

use rten_onnx::onnx::NodeProto;

use crate::node;

/// The largest number of elements of one value in a run.
pub const LARGEST_VALUE: u64 = 1 << 28;

/// The largest number of elements of all values that a run needs at the same time.
pub const LARGEST_TOTAL: u64 = 1 << 30;

/// The most elements of one value of a run with the smallest inputs. Most kernels of the engines count elements in 31 bits.
pub(super) const LARGEST_OF_RUN: u64 = 1 << 31;
/// The most elements of all values at the same time in such a run.
pub(super) const LARGEST_TOTAL_OF_RUN: u64 = 1 << 33;

/// The largest value of a run, or all values that it needs at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LargestValue {
    /// The number of elements.
    pub elements: u64,
    /// The node that computes it, or that runs then: its name, or the name of its first output.
    pub node: String,
    /// The operator of the node.
    pub operator: String,
}

/// The largest value of a run, and all its values at the time when they are most. `None` without values whose sizes are
/// known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunPeaks {
    /// The largest value.
    pub value: Option<LargestValue>,
    /// All values, without the inputs and the constants.
    pub total: Option<LargestValue>,
    /// All lists of integers together, up to the last of them.
    pub lists: Option<LargestValue>,
    /// A node that gets a value without elements, with which the engines panic or end the process: its name and operator.
    pub empty: Option<(String, String)>,
    /// A loop whose sizes were not followed to the end, because loops are nested or grow too unevenly: its name and
    /// operator.
    pub unfollowed: Option<(String, String)>,
}

impl RunPeaks {
    pub(super) fn keep_larger(&mut self, other: RunPeaks) {
        keep_larger(&mut self.value, other.value);
        keep_larger(&mut self.total, other.total);
        keep_larger(&mut self.lists, other.lists);
        self.empty = self.empty.take().or(other.empty);
        self.unfollowed = self.unfollowed.take().or(other.unfollowed);
    }

    /// True if one value has more than `value` elements, or all have more than `total`.
    pub(super) fn exceed(&self, value: u64, total: u64) -> bool {
        elements(&self.value) > Some(value) || elements(&self.total) > Some(total)
    }
}

fn elements(value: &Option<LargestValue>) -> Option<u64> {
    value.as_ref().map(|value| value.elements)
}

pub(super) fn keep_larger(value: &mut Option<LargestValue>, other: Option<LargestValue>) {
    if elements(&other) > elements(value) {
        *value = other;
    }
}

/// A number of elements at a node.
pub(super) fn at(node: &NodeProto, elements: u64) -> LargestValue {
    let operator = node.op_type.clone().unwrap_or_default();
    LargestValue { elements, node: node::title(node).to_owned(), operator }
}
