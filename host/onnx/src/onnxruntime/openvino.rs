//! What the execution provider of OpenVINO computes differently from ONNX on a CPU, by node. It computes integers of 64 bits as
//! INT32, many operators of integers as FLOAT, and integers of 8 bits with saturation. Found by comparing it with
//! onnxruntime's own provider (OpenVINO 2025.4, onnxruntime-openvino 1.24.1).

use std::collections::{BTreeMap, HashSet};

use rten_onnx::onnx::{DataType, NodeProto};

use crate::node::{self, Attributes, Edit};
use crate::types::{Info, Values};

/// The operator set from which on `Softmax` computes along one axis.
const ONE_AXIS: i64 = 13;
/// The least number of elements whose root mean square OpenVINO computes on a processor with AVX-512.
const SHORTEST_MEAN: i64 = 16;

/// A kind of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpenVinoDifference {
    /// Results of 8 bits saturate instead of wrapping, and quotients are rounded instead of cut.
    Saturates,
    /// A limit of 64-bit integers is cut to 32 bits, so every number is replaced by 0.
    LosesLimits,
    /// The sum of the powers of e is infinite from about 88 on, and so is its logarithm.
    Overflows,
    /// A root mean square over less than 16 elements ends the process.
    EndsProcess,
    /// `Max`, `Min` or `Sum` of one value, and `Tile` by computed numbers, return memory that nothing wrote.
    ReturnsOther,
    /// A recurrent layer takes its rows for steps.
    IgnoresLayout,
    /// Scales of blocks are taken for others.
    IgnoresBlocks,
    /// A slope of one dimension is taken for that of the channels.
    TakesChannels,
    /// A mean that drops its axis is taken for one that keeps it.
    KeepsAxis,
    /// Before operator set 13, all dimensions from `axis` on are one; it takes `axis` only.
    OneAxis,
    /// Neighbours of another place may be taken.
    TakesNeighbours,
    /// Boxes at a threshold, and with scores below 0 where the file states none, may be left out.
    LeavesOut,
    /// A pool may have another size.
    TakesOtherSizes,
    /// Zeros are divided by their norm.
    DividesByZero,
    /// An index outside of the table gives zeros instead of an error.
    GivesZeros,
    /// Integers are computed as FLOAT, which has all of them up to 2^24 only.
    AsFloat,
    /// 64-bit integers are computed in 32 bits and wrap.
    In32Bits,
    /// Numbers outside of the range of the narrower integer type do not wrap.
    DoesNotWrap,
    /// Numbers are not rounded to FLOAT16, and do not become infinite beyond 65504.
    KeepsDigits,
}

impl OpenVinoDifference {
    /// True if usual numbers are computed wrongly, so that the model is refused.
    pub fn is_refused(self) -> bool {
        matches!(
            self,
            Self::Saturates
                | Self::LosesLimits
                | Self::Overflows
                | Self::EndsProcess
                | Self::ReturnsOther
                | Self::IgnoresLayout
                | Self::IgnoresBlocks
                | Self::TakesChannels
        )
    }

    /// The difference, in words.
    pub fn explained(self) -> &'static str {
        match self {
            Self::Saturates => "computes integers of 8 bits with saturation, and rounds quotients; ONNX wraps and cuts",
            Self::LosesLimits => {
                "cuts the limit that a Clip of 64-bit integers does not state to 32 bits, so all become 0"
            }
            Self::Overflows => "gives infinity for numbers above 88",
            Self::EndsProcess => "ends the process when it divides by a root mean square of less than 16 elements",
            Self::ReturnsOther => "returns memory that nothing wrote",
            Self::IgnoresLayout => "ignores `layout = 1`",
            Self::IgnoresBlocks => "does not compute scales of blocks (`block_size`)",
            Self::TakesChannels => {
                "takes a slope of one dimension for that of the channels; ONNX for that of the last dimension"
            }
            Self::KeepsAxis => "takes a mean with `keepdims = 0` for one that keeps its axis",
            Self::OneAxis => {
                "computes along `axis` only; ONNX before operator set 13 along all dimensions from `axis` on"
            }
            Self::TakesNeighbours => "may take neighbours of another place when it resizes",
            Self::LeavesOut => "may leave out boxes at a threshold, and with scores below 0 if the file states none",
            Self::TakesOtherSizes => "may give a pool with `ceil_mode` another size",
            Self::DividesByZero => "gives NaN for zeros",
            Self::GivesZeros => "gives zeros for an index outside of the table; ONNX Runtime refuses the request",
            Self::AsFloat => "computes integers as FLOAT, which is wrong beyond 2^24",
            Self::In32Bits => "computes 64-bit integers in 32 bits, which is wrong from 2^31 on",
            Self::DoesNotWrap => "converts integers beyond the range of the narrower type to others than ONNX",
            Self::KeepsDigits => "does not round to FLOAT16, so results have more digits, and none is infinite",
        }
    }
}

