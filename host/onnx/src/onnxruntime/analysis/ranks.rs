//! Follows numbers of dimensions: where an operand adds some, and where vectors are multiplied. Several of onnxruntime's
//! fused operators return the dimensions of one operand only, or do not support a vector.

use rten_onnx::onnx::NodeProto;

use super::Analysis;
use crate::node::{self, Edit};
use crate::types::{Info, Values};

impl Analysis {
    /// Notes what fused operators would compute with other dimensions.
    pub(super) fn follow_ranks(&mut self, node: &NodeProto, values: &Values) {
        if !node::is_standard(node.domain.as_deref()) {
            return;
        }
        let info = |index: usize| node.input(index).and_then(|name| values.get(name));
        let rank = |index: usize| info(index).and_then(|info| info.rank);
        match node.op_type.as_deref().unwrap_or_default() {
            "Add" | "Sub" | "Mul" | "Div" | "Pow" => {
                for (index, other) in [(0, 1), (1, 0)] {
                    let is_constant = info(index).is_some_and(|info| info.is_constant);
                    let is_input = node.input(index).is_some_and(|name| self.inputs.contains(name));
                    let other_is_computed = !info(other).is_some_and(|info| info.is_constant);
                    // Where nothing is known about the other operand, a constant of one dimension is a usual offset.
                    let adds = match (rank(index), rank(other)) {
                        (Some(0 | 1), _) => false,
                        (Some(rank), other) => other.is_none_or(|other| rank > other),
                        (None, _) => is_input,
                    };
                    self.adds_dimensions |= adds && other_is_computed && (is_constant || is_input);
                    self.has_short_scales |=
                        info(index).is_some_and(|info| info.rank > Some(0) && !may_fill_a_dimension(info));
                }
            }
            "LayerNormalization" | "RMSNormalization" => {
                let is_whole = |index: usize| {
                    info(index)
                        .is_some_and(|info| info.is_constant && info.rank == Some(1) && may_fill_a_dimension(info))
                };
                self.has_short_scales |= (1..3).any(|index| node.input(index).is_some() && !is_whole(index));
            }
            "MatMulInteger" => self.multiplies_integer_vectors |= [0, 1].iter().any(|&index| rank(index) < Some(2)),
            _ => {}
        }
    }
}

/// False for a constant of one element.
fn may_fill_a_dimension(info: &Info) -> bool {
    !info.is_constant || info.sizes.as_ref().is_none_or(|sizes| sizes.iter().any(|&size| size != Some(1)))
}
