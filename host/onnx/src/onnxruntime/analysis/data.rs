//! Follows the elements of inputs: where they are rounded, where they decide about sizes, and where means of them are used.

use rten_onnx::onnx::{DataType, NodeProto};

use super::Analysis;
use crate::node::{Attributes, Edit};
use crate::types::{Info, Values};

impl Analysis {
    /// Follows the elements of inputs, and notes where they are rounded.
    pub(super) fn follow_data(&mut self, node: &NodeProto, values: &Values) {
        let operator = node.op_type.as_deref().unwrap_or_default();
        let has_graph = node.attribute.iter().any(|attribute| attribute.g.is_some());
        let is_data = has_graph || node.input.iter().any(|input| self.data.contains(input));
        if is_data && !matches!(operator, "Shape" | "Size") {
            self.data.extend(node.output.iter().cloned());
        }
        self.openvino.note(node, is_data, self.opset, values);
        let takes_data = |index: usize| node.input.get(index).is_some_and(|input| self.data.contains(input));
        self.time_depends_on_values |= match operator {
            "Loop" => true,
            // One branch of an `If` can take longer than the other, and the others can find up to all elements.
            "ConstantOfShape" | "If" | "NonZero" | "Unique" => takes_data(0),
            "BlackmanWindow" | "HammingWindow" | "HannWindow" | "ImageDecoder" | "StringSplit" => takes_data(0),
            "Compress" | "MaxUnpool" | "MelWeightMatrix" | "NonMaxSuppression" | "Range" => (0..3).any(takes_data),
            "AffineGrid" | "CenterCropPad" | "DFT" | "Expand" | "MaxRoiPool" | "OneHot" | "Pad" | "RoiAlign"
            | "Split" | "SplitToSequence" | "Tile" | "TopK" | "Upsample" => takes_data(1),
            "Col2Im" | "Slice" | "STFT" => (1..5).any(takes_data),
            "GRU" | "LSTM" | "RNN" => takes_data(4),
            // Of onnxruntime's own: they compute word after word.
            "BeamSearch" | "GreedySearch" | "Sampling" | "WhisperBeamSearch" => true,
            "Resize" => (1..4).any(takes_data),
            _ => false,
        };
        let of = |info: &Info| info.ty;
        let is_number = node.input(0).and_then(|name| values.get(name)).and_then(of).is_none_or(is_float);
        let rounds = match operator {
            "Floor" | "Ceil" | "Round" | "Sign" | "Mod" | "Equal" | "Greater" | "GreaterOrEqual" | "Less"
            | "LessOrEqual" => true,
            "Cast" => node.int("to").and_then(|to| i32::try_from(to).ok()).map(DataType).is_none_or(|to| !is_float(to)),
            "CastLike" => true,
            _ => false,
        };
        self.rounds_data |= rounds && is_number && node.input.iter().any(|input| self.data.contains(input));

        let is_mean = operator == "ReduceMean" && node.int_or("keepdims", 1) == 0;
        let takes_mean = node.input.iter().any(|input| self.means.contains(input));
        if is_mean || operator == "Cast" && takes_mean {
            self.means.extend(node.output.iter().cloned());
        }
        let squeezes = takes_mean && matches!(operator, "Sub" | "Add" | "Sqrt" | "Pow" | "Mul" | "Div");
        self.squeezes_means |= squeezes;
        if squeezes && operator == "Sub" {
            self.openvino.note_mean(node);
        }
    }
}

/// Numbers with a fraction.
fn is_float(ty: DataType) -> bool {
    matches!(ty, DataType::FLOAT | DataType::DOUBLE | DataType::FLOAT16 | DataType::BFLOAT16)
}
