//! Nodes that write into the memory of their inputs.

use rten_onnx::onnx::NodeProto;

use super::Analysis;
use crate::node::{self, Attributes};

impl Analysis {
    /// Finds an attention of onnxruntime's own (`com.microsoft`) that takes the memory of its past state for the present one
    /// (`past_present_share_buffer`). Only a caller that binds both to one memory of the largest length may ask for it; otherwise
    /// onnxruntime 1.32 reads and writes beyond the memory of the past. Operators that generate word after word do so for their
    /// decoder.
    pub(super) fn check_shared_state(&mut self, node: &NodeProto) {
        let shares = node.attribute("past_present_share_buffer").is_some_and(|it| it.i != Some(0));
        if shares && !self.is_generating && !node::is_standard(node.domain.as_deref()) {
            let (title, operator) = (node::title(node), node.op_type.as_deref().unwrap_or_default());
            self.problem.get_or_insert(format!(
                "node `{title}` ({operator}, operator set {}) writes its present state into the memory of the past one \
                 (`past_present_share_buffer`), which can end the process: export the model without that attribute",
                self.opset
            ));
        }
    }
}

/// True for the operators of onnxruntime that generate word after word with the graphs in them.
pub(super) fn generates(node: &NodeProto) -> bool {
    matches!(node.op_type.as_deref(), Some("BeamSearch" | "GreedySearch" | "Sampling" | "WhisperBeamSearch"))
}