/// A difference, and a node with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DifferentNode {
    /// The difference.
    pub difference: OpenVinoDifference,
    /// The name of the first node.
    pub node: String,
    /// Its operator.
    pub operator: String,
}

/// Finds the differences in a model.
#[derive(Default)]
pub(super) struct Search {
    /// The first node of each operator.
    found: BTreeMap<(OpenVinoDifference, String), String>,
    /// Squares, and what follows from their means.
    squares: HashSet<String>,
    mean_squares: HashSet<String>,
}

impl Search {
    /// Adds the differences of a node. `is_data`: its inputs depend on numbers of a request.
    pub(super) fn note(&mut self, node: &NodeProto, is_data: bool, opset: i64, values: &Values) {
        let operator = node.op_type.as_deref().unwrap_or_default();
        if matches!(operator, "DequantizeLinear" | "QuantizeLinear") && node.int_or("block_size", 0) != 0 {
            self.add(OpenVinoDifference::IgnoresBlocks, node);
        }
        if !is_data {
            return;
        }
        let is_standard = node::is_standard(node.domain.as_deref());
        if is_standard && let Some(difference) = difference(operator, node, opset, values) {
            self.add(difference, node);
        }
        self.follow_squares(operator, node, values);
    }

    /// Adds a mean that drops its axis, and that something is divided by or subtracted from.
    pub(super) fn note_mean(&mut self, node: &NodeProto) {
        self.add(OpenVinoDifference::KeepsAxis, node);
    }

    fn add(&mut self, difference: OpenVinoDifference, node: &NodeProto) {
        let operator = node.op_type.as_deref().unwrap_or_default().to_owned();
        self.found.entry((difference, operator)).or_insert_with(|| node::title(node).to_owned());
    }

    /// Finds a normalisation by the root of a mean square. Its length is seen by its scale.
    fn follow_squares(&mut self, operator: &str, node: &NodeProto, values: &Values) {
        let is_short = |name: &String| {
            let sizes = values.get(name).filter(|info| info.is_constant).and_then(|info| info.sizes.as_ref());
            let last = sizes.and_then(|sizes| *sizes.last()?);
            last.is_some_and(|size| (2..SHORTEST_MEAN).contains(&size))
        };
        let takes = |set: &HashSet<String>| node.input.iter().any(|input| set.contains(input));
        match operator {
            "RMSNormalization" | "SimplifiedLayerNormalization" if node.input.get(1).is_some_and(is_short) => {
                self.add(OpenVinoDifference::EndsProcess, node);
            }
            "Pow" => self.squares.extend(node.output.iter().cloned()),
            "Mul" if node.input.len() == 2 && node.input[0] == node.input[1] => {
                self.squares.extend(node.output.iter().cloned());
            }
            "ReduceMean" if takes(&self.squares) => self.mean_squares.extend(node.output.iter().cloned()),
            "Mul" if takes(&self.mean_squares) && node.input.iter().any(is_short) => {
                self.add(OpenVinoDifference::EndsProcess, node);
            }
            "Add" | "Sqrt" | "Div" | "Reciprocal" | "Mul" | "Cast" if takes(&self.mean_squares) => {
                self.mean_squares.extend(node.output.iter().cloned());
            }
            _ => {}
        }
    }

    pub(super) fn list(self) -> Vec<DifferentNode> {
        let entry = |((difference, operator), node)| DifferentNode { difference, node, operator };
        self.found.into_iter().map(entry).collect()
    }
}

fn difference(operator: &str, node: &NodeProto, opset: i64, values: &Values) -> Option<OpenVinoDifference> {
    use OpenVinoDifference as D;
    let info = |index: usize| node.input(index).and_then(|name| values.get(name));
    let of = |index: usize| info(index).and_then(|info: &Info| info.ty);
    let rank = info(0).and_then(|info| info.rank);
    // The integers of a `Constant` without a tensor are known as elements only.
    let is_constant = |index: usize| info(index).is_some_and(|info| info.is_constant || info.constant.is_some());
    match operator {
        "Resize" | "Upsample" => {
            let aligns = node.text_or("coordinate_transformation_mode", "half_pixel") == "align_corners";
            let is_nearest = node.text_or("mode", "nearest") == "nearest";
            let keeps_ratio = node.text_or("keep_aspect_ratio_policy", "stretch") != "stretch";
            return (is_nearest && (aligns || rank > Some(4)) || keeps_ratio).then_some(D::TakesNeighbours);
        }
        "Softmax" | "LogSoftmax" | "Hardmax" if opset < ONE_AXIS => {
            let axis = node.int_or("axis", 1);
            let is_last = axis == -1 || rank.is_some_and(|rank| axis.unsigned_abs() as usize + 1 == rank && axis >= 0);
            return (!is_last).then_some(D::OneAxis);
        }
        "PRelu" => {
            let slope = info(1).filter(|slope| slope.rank == Some(1))?;
            let is_one = slope.sizes.as_ref().is_some_and(|sizes| sizes.iter().all(|&size| size == Some(1)));
            // A slope of one dimension is that of the last dimension, which is the channels' if there are two.
            return (!is_one && rank != Some(2)).then_some(D::TakesChannels);
        }
        "NonMaxSuppression" => return Some(D::LeavesOut),
        "LpNormalization" => return Some(D::DividesByZero),
        "Max" | "Min" | "Sum" | "Mean" if node.input.len() == 1 => return Some(D::ReturnsOther),
        "Tile" => return (!is_constant(1)).then_some(D::ReturnsOther),
        "GRU" | "LSTM" | "RNN" if node.int_or("layout", 0) != 0 => return Some(D::IgnoresLayout),
        "AveragePool" | "MaxPool" | "LpPool" if node.int_or("ceil_mode", 0) != 0 => return Some(D::TakesOtherSizes),
        "ReduceLogSumExp" => return Some(D::Overflows),
        "Gather" | "GatherElements" | "GatherND" => return (!is_constant(1)).then_some(D::GivesZeros),
        _ => {}
    }
    let ty = of(0).or_else(|| of(1))?;
    let is_64 = matches!(ty, DataType::INT64 | DataType::UINT64);
    let is_wide = is_64 || matches!(ty, DataType::INT32 | DataType::UINT32);
    let is_8 = matches!(ty, DataType::INT8 | DataType::UINT8);
    match operator {
        "Add" | "Sub" | "Mul" | "Div" | "Neg" | "Sum" | "BitShift" | "Shrink" if is_8 => Some(D::Saturates),
        "Clip" if is_64 && (node.input(1).is_none() || node.input(2).is_none()) => Some(D::LosesLimits),
        "Div" | "Mod" | "Pow" | "MatMul" | "Gemm" | "Einsum" | "ReduceSum" | "ReduceMean" | "ReduceMax"
        | "ReduceMin" | "ReduceProd" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare"
            if is_wide =>
        {
            Some(D::AsFloat)
        }
        "Add" | "Sub" | "Mul" | "Neg" | "Sum" | "CumSum" | "Abs" | "BitShift" if is_64 => Some(D::In32Bits),
        "Cast" => converted(ty, DataType(i32::try_from(node.int("to")?).ok()?)),
        _ => None,
    }
}

fn converted(from: DataType, to: DataType) -> Option<OpenVinoDifference> {
    use OpenVinoDifference as D;
    let is_float = |ty| matches!(ty, DataType::FLOAT | DataType::DOUBLE | DataType::FLOAT16 | DataType::BFLOAT16);
    match to {
        // -2^31 becomes false.
        DataType::BOOL if matches!(from, DataType::INT64 | DataType::UINT64) => Some(D::In32Bits),
        DataType::INT64 | DataType::UINT64 if is_float(from) => Some(D::In32Bits),
        DataType::INT16 | DataType::UINT16 | DataType::UINT32 if !is_float(from) && from != DataType::BOOL => {
            Some(D::DoesNotWrap)
        }
        DataType::FLOAT16 if from != DataType::FLOAT16 && from != DataType::BOOL => Some(D::KeepsDigits),
        _ => None,
    }
}
